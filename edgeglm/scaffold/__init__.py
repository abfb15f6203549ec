"""The first files of a new recipe: an example that runs as it is, or a start from the user's own model and images."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from edgeglm.boards import BOARDS
from edgeglm.errors import UserError
from edgeglm.files import write_bytes
from edgeglm.shipped import recipe_files, shipped_recipes

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATES = Path(__file__).with_name("templates")
_EXAMPLE = ("recipe.yaml", "model.py", "data.py", "labels.txt", "train.py", "shapes.safetensors")


@dataclass(frozen=True)
class Started:
    """What was written, and what is not done by it."""

    files: list[Path]
    to_do: list[str]  # a sentence each


def init(
    directory: Path,
    *,
    model: Path | None = None,
    images: Path | None = None,
    entry: str | None = None,
    recipe: str | None = None,
    target: str = "x86-64",
) -> Started:
    """Write a recipe and what it needs; nothing that exists is changed.

    Args:
        directory: Where to write; made when missing.
        model: The user's weights (safetensors, or a state_dict), an ONNX or TFLite file, or the folder of a text
            encoder of transformers.
        images: The user's images: a folder per class, or a folder per split with a folder per class in each.
        entry: The user's function that builds the network, ``path.py:function`` as seen from here, or
            ``module:function``.
        recipe: Name of a shipped recipe to start from, in place of all of these.
        target: The board that the result is for.

    Returns:
        The files written (none when there was an error), and what is left to the user.

    Raises:
        UserError: A file that would be written exists, the target or the recipe is unknown, the entry does not go with
            the model, or the images are of more or fewer classes than it.
        ModelError: The model cannot be read, is a full pickle, no classifier, or quantized already.
        DataError: The images cannot be used.
    """
    check_target(target)
    if recipe is not None:
        if model is not None or images is not None or entry is not None:
            raise UserError(
                "a shipped recipe has its own model and data",
                where="--recipe",
                hint="leave out --model, --images and --entry, or leave out --recipe",
                code="init-recipe",
            )
        return Started(_write(directory, _shipped(recipe, target)), [])
    if model is None and images is None and entry is None:
        return Started(_write(directory, _example(directory, target)), [])
    if model is not None and model.is_dir():
        from edgeglm.scaffold.encoder import encoder_files

        files, to_do = encoder_files(directory, model, images=images, entry=entry, target=target)
        return Started(_write(directory, files), to_do)
    from edgeglm.scaffold.own import own_files

    files, to_do = own_files(directory, model=model, images=images, entry=entry, target=target)
    return Started(_write(directory, files), to_do)


def check_target(target: str) -> None:
    """Raise UserError when there is no such board."""
    if target in BOARDS:
        return
    from edgeglm_agent.suggest import suggestion

    raise UserError(
        f"unknown target `{target}`",
        where="--target",
        hint=suggestion(target, list(BOARDS)),
        code="init-target",
    )


def fill(template: str, values: Mapping[str, str]) -> bytes:
    """Return a template's text with its ``$names`` filled in; what is left empty leaves no gap."""
    text = Template((_TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(values)
    most = 2 if template.endswith(".yaml") else 3  # line breaks: one empty line in YAML, two in Python
    return (re.sub(rf"\n{{{most},}}", "\n" * most, text).strip("\n") + "\n").encode()


def recipe_name(directory: Path) -> str:
    """Return the folder's name as a recipe may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name).strip("-._") or "model"


def tflite_line(indent: str = "  ") -> str:
    """Return the line of a recipe that asks for TFLite: in a comment, where this host cannot build it."""
    from edgeglm.artifacts.capability import capability

    line = "- {format: tflite, quantize: static-int8}"
    return f'{indent}# {line}  # needs pip install "edgeglm[tflite]"' if capability("tflite") else indent + line


def _example(directory: Path, target: str) -> dict[str, bytes]:
    values = {"name": recipe_name(directory), "target": target, "tflite": tflite_line()}
    files: dict[str, bytes] = {}
    for name in _EXAMPLE:
        template = _TEMPLATES / "example" / f"{name}.tmpl"
        if name == "recipe.yaml":
            files[name] = fill(f"example/{name}", values)
        else:
            files[name] = (template if template.is_file() else template.with_name(name)).read_bytes()
    return files


def _shipped(name: str, target: str) -> dict[str, bytes]:
    """Return the files of a shipped recipe, for this board. Raises: UserError."""
    folders = {known: folder for known, folder, _ in shipped_recipes()}
    if name not in folders:
        from edgeglm_agent.suggest import suggestion

        raise UserError(
            f"no shipped recipe is called `{name}`",
            where="--recipe",
            hint=suggestion(name, list(folders)),
            code="init-recipe",
        )
    folder = folders[name]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in recipe_files(folder)}
    files["recipe.yaml"] = re.sub(rb"(?m)^target: .*$", f"target: {target}".encode(), files["recipe.yaml"])
    return files


def _write(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write all files, or none: what exists is refused first, and a failure half way takes back what it wrote."""
    if directory.exists() and not directory.is_dir():
        raise UserError("this is a file", where=str(directory), hint="name a folder", code="init-exists")
    there = [name for name in files if os.path.lexists(directory / name)]
    if there:
        raise UserError(
            f"{', '.join(there)} exist{'s' * (len(there) == 1)} already, and nothing was written",
            where=str(directory),
            hint="choose another folder, or move the old files away",
            code="init-exists",
        )
    written: list[Path] = []
    try:
        for name, content in files.items():
            write_bytes(directory / name, content)
            written.append(directory / name)
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return written
