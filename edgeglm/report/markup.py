"""HTML and SVG elements that escape what goes into them: nothing a user wrote becomes markup."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Iterable

# Characters that no document may hold, and those that turn the direction of the text around them.
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_VOID = {"meta", "br", "link", "img"}


class Markup(str):
    """Text that is markup already; ``element`` puts it in as it is."""

    __slots__ = ()


Child: TypeAlias = Union[str, "Markup", "Iterable[Child]", None]
Attribute: TypeAlias = str | int | float | bool | None


def clean(text: str) -> str:
    """Return the text without control characters: each becomes U+FFFD."""
    return _UNSAFE.sub("\ufffd", text)


def escape(text: str) -> Markup:
    """Return text that shows as it was written, also inside a quoted attribute."""
    return Markup(html.escape(clean(text), quote=True))


def join(*children: Child) -> Markup:
    """Return children one after the other; strings are escaped, ``Markup`` is not, None is nothing."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(escape(child))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def element(tag: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return one element.

    Attribute names are written with ``_`` for ``-``, and with a trailing ``_`` where Python has the word
    (``class_``). True gives the bare attribute; False and None leave it out. Floats have two decimals.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        bare = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {bare}")
        else:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            written.append(f' {bare}="{escape(text)}"')
    opening = f"<{tag}{''.join(written)}>"
    return Markup(opening if tag in _VOID else f"{opening}{join(*children)}</{tag}>")
