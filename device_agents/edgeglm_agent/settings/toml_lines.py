"""On which line of a TOML text each key and each item of an array stands: the parser of the library does not say.

The text has been parsed by then, so this looks for ends of keys and values and judges nothing. TOML 1.0, toml.io.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TypeAlias

Part: TypeAlias = str | int
KeyPath: TypeAlias = tuple[Part, ...]  # ("slots", "main", "results", 0, "path")

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")  # between the items of an array, and between statements
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r'"""(?:\\.|[^\\])*?"{3,5}',  # up to two quotes may stand before the three that end it
        r"'''.*?'{3,5}",
        r'"(?:\\.|[^"\\\n])*"',
        r"'[^'\n]*'",
    )
)
_PLAIN_VALUE = re.compile(r"[^,\]}#\r\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


class TomlLines:
    """The lines of one text, counted from 1.

    Attributes:
        lines: By key path; of a table the line of its header, or of the first key that makes it.
        repeated: Keys that stand twice, with both lines; such a text is no TOML.
    """

    def __init__(self, text: str) -> None:
        """Read the text. Raises: ValueError: It cannot be followed to its end; what came before is in ``lines``."""
        self.lines: dict[KeyPath, int] = {}
        self.repeated: list[tuple[KeyPath, int, int]] = []
        self._text = text
        self._ends = [match.end() for match in re.finditer("\n", text)]
        self._items: dict[KeyPath, int] = {}  # arrays of tables: how many there are so far
        self._given: set[KeyPath] = set()  # by a header or a value of its own, not by a longer key
        self._at = 0
        self._statements()

    def nearest(self, path: KeyPath) -> int:
        """Return the line of a path, or of the nearest around it that the text writes; 1 where it writes none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def _statements(self) -> None:
        table: KeyPath = ()
        while self._skip(_BLANK_LINES) < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> KeyPath:
        line = self._line()
        self._at += brackets
        keys = self._keys()
        self._expect("]" * brackets)
        path: KeyPath = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            last = number == len(keys) - 1
            if last and brackets == 2:
                self.lines.setdefault(path, line)
                count = self._items[path] = self._items.get(path, 0) + 1
                path = (*path, count - 1)
            elif not last and path in self._items:
                path = (*path, self._items[path] - 1)  # [a.b] below [[a]] belongs to the last one
            if not last:
                self.lines.setdefault(path, line)
        if path in self._given:
            self.repeated.append((path, self.lines[path], line))
        self._given.add(path)
        self.lines[path] = line  # rather the header than a table below it that came first
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        keys = self._keys()
        for number, key in enumerate(keys):
            path = (*path, key)
            if number == len(keys) - 1 and path in self.lines:
                self.repeated.append((path, self.lines[path], line))
            self.lines.setdefault(path, line)
        self._given.add(path)
        self._skip(_BLANK)
        self._expect("=")
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at : self._at + 1]
        if opening in ('"', "'"):
            self._string()
        elif opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._skip(_PLAIN_VALUE)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        self._skip(_BLANK_LINES)
        while not self._text.startswith("]", self._at):
            item = (*path, number)
            self.lines[item] = self._line()
            self._value(item)
            self._skip(_BLANK_LINES)
            if not self._text.startswith("]", self._at):
                self._expect(",")
            self._skip(_BLANK_LINES)
            number += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK_LINES)  # TOML 1.1 lets it go over several lines
        while not self._text.startswith("}", self._at):
            self._pair(path)
            self._skip(_BLANK_LINES)
            if not self._text.startswith("}", self._at):
                self._expect(",")
            self._skip(_BLANK_LINES)
        self._at += 1

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            if self._text[self._at : self._at + 1] in ('"', "'"):
                keys.append(self._string())
            else:
                match = _BARE_KEY.match(self._text, self._at)
                if match is None:
                    raise ValueError(f"no key on line {self._line()}")
                keys.append(match[0])
                self._at = match.end()
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _string(self) -> str:
        for pattern in _STRINGS:
            match = pattern.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                inner = match[0][1:-1]  # of a key; nobody asks for that of a value
                return _ESCAPE.sub(_unescaped, inner) if match[0].startswith('"') else inner
        raise ValueError(f"a text that does not end, on line {self._line()}")

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        assert match is not None  # both patterns match nothing at all, too
        self._at = match.end()
        return self._at

    def _expect(self, sign: str) -> None:
        if not self._text.startswith(sign, self._at):
            raise ValueError(f"no `{sign}` on line {self._line()}")
        self._at += len(sign)

    def _line(self) -> int:
        return bisect_right(self._ends, self._at) + 1


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _ESCAPES.get(match[3], match[3])


def shown(path: KeyPath) -> str:
    """Return a path as the file would write it: ``slots.main.results[0].path``; empty for the whole file."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            name = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            parts.append(f".{name}" if parts else name)
    return "".join(parts)
