"""Which channels of a network live and die together.

Taking one channel out of a layer takes it out of everything that reads it, and of everything that is added to it.
torch-pruning finds these groups by tracing the network (Fang et al. 2023, DepGraph, arXiv:2301.12900, section 3).
A trace can be wrong where channels are moved by code that it does not understand: zero-padded shortcuts, channel
shuffles, attention heads. So every group is tried first (``pruning_trial``), and one that fails is left as it is.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgeglm.errors import StepError
from edgeglm.nn.calling import call
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.pruning_trial import Trial
from edgeglm.nn.weights import storage_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from edgeglm.model import Edit

Slices: TypeAlias = dict[tuple[str, str], list[int]]  # (layer, side) -> channels to take out, ascending

# their gates and heads mix channels in ways that slicing alone does not follow
_UNSUPPORTED = (nn.RNNBase, nn.MultiheadAttention)
_known: WeakKeyDictionary[nn.Module, tuple[object, Structure]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Member:
    """One side of one layer that a group's channels run through."""

    name: str  # of the layer, or of a parameter that stands alone
    side: str  # "out", "in", or "axis N" of such a parameter
    channels: tuple[int, ...]  # in this layer
    roots: tuple[int, ...]  # the root's channel that each of them is


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be taken out together. A unit is what goes at once: one channel, or one of each part."""

    root: str  # the layer whose output channels they are
    channels: int  # of the root
    parts: int  # grouped convolutions and GroupNorm lose a channel in each of their groups at once
    members: tuple[Member, ...]

    @property
    def units(self) -> int:
        """How many can be taken out one by one."""
        return self.channels // self.parts

    @property
    def outputs(self) -> tuple[str, ...]:
        """Layers whose own output channels these are."""
        return tuple(dict.fromkeys(member.name for member in self.members if member.side != "in"))

    def channels_of(self, units: Iterable[int]) -> set[int]:
        """Return the root's channels of these units."""
        return {unit + part * self.units for unit in units for part in range(self.parts)}


@dataclass
class Structure:
    """The groups of one network: those that can be pruned, and why the others cannot."""

    groups: list[ChannelGroup]
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> root layers

    def leave_out(self, group: ChannelGroup, reason: str) -> None:
        """Remember a group that stays as it is."""
        self.left_out[reason].append(group.root)


def slices_of(removed: Iterable[tuple[ChannelGroup, Collection[int]]]) -> Slices:
    """Return what goes from each layer when these units go, all counted before anything went."""
    slices: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for group, units in removed:
        roots = group.channels_of(units)
        for member in group.members:
            slices[member.name, member.side].update(
                channel for channel, root in zip(member.channels, member.roots, strict=True) if root in roots
            )
    return {place: sorted(channels) for place, channels in slices.items() if channels}


def edit_of(slices: Slices) -> Edit:
    """Return the change of structure as plain data (see ``edgeglm.nn.structure``)."""
    return {"edit": "prune", "layers": [[name, side, channels] for (name, side), channels in slices.items()]}


def find_groups(
    module: nn.Module, inputs: dict[str, Tensor], *, ignored: Collection[str] = (), where: str = ""
) -> Structure:
    """Return the groups of a network that can be pruned, each tried; asked again for the same network, those it found.

    Preflight and the step itself ask for the same, and trying the groups of a deep network takes seconds.

    Args:
        module: The network; left as it was.
        inputs: Two or more rows by input name.
        ignored: Names of layers whose output channels must stay; the groups they are in stay whole.
        where: For errors.

    Raises:
        StepError: The network cannot be traced.
    """
    rows = [(name, tuple(tensor.shape), tensor.numpy(force=True).tobytes()) for name, tensor in inputs.items()]
    key = (state_sha256(module), tuple(rows), frozenset(ignored))
    known = _known.get(module)
    if known is None or known[0] != key:
        known = _known[module] = (key, _find(module, inputs, ignored, where))
    return known[1]


def _find(module: nn.Module, inputs: dict[str, Tensor], ignored: Collection[str], where: str) -> Structure:
    structure = Structure([])
    candidates = []
    shared = _shared_parameters(module)
    for group in _trace(module, inputs, where):
        kinds = {
            member.name: type(module.get_submodule(member.name))
            for member in group.members
            if not member.side.startswith("axis")
        }
        blocked = next((name for name, kind in kinds.items() if issubclass(kind, _UNSUPPORTED)), None)
        if set(group.outputs) & set(ignored):
            structure.leave_out(group, "ignored by the recipe, or coupled with what is")
        elif blocked is not None:
            structure.leave_out(group, f"read by the {kinds[blocked].__name__} `{blocked}`, which cannot be pruned")
        elif not shared.isdisjoint(kinds):
            structure.leave_out(group, "weights are shared between layers")
        elif any(root is None for member in group.members for root in member.roots):
            structure.leave_out(group, "forward() moves or mixes their channels in a way that cannot be followed")
        elif group.units < 2:
            structure.leave_out(group, "there are no two channels to choose from")
        else:
            candidates.append(group)
    for name, kind in _recurrent(module).items():
        if not any(f"`{name}`" in reason for reason in structure.left_out):
            structure.left_out[f"{kind} layers are not pruned"].append(name)
    trial = Trial(module, inputs)
    structure.groups = _sound(candidates, trial, structure)
    return structure


def _trace(module: nn.Module, inputs: dict[str, Tensor], where: str) -> list[ChannelGroup]:
    traced = deepcopy(module).eval().requires_grad_(True)

    def forward(network: nn.Module, rows: dict[str, Tensor]) -> list[Tensor]:
        return [tensor for tensor in call(network, rows).values() if tensor.grad_fn is not None]

    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # the library warns of parameters that it guesses about; we try them
            graph = tp.DependencyGraph().build_dependency(traced, inputs, forward_fn=forward, verbose=False)
            names = {layer: name for name, layer in traced.named_modules()}
            return [_read_group(graph, group, names) for group in graph.get_all_groups()]
    except Exception as error:  # the library raises whatever its many rules run into
        recurrent = "".join(f"with its {kind} `{name}` " for name, kind in _recurrent(module).items())
        raise StepError(
            f"the flow of channels through the network {recurrent}cannot be followed: {type(error).__name__}: {error}",
            where=where,
            code="prune-cannot-follow",
            hint="leave out the step `prune`, or put what moves channels about into a module of its own",
        ) from error


def _recurrent(module: nn.Module) -> dict[str, str]:
    """Return name -> kind of every LSTM, GRU and RNN layer."""
    return {name: type(layer).__name__ for name, layer in module.named_modules() if isinstance(layer, nn.RNNBase)}


def _read_group(graph: tp.DependencyGraph, group: tp.Group, names: dict[nn.Module, str]) -> ChannelGroup:
    members, parts = [], 1
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler
        is_out = graph.is_out_channel_pruning_fn(handler)
        if isinstance(layer, nn.Parameter):
            name, side = graph._param_to_name[layer], f"axis {item.dep.target.pruning_dim}"
        elif layer in names:
            name, side = names[layer], "out" if is_out else "in"
            depthwise = isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.out_channels
            if not depthwise:
                parts = math.lcm(parts, getattr(layer, "groups", getattr(layer, "num_groups", 1)))
        else:
            continue  # an addition, a concatenation, ...: holds no weights
        members.append(Member(name, side, tuple(item.idxs), tuple(item.root_idxs)))
    channels = len(group[0].idxs)
    return ChannelGroup(members[0].name, channels, parts if channels % parts == 0 else channels, tuple(members))


def _shared_parameters(module: nn.Module) -> set[str]:
    """Return the layers whose parameters other layers have too."""
    owners: defaultdict[tuple[int, object], set[str]] = defaultdict(set)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners[storage_key(parameter)].add(name.rpartition(".")[0])
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _sound(groups: list[ChannelGroup], trial: Trial, structure: Structure) -> list[ChannelGroup]:
    """Return the groups that pass the trial, by halving: most networks have few that do not."""
    if not groups or (fault := _fault(groups, trial)) is None:
        return groups
    if len(groups) == 1:
        structure.leave_out(groups[0], fault)
        return []
    middle = len(groups) // 2
    left = _sound(groups[:middle], trial, structure)
    right = _sound(groups[middle:], trial, structure)
    if not (left and right) or _fault([*left, *right], trial) is None:
        return [*left, *right]
    for group in right:  # sound apart, not together: keep what can be added one by one
        if _fault([*left, group], trial) is None:
            left.append(group)
        else:
            structure.leave_out(group, "cannot be pruned beside the others")
    return left


def _fault(groups: list[ChannelGroup], trial: Trial) -> str | None:
    """Return what is wrong when about half of the units of these groups go; None when nothing is.

    How many go differs between groups: those that only fit together at equal shares are not groups of their own.
    """
    generator = torch.Generator().manual_seed(1)
    removed = []
    for index, group in enumerate(groups):
        least, most = max(group.units // 4, 1), group.units * 3 // 4
        choices = most - least + 1
        count = least + (choices // 2 + index) % choices
        removed.append((group, torch.randperm(group.units, generator=generator)[:count].tolist()))
    return trial.fault(edit_of(slices_of(removed)))
