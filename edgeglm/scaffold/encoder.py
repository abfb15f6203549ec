"""A recipe for a text encoder of the user's, as far as the folder of its checkpoint tells."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from edgeglm.errors import ModelError, UserError
from edgeglm.scaffold import fill, recipe_name
from edgeglm.scaffold.own import ARTIFACTS, quoted, relative
from edgeglm.sources.hf_folder import WEIGHTS, check_folder, class_names
from edgeglm.sources.image_folders import SUFFIXES, class_folders

if TYPE_CHECKING:
    from pathlib import Path

_LENGTH = 64  # tokens: most single sentences; what is computed and timed grows with it
_MODELS = (".onnx", ".tflite", ".safetensors", ".pt", ".pth")
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
        ModelError: The folder holds another model or none, or a file of the checkpoint is missing or damaged.
    """
    config = _config(folder)
    for option, given in (("--images", images), ("--entry", entry)):
        if given is not None:
            raise UserError(
                f"{folder} is the folder of a text encoder",
                where=option,
                hint=f"leave {option} out, or name a file of weights by --model",
                code="init-entry",
            )
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


def _config(folder: Path) -> dict[str, Any]:
    """Return what config.json says, once it is known to be a text encoder's. Raises: ModelError."""
    if not (folder / "config.json").is_file() and (hint := _what_it_holds(folder)):
        raise ModelError(
            "there is no config.json in this folder: of folders, --model takes that of a text encoder of transformers, "
            "with config.json and model.safetensors",
            where=str(folder),
            hint=hint,
            code="model-file-missing",
        )
    config = check_folder(folder, where=str(folder))
    if "vocab_size" not in config:
        raise ModelError(
            f"config.json is of a `{config['model_type']}` without a `vocab_size`, which is no text encoder",
            where=str(folder),
            hint=f"for another network name its weights, `--model {shlex.quote(str(folder / WEIGHTS))}`, and the "
            "function that builds it by --entry",
            code="hf-architecture",
        )
    return config


def _what_it_holds(folder: Path) -> str:
    """Return the hint for a folder that is no checkpoint: a model file or images in it; "" where there is neither."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _MODELS and path.is_file())
    if files:
        return f"name the file: `--model {shlex.quote(str(files[0]))}`"
    places = [folder, *class_folders(folder)]
    if any(path.suffix.lower() in SUFFIXES for place in places for path in place.iterdir()):
        return f"a folder of images is named by `--images {shlex.quote(str(folder))}`, and the model's file by --model"
    return ""


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
