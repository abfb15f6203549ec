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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgeglm.errors import StepError
from edgeglm.nn.attention import find_attention, head_groups, head_size_groups
from edgeglm.nn.calling import call
from edgeglm.nn.coupling import ChannelGroup, Member, edit_of
from edgeglm.nn.loading import state_sha256
from edgeglm.nn.pruning_trial import Trial
from edgeglm.nn.recurrent import NotFollowedError, hidden_groups, recurrent_layers, stand_in
from edgeglm.nn.weights import storage_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_MIXED = "forward() moves or mixes their channels in a way that cannot be followed"
_TOO_FEW = "there are no two channels to choose from"
IGNORED = "ignored by the recipe, or coupled with what is"
_known: WeakKeyDictionary[nn.Module, tuple[object, Structure]] = WeakKeyDictionary()


@dataclass
class Structure:
    """The groups of one network: those that can be pruned, and why the others cannot."""

    groups: list[ChannelGroup]
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> root layers

    def leave_out(self, group: ChannelGroup, reason: str) -> None:
        """Remember a group that stays as it is."""
        self.left_out[reason].append(group.root or "the network itself")


def find_groups(
    module: nn.Module,
    inputs: dict[str, Tensor],
    *,
    kinds: Collection[str] = ("channels",),
    ignored: Collection[str] = (),
    where: str = "",
) -> Structure:
    """Return the groups of a network that can be pruned, each tried; asked again for the same network, those it found.

    Preflight and the step itself ask for the same, and trying the groups of a deep network takes seconds.

    Args:
        module: The network; left as it was.
        inputs: Two or more rows by input name.
        kinds: What may go: "channels" (hidden units of recurrent layers too), "ffn", "heads", "head-dim". Without
            "ffn", the layers it means count as channels.
        ignored: Names of layers whose output channels must stay; the groups they are in stay whole.
        where: For errors.

    Raises:
        StepError: The network cannot be traced.
    """
    rows = [(name, tuple(tensor.shape), tensor.numpy(force=True).tobytes()) for name, tensor in inputs.items()]
    key = (state_sha256(module), tuple(rows), frozenset(ignored), frozenset(kinds))
    known = _known.get(module)
    if known is None or known[0] != key:
        known = _known[module] = (key, _find(module, inputs, frozenset(kinds), ignored, where))
    return known[1]


def _find(
    module: nn.Module, inputs: dict[str, Tensor], kinds: frozenset[str], ignored: Collection[str], where: str
) -> Structure:
    structure = Structure([])
    trial = Trial(module, inputs)
    candidates: list[ChannelGroup] = []
    blocks = find_attention(module)
    shared = _shared_parameters(module)

    def offer(tries: Iterable[ChannelGroup]) -> None:
        """Take the first way of counting a group's units under which the network still computes the same."""
        fault: str | None = None
        for group in tries:
            if (reason := _reason_to_leave(group, ignored, shared)) is not None:
                structure.leave_out(group, reason)
                return
            if (problem := _fault([group], trial)) is None:
                candidates.append(group)
                return
            fault = fault or problem
        structure.leave_out(group, fault or _MIXED)

    for block in blocks:
        if "heads" in kinds:
            offer(head_groups(module, block))
        if "head-dim" in kinds:
            offer(head_size_groups(module, block))
    if "channels" in kinds:
        for name, tries in hidden_groups(module, inputs):
            if isinstance(tries, NotFollowedError):
                structure.left_out[str(tries)].append(name)
            else:
                offer(tries)
    if kinds & {"channels", "ffn"}:
        projections = {layer for block in blocks for layer in (block.query[0], block.key[0], block.value[0])}
        for group in _trace(module, inputs, where):
            kind = "ffn" if "ffn" in kinds and _is_feed_forward(module, group) else "channels"
            if kind not in kinds:
                continue
            group = replace(group, kind=kind)
            blocked = next((m.name for m in group.members if isinstance(_layer(module, m), nn.MultiheadAttention)), "")
            recurrent = next((m.name for m in group.members if m.side == "hidden"), "")
            if recurrent:
                if group.root != recurrent:
                    structure.leave_out(group, f"coupled with the hidden units of `{recurrent}`")
            elif blocked:
                structure.leave_out(group, f"read by the attention `{blocked}`; heads go by `head_ratio`")
            elif projections & set(group.outputs):
                if "channels" in kinds and not kinds & {"heads", "head-dim"}:
                    structure.leave_out(group, "attention heads, which go by `head_ratio` and `head_dim_ratio`")
            elif (reason := _reason_to_leave(group, ignored, shared)) is not None:
                structure.leave_out(group, reason)
            else:
                candidates.append(group)
    structure.groups = _sound(candidates, trial, structure)
    return structure


def _reason_to_leave(group: ChannelGroup, ignored: Collection[str], shared: set[str]) -> str | None:
    if set(group.outputs) & set(ignored) or group.root in ignored:
        return IGNORED
    if not shared.isdisjoint(member.name for member in group.members):
        return "weights are shared between layers"
    if any(root is None for member in group.members for root in member.roots):
        return _MIXED
    if group.units < 2:
        return _TOO_FEW
    return None


def _layer(module: nn.Module, member: Member) -> nn.Module | None:
    return None if member.side.startswith("axis") else module.get_submodule(member.name)


def _is_feed_forward(module: nn.Module, group: ChannelGroup) -> bool:
    """Return whether these are the hidden features of linear layers that lead back to the width they came from."""
    layers = [(member.side, _layer(module, member)) for member in group.members]
    widths = {layer.in_features if side == "out" else layer.out_features for side, layer in layers if _linear(layer)}
    sides = {side for side, _ in layers}
    return sides == {"out", "in"} and all(_linear(layer) for _, layer in layers) and len(widths) == 1


def _linear(layer: nn.Module | None) -> TypeGuard[nn.Linear]:
    return isinstance(layer, nn.Linear)


def _trace(module: nn.Module, inputs: dict[str, Tensor], where: str) -> list[ChannelGroup]:
    traced = deepcopy(module).eval().requires_grad_(True)
    standing_in = stand_in(traced)

    def forward(network: nn.Module, rows: dict[str, Tensor]) -> list[Tensor]:
        return [tensor for tensor in call(network, rows).values() if tensor.grad_fn is not None]

    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # the library warns of parameters that it guesses about; we try them
            graph = tp.DependencyGraph().build_dependency(traced, inputs, forward_fn=forward, verbose=False)
            names = {layer: name for name, layer in traced.named_modules()}
            return [_read_group(graph, group, names, standing_in) for group in graph.get_all_groups()]
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
    return {name: type(layer).__name__ for name, layer in recurrent_layers(module).items()}


def _read_group(
    graph: tp.DependencyGraph, group: tp.Group, names: dict[nn.Module, str], standing_in: dict[str, str]
) -> ChannelGroup:
    members: dict[Member, None] = {}
    parts = 1
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler
        is_out = graph.is_out_channel_pruning_fn(handler)
        if isinstance(layer, nn.Parameter):
            name, side = graph._param_to_name[layer], f"axis {item.dep.target.pruning_dim}"
        elif layer in names:
            name, side = names[layer], "out" if is_out else "in"
            if name in standing_in:
                name, side = standing_in[name], "hidden" if is_out else "in"
            depthwise = isinstance(layer, nn.modules.conv._ConvNd) and layer.groups == layer.out_channels
            if not depthwise:
                parts = math.lcm(parts, getattr(layer, "groups", getattr(layer, "num_groups", 1)))
        else:
            continue  # an addition, a concatenation, ...: holds no weights
        members[Member(name, side, tuple(item.idxs), tuple(item.root_idxs))] = None
    channels = len(group[0].idxs)
    root = next(iter(members)).name
    return ChannelGroup(root, channels, parts if channels % parts == 0 else channels, tuple(members))


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
    return trial.fault(edit_of(removed))
