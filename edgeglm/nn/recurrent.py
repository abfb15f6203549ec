"""Where the hidden units of LSTM, GRU and RNN layers go, found by marking them.

A trace does not see through the gates. So each unit is marked with NaN where the layer answers, the network is run,
and the layers that read a NaN are noted: they read that unit in that column. Marks survive everything that moves
channels about (slices, repeats, concatenations) and spread in everything that mixes them, which tells the two apart.
A number of runs that is twice the logarithm of the units is enough, since each unit is told by the bits of its number.
"""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeglm.nn.calling import call
from edgeglm.nn.coupling import ChannelGroup, Member
from edgeglm.nn.slicing import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_Marks = dict[tuple[str, str], Tensor]  # (layer, side) -> (columns,) bool: which read a NaN
_NAN = float("nan")
_BREAKS = "forward() hands their hidden units on in a way that cannot be followed"


class NotFollowedError(Exception):
    """Hidden units reach something that holds no weights that we know; the message says what."""


def recurrent_layers(module: nn.Module) -> dict[str, nn.RNNBase]:
    """Return name -> layer of every LSTM, GRU and RNN."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.RNNBase)}


def hidden_groups(
    module: nn.Module, inputs: dict[str, Tensor]
) -> Iterator[tuple[str, list[ChannelGroup] | NotFollowedError]]:
    """Yield for each recurrent layer the group of its hidden units, in every way in which attributes may count them.

    Layers that hand their state to one another (encoder and decoder) are one group, under the name of the first.

    Args:
        module: The network; left as it was.
        inputs: Two or more rows by input name.

    Yields:
        The layer's name, and its groups to try, or why there are none.
    """
    layers = recurrent_layers(module)
    found: dict[str, list[Member] | NotFollowedError] = {}
    for name, layer in layers.items():
        try:
            found[name] = _members(module, inputs, name, layer)
        except NotFollowedError as reason:
            found[name] = reason
    for names in _handed_on(found):
        faults = [members for name in names if isinstance(members := found[name], NotFollowedError)]
        sizes = {(layers[name].hidden_size, len(parts_of(layers[name]))) for name in names}
        if faults or len(sizes) > 1:
            yield names[0], (faults or [NotFollowedError(_BREAKS)])[0]
            continue
        joined = tuple(dict.fromkeys(member for name in names for member in found[name]))  # type: ignore[union-attr]
        ((size, parts),) = sizes
        group = ChannelGroup(names[0], size * parts, parts, joined, free=True)
        yield names[0], [group, *_counted(module, names, group)]


def _handed_on(found: dict[str, list[Member] | NotFollowedError]) -> list[list[str]]:
    """Return the layers in sets that are connected by their states, in the order of the network."""
    sets: list[list[str]] = []
    for name, members in found.items():
        read = [] if isinstance(members, NotFollowedError) else [m.name for m in members if m.side == "hidden"]
        joined = [one for one in sets if set(one) & {name, *read}]
        sets = [one for one in sets if one not in joined]
        sets.append(list(dict.fromkeys([*(other for one in joined for other in one), name, *read])))
    return sets


def _counted(module: nn.Module, names: list[str], group: ChannelGroup) -> list[ChannelGroup]:
    """Return the group with attributes that may hold its size: those around the layers that are named for it."""
    counts = []
    for owner in dict.fromkeys(name.rpartition(".")[0] for name in names):
        for attribute, value in vars(module.get_submodule(owner)).items():
            named = any(word in attribute for word in ("hidden", "size", "dim", "units", "width"))
            if named and value == group.units and type(value) is int:
                counts.append((owner, attribute))
    sure = [count for count in counts if "hidden" in count[1]]
    tries = [tuple(sure)] if sure else []
    if len(counts) > len(sure):
        tries.append(tuple(counts))
    return [replace(group, counts=tried) for tried in tries]


def _members(module: nn.Module, inputs: dict[str, Tensor], name: str, layer: nn.RNNBase) -> list[Member]:
    if layer.proj_size:
        raise NotFollowedError("an LSTM with proj_size is not pruned")
    units = layer.hidden_size * len(parts_of(layer))
    bits = max(units - 1, 1).bit_length()
    numbers = torch.arange(units)
    runs: list[tuple[_Marks, _Marks]] = []
    for bit in range(bits):
        ones = (numbers >> bit & 1).bool()
        runs.append((_run(module, inputs, name, ones), _run(module, inputs, name, ~ones)))
    places = {place for pair in runs for marks in pair for place in marks}
    members = [Member(name, "hidden", tuple(range(units)), tuple(range(units)))]
    for place in sorted(places):
        ones, zeros = (
            torch.stack([pair[which].get(place, torch.zeros(1, dtype=torch.bool)).expand(_columns(runs, place))
                         for pair in runs])
            for which in (0, 1)
        )  # fmt: skip
        if (ones & zeros).any():
            raise NotFollowedError(f"forward() mixes their hidden units before `{place[0]}`")
        read = (ones | zeros).any(0)
        if not (ones | zeros)[:, read].all():
            raise NotFollowedError(_BREAKS)
        codes = (ones.long() << torch.arange(bits)[:, None]).sum(0)
        columns = read.nonzero().flatten().tolist()
        roots = codes[read].tolist()
        if not columns or place == (name, "hidden"):
            continue  # nothing, or its own state, handed back to it
        if place[1] == "hidden" and columns != roots:
            raise NotFollowedError(_BREAKS)
        members.append(Member(*place, tuple(columns), tuple(roots)))
    return members


def _columns(runs: list[tuple[_Marks, _Marks]], place: tuple[str, str]) -> int:
    return max(len(marks[place]) for pair in runs for marks in pair if place in marks)


@torch.no_grad()
def _run(module: nn.Module, inputs: dict[str, Tensor], name: str, marked: Tensor) -> _Marks:
    """Run the network with these hidden units of one layer at NaN; return the columns that read one."""
    network = deepcopy(module).eval()
    seen: defaultdict[tuple[str, str], list[Tensor]] = defaultdict(list)
    handles = []
    for layer_name, layer in network.named_modules():
        reader = _Reader(layer_name, layer, seen, marked if layer_name == name else None)
        if reader.axis is not None:
            handles.append(layer.register_forward_pre_hook(reader.before, with_kwargs=True))
            handles.append(layer.register_forward_hook(reader.after, with_kwargs=True))
    try:
        outputs = call(network, inputs)
    except NotFollowedError:
        raise
    except Exception as error:  # whatever the user's forward() does with a NaN
        raise NotFollowedError(f"{_BREAKS}: {type(error).__name__}: {error}") from error
    if any(tensor.is_floating_point() and tensor.isnan().any() for tensor in outputs.values()):
        raise NotFollowedError("their hidden units are the network's outputs, or reach them by no layer that is known")
    return {place: torch.stack(masks).any(0) for place, masks in seen.items()}


class _Reader:
    """Hooks of one layer: note which columns of what it is given are marked, and give it clean ones."""

    def __init__(
        self, name: str, layer: nn.Module, seen: defaultdict[tuple[str, str], list[Tensor]], marked: Tensor | None
    ) -> None:
        self.name, self.layer, self.seen, self.marked = name, layer, seen, marked
        self.kept: Tensor | None = None  # the marks of what a norm was given
        self.axis: int | None = None
        if isinstance(layer, nn.Linear | nn.RNNBase) or (
            isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1
        ):
            self.axis = -1
        elif isinstance(layer, nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm):
            self.axis = 1

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        del module
        x = args[0] if args else kwargs.get("input")
        if not isinstance(x, Tensor):
            raise NotFollowedError(f"`{self.name}` is given packed sequences")
        is_norm = isinstance(self.layer, nn.LayerNorm | nn.modules.batchnorm._BatchNorm)
        self.kept = x.isnan() if is_norm else None
        self._note("out" if is_norm else "in", x, self.axis or 0)
        clean = x.nan_to_num() if x.is_floating_point() else x
        args, kwargs = ((clean, *args[1:]), kwargs) if args else (args, kwargs | {"input": clean})
        if isinstance(self.layer, nn.RNNBase):
            state = args[1] if len(args) > 1 else kwargs.get("hx")
            if state is not None:
                cleaned = self._clean_state(state)
                args, kwargs = ((args[0], cleaned), kwargs) if len(args) > 1 else (args, kwargs | {"hx": cleaned})
        return args, kwargs

    def _note(self, side: str, x: Tensor, axis: int) -> None:
        if x.is_floating_point():
            self.seen[self.name, side].append(x.isnan().movedim(axis, -1).flatten(0, -2).any(0))

    def _clean_state(self, state: Any) -> Any:
        tensors = state if isinstance(state, tuple) else (state,)
        for tensor in tensors:  # (parts, B, H)
            self.seen[self.name, "hidden"].append(tensor.isnan().any(1).flatten())
        cleaned = tuple(tensor.nan_to_num() for tensor in tensors)
        return cleaned if isinstance(state, tuple) else cleaned[0]

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        del module, args, kwargs
        if self.kept is not None and self.kept.any():
            return output.masked_fill(self.kept, _NAN)
        if self.marked is None or not isinstance(self.layer, nn.RNNBase):
            return output
        sequence, state = output
        size, directions = self.layer.hidden_size, 2 if self.layer.bidirectional else 1
        by_part = self.marked.view(-1, 1, size)  # (parts, 1, H)
        sequence = sequence.masked_fill(self.marked[-directions * size :], _NAN)
        if isinstance(state, tuple):
            return sequence, tuple(tensor.masked_fill(by_part, _NAN) for tensor in state)
        return sequence, state.masked_fill(by_part, _NAN)


def stand_in(network: nn.Module) -> dict[str, str]:
    """Replace every recurrent layer by linear ones that a trace can follow, in place.

    Returns:
        Name of each linear layer -> name of the recurrent layer that it stands in for.
    """
    names: dict[str, str] = {}
    for name, layer in recurrent_layers(network).items():
        owner = network.get_submodule(name.rpartition(".")[0]) if name else network
        if owner is layer:
            continue  # the network is one recurrent layer: nothing leads into it
        setattr(owner, name.rpartition(".")[2], _StandIn(layer))
        names |= {f"{name}.sequence": name, f"{name}.state": name}
    return names


class _StandIn(nn.Module):
    """Reads and answers tensors of the shapes of a recurrent layer."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.parts, self.size = len(parts_of(layer)), layer.proj_size or layer.hidden_size
        self.hidden_size, self.num_layers, self.batch_first = layer.hidden_size, layer.num_layers, layer.batch_first
        self.bidirectional, self.is_lstm = layer.bidirectional, isinstance(layer, nn.LSTM)
        self.sequence = nn.Linear(layer.input_size, self.size * (2 if layer.bidirectional else 1))
        self.state = nn.Linear(layer.input_size, self.size * self.parts)

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # noqa: A002  # as torch names it
        del hx
        last = input[:, -1] if self.batch_first and input.ndim == 3 else input[-1]
        state = self.state(last).view(-1, self.parts, self.size).transpose(0, 1)
        return self.sequence(input), ((state, state) if self.is_lstm else state)

    def flatten_parameters(self) -> None:
        """Do nothing: forward() of the user's may ask for it."""
