"""Did-you-mean: the nearest of the known names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_MEANT = {"gpu": "cuda", "cnn": "classification", "tensorflow": "tflite", "pytorch": "python", "torch": "python"}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names nearest to `name`, best first: one that is spelt alike, else those that contain it."""
    by_folded = {_fold(word): word for word in known}
    folded = _fold(name)
    if _MEANT.get(folded) in by_folded:
        return [_MEANT[folded]]
    if alike := get_close_matches(folded, by_folded, n=1, cutoff=0.7):
        return [by_folded[alike[0]]]
    contained = [word for fold, word in by_folded.items() if len(folded) >= 3 and (folded in fold or fold in folded)]
    if contained:
        return contained[:4]
    return [by_folded[match] for match in get_close_matches(folded, by_folded, n=1, cutoff=0.6)]


def suggestion(name: str, known: Iterable[str], *, what: str = "known") -> str:
    """Return the hint for an unknown name: the nearest known one, or all of them."""
    words = list(known)
    if near := nearest(name, words):
        return f"did you mean {' or '.join(f'`{word}`' for word in near)}?"
    return f"{what}: {', '.join(words)}" if words else ""


def _fold(word: str) -> str:
    return word.lower().replace("-", "_")
