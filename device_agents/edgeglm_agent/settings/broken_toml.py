"""A text that is no TOML: on which line, and what may be meant."""

from __future__ import annotations

import re
from contextlib import suppress

from edgeglm_agent.errors import Problem
from edgeglm_agent.passwords import hidden
from edgeglm_agent.settings.toml_lines import TomlLines, shown

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=\s*(.*?)\s*(?:#.*)?$")
_WITH_COLON = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*:\s*(.*)$")


def toml_problem(name: str, text: str, said: str) -> Problem:
    """Return the one problem that the parser found.

    Args:
        name: The file's, as the user gave it.
        text: What it holds.
        said: The parser's message, with its place at the end.
    """
    twice = _twice(name, text) if re.search("overwrite|twice|immutable|[Dd]uplicate|mutate", said) else None
    if twice is not None:
        return twice
    match = _PLACE.search(said)
    lines = text.splitlines() or [""]
    number = int(match[1]) if match and match[1] else len(lines)
    message = _PLACE.sub("", said)
    line = lines[number - 1] if number <= len(lines) else ""
    return Problem(
        message=f"this is no TOML: {message[:1].lower()}{message[1:]}",
        hint=_hint(message, line),
        where=f"{name}:{number}",
        code="settings-not-toml",
    )


def _twice(name: str, text: str) -> Problem | None:
    lines: TomlLines | None = None
    with suppress(ValueError):
        lines = TomlLines(text)
    if lines is None or not lines.repeated:
        return None
    path, first, second = lines.repeated[0]
    return Problem(
        message=f"`{shown(path)}` stands twice; first on line {first}",
        hint="keep one of the two; two slots, or two tables, need two names",
        where=f"{name}:{second}",
        code="settings-duplicate-key",
    )


def _hint(message: str, line: str) -> str:
    assigned = _ASSIGNMENT.match(line)
    if assigned is None and (colon := _WITH_COLON.match(line)):
        return f"TOML writes `{colon[1]} = ...`"
    if assigned is not None and "Invalid value" in message:
        key, value = assigned[1], assigned[2]
        if value.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"write `{key} = {'true' if value.lower() in ('true', 'yes', 'on') else 'false'}`"
        if not value:
            return f"give `{key}` a value, or remove the line"
        if value.lower() in ("null", "none", "nil", "~"):
            return "TOML has no null: remove the line"
        if re.match(r"[A-Za-z./~]", value):
            return f'text needs quotes: {key} = "{hidden(value)}"'
        return "numbers are written as 0.5, 300 or 1e-3; everything else needs quotes"
    if "\\" in line and re.search("escape", message, re.IGNORECASE):
        return "a backslash in \"...\" begins an escape: write the text in '...', or each backslash twice"
    if re.search("Unterminated|Illegal character|[Ee]xpected newline|Unclosed|Expected ']'|closing", message):
        return "look for a quote or bracket that is missing, on this line or on one above it"
    return "look at quotes, brackets and `=` on this line and on the one above; toml.io describes the format"
