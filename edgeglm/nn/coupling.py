"""What of a network lives and dies together: groups of channels, heads, and hidden units."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch import Tensor

    from edgeglm.model import Edit


@dataclass(frozen=True)
class Member:
    """One side of one layer that a group's channels run through."""

    name: str  # of the layer, or of a parameter that stands alone
    side: str  # "out", "in", "hidden" of a recurrent layer, or "axis N" of a parameter that stands alone
    channels: tuple[int, ...]  # in this layer
    roots: tuple[int, ...]  # the root's channel that each of them is


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be taken out together. A unit is what goes at once: one channel, or one of each part."""

    root: str  # the layer whose output channels they are
    channels: int  # of the root
    parts: int  # grouped convolutions and GroupNorm lose a channel in each of their groups at once
    members: tuple[Member, ...]
    kind: str = "channels"  # channels | ffn | heads | head-dim: what a recipe calls them
    width: int = 1  # of a channel: an attention head counts as one, and is this many columns wide
    free: bool = False  # each part may lose other channels, only as many as the others: recurrent layers, head sizes
    counts: tuple[tuple[str, str], ...] = ()  # (module, attribute): integers that shrink as the units do
    scaled: tuple[str, ...] = ()  # layers to multiply by sqrt(kept / units), where forward() divides by that root

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

    def in_units(self, scores: Tensor) -> tuple[ChannelGroup, Tensor]:
        """Return the group and the scores of its units, from scores of its channels.

        A unit's score is the mean over its parts. Where the parts are free, unit n is the n-th least of every part:
        the group returned counts its channels in that order.
        """
        by_part = scores.view(self.parts, self.units)
        if not self.free:
            return self, by_part.mean(0)
        ranks = by_part.argsort(dim=1, stable=True).argsort(dim=1)  # (parts, units): each channel's place in its part
        moved = (ranks + torch.arange(self.parts)[:, None] * self.units).flatten().tolist()
        members = tuple(replace(m, roots=tuple(moved[root] for root in m.roots)) for m in self.members)
        return replace(self, members=members), by_part.sort(dim=1, stable=True).values.mean(0)


Removal: TypeAlias = "tuple[ChannelGroup, Collection[int]]"  # a group, and the units that go


def edit_of(removed: Iterable[Removal]) -> Edit:
    """Return the change of structure as plain data (see ``edgeglm.nn.structure``), all counted before anything went."""
    slices: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    counts: list[Sequence[str | int]] = []
    scaled: list[Sequence[str | float]] = []
    for group, units in removed:
        if not units:
            continue
        roots = group.channels_of(units)
        for member in group.members:
            slices[member.name, member.side].update(
                channel for channel, root in zip(member.channels, member.roots, strict=True) if root in roots
            )
        kept = group.units - len(units)
        counts += [[*place, kept, group.units] for place in group.counts]
        scaled += [[layer, (kept / group.units) ** 0.5] for layer in group.scaled]
    edit: Edit = {"edit": "prune", "layers": [[*place, sorted(gone)] for place, gone in slices.items() if gone]}
    return edit | ({"counts": counts} if counts else {}) | ({"scaled": scaled} if scaled else {})
