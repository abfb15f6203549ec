"""Which scheme each operator of a file gets: the artifact's, or that of an entry of `layers` or `ignore`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeglm.artifacts.patterns import select
from edgeglm.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeglm.recipe.types import BlockSize, Quantize

DEFAULT_BLOCK = 32  # of 4-bit weights


@dataclass(frozen=True)
class Group:
    """Operators that are quantized alike."""

    scheme: str
    block_size: BlockSize | None  # of weight-only schemes; None: the scheme's own
    operators: frozenset[str]
    match: str = ""  # the entry of `layers` that says so; "": the artifact itself


@dataclass(frozen=True)
class Plan:
    """Every operator of a file in one group; the artifact's own comes first."""

    groups: tuple[Group, ...]
    ranges: str | None = None  # how those of static INT8 are found; None: as suits the format

    def of(self, *schemes: str) -> set[str]:
        """Return the operators that get one of these schemes."""
        return {name for group in self.groups if group.scheme in schemes for name in group.operators}

    def but(self, *schemes: str) -> set[str]:
        """Return the operators that get another."""
        return {name for group in self.groups if group.scheme not in schemes for name in group.operators}

    def has(self, *schemes: str) -> bool:
        """Return whether a group has one of these schemes, be it empty: what is not in the file yet gets the first."""
        return any(group.scheme in schemes for group in self.groups)

    def check(self, weighted: Iterable[str], *, large: set[str]) -> None:
        """See that every entry of `layers` made some layer smaller.

        Args:
            weighted: Operators that have weights.
            large: Those whose weights are larger than their scheme says.

        Raises:
            ExportError: ``quantized-nothing``.
        """
        known = set(weighted)
        for group in self.groups:
            if group.match and group.scheme != "none" and not (known & group.operators) - large:
                raise ExportError(
                    f"{group.scheme} quantized nothing that `{group.match}` matches",
                    hint="match a layer with weights that this scheme takes, or remove the entry from `layers`",
                    code="quantized-nothing",
                )


def make_plan(quantization: Quantize, layers: Mapping[str, Iterable[str]], *, where: str) -> Plan:
    """Return what is to be done with each operator.

    Args:
        quantization: The artifact's settings.
        layers: Operator of the file -> the names of the layers it computes.
        where: Path of the file, for errors.

    Raises:
        ExportError: A pattern is no regular expression, or matches no layer (``pattern-invalid``,
            ``pattern-matches-nothing``).
    """
    entries = [("", quantization.scheme, quantization.block_size, set(layers))]
    entries += [
        (rule.match, rule.scheme, rule.block_size, select([rule.match], layers, where=where))
        for rule in quantization.layers
    ]
    entries.append(("", "none", None, select(quantization.ignore, layers, where=where)))
    taken: set[str] = set()
    groups = []
    for match, scheme, block_size, matched in reversed(entries):
        own = matched - taken
        if match and not own:
            raise ExportError(
                f"the pattern `{match}` of `layers` matches only what later entries, or `ignore`, match too",
                where=where,
                hint="put narrower patterns after wider ones: where several match, the last one counts",
                code="pattern-matches-nothing",
            )
        taken |= own
        groups.append(Group(scheme, block_size, frozenset(own), match))
    return Plan(tuple(reversed(groups)), quantization.ranges)
