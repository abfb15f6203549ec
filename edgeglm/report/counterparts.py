"""Which artifact of one report is which of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from edgeglm.report.findings import artifact_name, written_artifacts

if TYPE_CHECKING:
    from edgeglm.report.types import ArtifactSide, Report

Counterparts: TypeAlias = "tuple[str, ArtifactSide | None, ArtifactSide | None]"  # a name, the first's, the second's


def counterparts(a: Report, b: Report) -> list[Counterparts]:
    """Return a name with each artifact and its counterpart, None where it has none; those of b alone come last.

    One kind belongs together; of several of a kind those of one path, the others in their order. Then what is left over
    of one format and scheme does: one run may find ranges in another way, or leave layers in float.
    """
    before, after = _by_kind(a), _by_kind(b)
    found: list[Counterparts] = []
    added: list[Counterparts] = []
    for kind in [*before, *(kind for kind in after if kind not in before)]:
        first, second = before.get(kind, []), after.get(kind, [])
        several = max(len(first), len(second)) > 1
        left = [side for side in second if side.path not in {one.path for one in first}]
        for side in first:
            same = next((one for one in second if one.path == side.path), None)
            found.append((_named(side, several), side, same or (left.pop(0) if left else None)))
        added += [(_named(side, several), None, side) for side in left]
    return _rejoined(found, added)


def _rejoined(found: list[Counterparts], added: list[Counterparts]) -> list[Counterparts]:
    """Return all, those without a counterpart beside the first without one that has their format and scheme."""
    joined: list[Counterparts] = []
    for name, first, second in found:
        if first is not None and second is None:
            like = (one for one in added if one[2] is not None and _made_as(one[2]) == _made_as(first))
            if (other := next(like, None)) is not None:
                added = [one for one in added if one is not other]
                name, second = f"{name} -> {other[0]}", other[2]
        joined.append((name, first, second))
    return joined + added


def _made_as(side: ArtifactSide) -> tuple[str, str]:
    return side.format, side.scheme


def _by_kind(report: Report) -> dict[tuple[str, str, str, bool], list[ArtifactSide]]:
    """Return what is written by format, scheme, how ranges were found, and whether a scan left layers in float.

    No recipe makes two of a kind today; a report that has them loses none.
    """
    found: dict[tuple[str, str, str, bool], list[ArtifactSide]] = {}
    for side in written_artifacts(report):
        kind = (side.format, side.scheme, side.ranges, any(part.kept for part in side.sensitivity))
        found.setdefault(kind, []).append(side)
    return found


def _named(side: ArtifactSide, several: bool) -> str:
    """Return what an artifact is called, with its path where others are called the same."""
    return f"{artifact_name(side)} ({side.path})" if several else artifact_name(side)
