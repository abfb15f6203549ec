"""What the agent's commands say when something is wrong: where, what, how to mend it, and a stable code.

    AgentError                        exit
    ├── SettingsError                  2   every problem of one settings file at once
    ├── UsageError                     2   the command line is at fault
    └── UnavailableError               4   no agent runs here, it does not answer, or the machine refuses

``docs/errors.md`` has a paragraph on each code. Anything else that a command raises is a bug: exit 1, with its
traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    message: str
    hint: str = ""
    where: str = ""  # "agent.toml:14 slots.main", a path, a host
    code: str

    def __str__(self) -> str:
        """Return the block a user sees: place and fault, blank line, hint, code."""
        head = f"{self.where}: {self.message}" if self.where else self.message
        hint = [f"hint: {self.hint}"] if self.hint else []
        return "\n".join([head, "", *hint, f"code: {self.code}"])


class AgentError(Exception):
    """What the agent raises on purpose; shown without a traceback."""

    exit_code = 1

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return every problem, a blank line between."""
        return "\n\n".join(str(problem) for problem in self.problems)


class SettingsError(AgentError):
    """The settings file cannot be used; carries every problem found in it."""

    exit_code = 2


class UsageError(AgentError):
    """What was asked for does not go together."""

    exit_code = 2


class UnavailableError(AgentError):
    """The machine, or an agent on it, does not do what is asked."""

    exit_code = 4
