"""A recipe for a text encoder of the user's, as far as the folder of its checkpoint tells."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from edgeglm.errors import UserError
from edgeglm.scaffold import fill, recipe_name
from edgeglm.scaffold.own import ARTIFACTS, quoted, relative
from edgeglm.sources.hf_folder import check_folder, class_names

if TYPE_CHECKING:
    from pathlib import Path

_LENGTH = 64  # tokens: most single sentences; what is computed and timed grows with it
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


def encoder_files(
    directory: Path, folder: Path, *, images: Path | None, entry: str | None, target: str
) -> tuple[dict[str, bytes], list[str]]:
    """Return name -> content of the files to write, and what they leave to the user, a line each.

    Args:
        directory: Where they will lie.
        folder: Of the checkpoint, with config.json and model.safetensors.
        images: What was given beside it; an encoder takes texts.
        entry: The same.
        target: The board.

    Raises:
        UserError: Images or an entry do not go with it.
        ModelError: A file of the checkpoint is missing or damaged.
    """
    for option, given in (("--images", images), ("--entry", entry)):
        if given is not None:
            raise UserError(
                f"{folder} is the folder of a text encoder",
                where=option,
                hint=f"leave {option} out, or name a file of weights by --model",
                code="init-entry",
            )
    config = check_folder(folder, where=str(folder))
    classifies = any("SequenceClassification" in str(name) for name in config.get("architectures") or [])
    pooling = "" if classifies else f", pooling: {_pooling(folder)}"
    task = "classification" if classifies else "embedding"
    length = min(_LENGTH, int(config.get("max_position_embeddings") or _LENGTH))
    path = quoted(relative(folder, directory))
    suffix, lines = ("tsv", "text, tab, label") if classifies else ("txt", "one text")
    recipe = fill(
        "own/recipe.yaml",
        {
            "path": shlex.quote(str(directory / "recipe.yaml")),
            "name": recipe_name(directory),
            "model": f"model: {{source: hf, path: {path}, task: {task}{pooling}}}",
            "data": f"data: {{source: text, path: texts}}   # texts/train.{suffix}, texts/eval.{suffix}",
            "task": f"kind: {task}",
            "labels": _labels(class_names(folder)) if classifies else "",
            "preprocess": _preprocess(path, length),
            "target": target,
            "steps": "",
            "artifacts": ARTIFACTS,
        },
    )
    to_do = [
        f"write {directory / 'texts'}/train.{suffix} and eval.{suffix}: {lines} a line, as your devices will see them",
        f"check `length` in {directory / 'recipe.yaml'}: longer texts are cut, and shorter ones take as long",
    ]
    if not (folder / "tokenizer.json").is_file():
        to_do.insert(0, f"{folder} has no tokenizer.json: `AutoTokenizer.from_pretrained(...).save_pretrained(...)`")
    return {"recipe.yaml": recipe}, to_do


def _pooling(folder: Path) -> str:
    """Return how sentence-transformers pools this checkpoint, where its settings lie there too; else by the mean."""
    try:
        said = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
        return next((word for key, word in _POOLINGS.items() if said.get(key)), "mean")
    except (OSError, ValueError, AttributeError):
        return "mean"


def _labels(names: tuple[str, ...]) -> str:
    """Return the line of labels, in the order of the outputs, where the checkpoint names them."""
    if not names:
        return "# labels: [first, second, ...]   # in the order of the outputs"
    return f"labels: [{', '.join(quoted(name) for name in names)}]"


def _preprocess(path: str, length: int) -> str:
    tokenizer = path[:-1] + '/tokenizer.json"'
    return "\n".join(
        [
            "# What happens to a text before the model, here and on the board; the tokenizer travels with the result.",
            "preprocess:",
            f"  - tokenize: {{tokenizer: {tokenizer}, length: {length}}}",
        ]
    )
