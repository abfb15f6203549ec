"""Blocks of a deep network that can be left out: those whose output has the shape of what they are given."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeglm.nn.calling import call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm.model import Edit

_STACKS = (nn.Sequential, nn.ModuleList)
_TORCHS = (nn.TransformerEncoder, nn.TransformerDecoder)  # they look into their first layer: none may be stood in for


class Skip(nn.Module):
    """Stands in for a block: answers with what it is given."""

    def __init__(self, argument: int | str, *, wrapped: bool) -> None:
        """Take note of where the input comes, and whether the answer is a tuple of one."""
        super().__init__()
        self.argument, self.wrapped = argument, wrapped

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the block's input."""
        x = args[self.argument] if isinstance(self.argument, int) else kwargs[self.argument]
        return (x,) if self.wrapped else x


@dataclass(frozen=True)
class Block:
    """One block, and how it is called."""

    name: str
    argument: int | str  # where its input comes: a position, or a keyword
    wrapped: bool  # it answers with a tuple of one
    stacked: bool  # it is one of several of its kind in a Sequential or ModuleList
    removed: bool  # it is taken out of its list, since nothing may stand there in its place


def find_blocks(module: nn.Module, inputs: dict[str, Tensor]) -> list[Block]:
    """Return every part of a network that could be left out, in the order of the network.

    Args:
        module: The network; left as it was.
        inputs: A few rows by input name.
    """
    network = deepcopy(module).eval()
    called: dict[str, set[tuple[int | str, bool] | None]] = {}

    def watch(name: str) -> Any:
        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            called.setdefault(name, set()).add(_same_shape(args, kwargs, output))

        return after

    for name, layer in network.named_modules():
        if name and not isinstance(layer, _STACKS) and any(True for _ in layer.parameters()):
            layer.register_forward_hook(watch(name), with_kwargs=True)
    with torch.no_grad():
        call(network, inputs)
    blocks = []
    for name, _ in network.named_modules():
        ways = called.get(name, {None})
        if len(ways) == 1 and (way := next(iter(ways))) is not None:
            owner = network.get_submodule(name.rpartition(".")[0].rpartition(".")[0])
            blocks.append(Block(name, *way, stacked=_is_stacked(network, name), removed=isinstance(owner, _TORCHS)))
    return blocks


def outermost(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks of stacks that lie in no other."""
    found: list[Block] = []
    for block in blocks:
        if block.stacked and not any(block.name.startswith(f"{other.name}.") for other in found):
            found.append(block)
    return found


def edit_without(blocks: Iterable[Block]) -> Edit:
    """Return the change of structure that leaves these blocks out (see ``edgeglm.nn.structure``)."""
    blocks = list(blocks)
    skip = [[block.name, block.argument, block.wrapped] for block in blocks if not block.removed]
    return {"edit": "drop-layers", "skip": skip, "remove": [block.name for block in blocks if block.removed]}


def leave_out(module: nn.Module, edit: Edit) -> None:
    """Change the network in place as the edit says."""
    for name, argument, wrapped in edit["skip"]:
        parent, _, leaf = name.rpartition(".")
        module.get_submodule(name)  # it must be there
        setattr(module.get_submodule(parent), leaf, Skip(argument, wrapped=wrapped))
    for name in sorted(edit["remove"], key=lambda name: int(name.rpartition(".")[2]), reverse=True):
        parent, _, leaf = name.rpartition(".")
        stack = module.get_submodule(parent)
        if not isinstance(stack, nn.ModuleList) or int(leaf) >= len(stack):
            raise ValueError(f"`{name}` is not in a list of layers")
        del stack[int(leaf)]


def _is_stacked(network: nn.Module, name: str) -> bool:
    layer, stack = network.get_submodule(name), network.get_submodule(name.rpartition(".")[0])
    if not isinstance(stack, _STACKS) or not any(True for _ in layer.children()):
        return False
    return sum(type(other) is type(layer) for other in stack.children()) > 1


def _same_shape(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> tuple[int | str, bool] | None:
    """Return where the tensor comes that has the shape of the answer, and whether that is a tuple of one."""
    wrapped = isinstance(output, tuple) and len(output) == 1
    answer = output[0] if wrapped else output
    if not isinstance(answer, Tensor):
        return None
    given: list[tuple[int | str, Any]] = [*enumerate(args[:1]), *kwargs.items()]
    for place, value in given:
        if isinstance(value, Tensor) and value.shape == answer.shape and value.dtype == answer.dtype:
            return place, wrapped
    return None
