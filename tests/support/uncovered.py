"""The environment of a child that is to load nothing but what is asked of it."""

from __future__ import annotations

import os


def uncovered() -> dict[str, str]:
    """Return this process's environment without what makes a child measure its coverage, which imports a lot."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
