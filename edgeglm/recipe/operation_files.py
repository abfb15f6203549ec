"""The files that operations of `preprocess` read, such as a tokenizer: are they there, and what they should be?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from edgeglm.errors import EdgeglmError, Problem
from edgeglm.files import tidied
from edgeglm.recipe.named_file import missing_problem
from edgeglm.sources.tokenizer_file import NAME, check_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from edgeglm.recipe.load import LoadedRecipe
    from edgeglm.recipe.types import Recipe


def with_tokenizer_files(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with the file `tokenizer.json` named where `tokenize` names the folder that it lies in."""
    steps = [
        msgspec.structs.replace(step, settings={**step.settings, "tokenizer": within})
        if step.op == "tokenize" and (within := _within(str(step.settings["tokenizer"]), folder))
        else step
        for step in recipe.preprocess
    ]
    return msgspec.structs.replace(recipe, preprocess=steps)


def _within(written: str, folder: Path) -> str:
    """Return the tokenizer's file in the folder that is written; empty: it is no folder, or has none."""
    try:
        return f"{written.rstrip('/')}/{NAME}" if tidied(folder / written / NAME).is_file() else ""
    except (OSError, ValueError):  # a name that is too long, a NUL: said where files are looked at
        return ""


def operation_problems(loaded: LoadedRecipe) -> list[Problem]:
    """Return every problem with such a file, at the line of the setting that names it; a tokenizer is loaded."""
    if not loaded.recipe.preprocess:
        return []
    from edgeglm_agent.processing import PRE_OPERATIONS  # takes NumPy along: only when used

    found: list[Problem] = []
    for index, step in enumerate(loaded.recipe.preprocess):
        key = f"preprocess[{index}].{step.op}"
        if step.op == "tokenize":
            try:
                check_tokenizer(step.settings, loaded.folder, key=key)
            except EdgeglmError as error:
                found += [replace(problem, where=loaded.where(problem.where)) for problem in error.problems]
            continue
        for name in PRE_OPERATIONS[step.op].files:
            problem = missing_problem(loaded, str(step.settings[name]), f"{key}.{name}")
            found += [problem] if problem is not None else []
    return found
