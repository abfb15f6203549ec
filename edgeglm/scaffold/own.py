"""A recipe for the user's own model and images, as far as their files tell."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeglm.errors import ModelError, UserError
from edgeglm.scaffold import fill, recipe_name
from edgeglm.scaffold.architecture import (
    Architecture,
    image_channels,
    last_layer,
    recognise,
    shown,
    table,
    without_wrappers,
)
from edgeglm.scaffold.photos import survey

if TYPE_CHECKING:
    from edgeglm_agent.wire import TensorSpec

    from edgeglm.scaffold.photos import Photos

_FILES = {".onnx": "onnx", ".tflite": "tflite"}
_FLATTENED = '''

class Flattened(nn.Sequential):
    """Layers that take each image as one row of numbers."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.flatten(1))

'''


@dataclass(frozen=True)
class _Model:
    """What is known of the model."""

    line: str  # of the recipe
    files: dict[str, bytes]
    file_format: str | None = None  # a model that is a file already
    architecture: Architecture | None = None
    channels: int | None = None  # of the images that it takes, where that is known
    input: TensorSpec | None = None  # of a model that is a file already
    classes: int | None = None  # outputs, where they are known
    output: str | None = None  # that holds the logits, when it is not the first
    to_do: tuple[str, ...] = ()  # what the files written leave to the user


def own_files(
    directory: Path, *, model: Path | None, images: Path | None, entry: str | None, target: str
) -> tuple[dict[str, bytes], list[str]]:
    """Return name -> content of the files to write, and what they leave to the user, a line each.

    Raises:
        UserError: The entry does not go with the model.
        ModelError: The model cannot be read.
        DataError: The images cannot be used.
    """
    photos = survey(images) if images is not None else None
    if model is not None and not model.is_file():
        raise ModelError("no such file", where=str(model), hint="name a file of weights", code="model-file-missing")
    file_format = _FILES.get(model.suffix.lower()) if model is not None else None
    if model is not None and file_format is not None:
        found = _file_model(directory, model, file_format, entry)
    else:
        found = _network(directory, model, entry, photos)
    _check_classes(found, photos, model)
    files, to_do = dict(found.files), list(found.to_do)
    if photos is not None:
        files["labels.txt"] = "".join(f"{name}\n" for name in photos.classes).encode()
    else:
        shape = "" if found.input is None else f", each of shape {list(found.input.shape)}"
        files["data.py"] = fill("own/data.py", {"shape": shape})
        to_do.append(f"complete {directory / 'data.py'}: `load` raises NotImplementedError")
    to_do += _to_check(directory / "recipe.yaml", images, photos, found)
    files["recipe.yaml"] = fill(
        "own/recipe.yaml",
        {
            "path": shlex.quote(str(directory / "recipe.yaml")),
            "name": recipe_name(directory),
            "model": found.line,
            "data": _data_line(directory, images, photos, found),
            "task": "kind: classification" + (f", output: {quoted(found.output)}" if found.output else ""),
            "labels": "labels: labels.txt"
            if photos
            else "# labels: [first, second, ...]   # in the order of the outputs",
            "preprocess": _preprocess(photos, found),
            "target": target,
            "steps": "" if found.file_format else _STEPS,
            "artifacts": ARTIFACTS,
        },
    )
    return {name: files[name] for name in sorted(files, key=lambda name: (name != "recipe.yaml", name))}, to_do


_STEPS = """
# What is done to the network: channels go, then it learns from the original again. More epochs give more back.
steps:
  - prune: {channel_ratio: 0.3}
  - distill: {epochs: 10}
"""


ARTIFACTS = """# auto: the best file of each format that can be made here. Or a list of them:
#   - {format: onnx, quantize: static-int8}   # suits CNNs; dynamic-int8 suits transformers
artifacts: auto"""


def relative(path: Path, directory: Path) -> str:
    """Return a path as a recipe in this directory names it."""
    return Path(os.path.relpath(path, directory)).as_posix()


def quoted(text: str) -> str:
    """Return a text in quotes, as YAML reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _file_model(directory: Path, model: Path, file_format: str, entry: str | None) -> _Model:
    if entry is not None:
        raise UserError(
            f"{model} is a whole model, which no function builds",
            where="--entry",
            hint="leave --entry out, or name a file of weights by --model",
            code="init-entry",
        )
    from edgeglm.scaffold.model_files import look

    facts = look(model, file_format)
    line = f"model: {{source: {file_format}, path: {quoted(relative(model, directory))}}}"
    classes = facts.classes if facts.classes > 0 else None
    return _Model(line, {}, file_format, input=facts.input, classes=classes, output=facts.output)


def _network(directory: Path, model: Path | None, entry: str | None, photos: Photos | None) -> _Model:
    shapes = {}
    if model is not None:
        from edgeglm.nn.weights import read_weights

        shapes = {name: tuple(tensor.shape) for name, tensor in read_weights(model, str(model)).items()}
    channels = image_channels(shapes)
    weights = "" if model is None else f", weights: {quoted(relative(model, directory))}"
    if entry is not None:
        from edgeglm.sources.entry import Entries

        entries = Entries(Path())
        try:
            entries.resolve(entry, key="--entry")
        finally:
            entries.close()
        place, _, function = entry.rpartition(":")
        if place.endswith(".py"):
            place = relative(Path(place), directory)
        return _Model(
            f"model: {{source: python, entry: {quoted(f'{place}:{function}')}{weights}}}", {}, channels=channels
        )
    line = f'model: {{source: python, entry: "./model.py:build"{weights}}}'
    architecture = recognise(shapes, image_channels=(1 if photos.grey else 3) if photos else None)
    if architecture is None or model is None:
        to_do = f"complete {directory / 'model.py'}: `build` raises NotImplementedError until it returns your network"
        return _Model(line, {"model.py": _unknown(shapes)}, channels=channels, to_do=(to_do,))
    return _Model(
        line,
        {"model.py": _known(model, architecture)},
        architecture=architecture,
        channels=architecture.channels,
        classes=architecture.classes,
        to_do=(f"check {directory / 'model.py'}: a draft, with its guesses listed at the top",)
        if architecture.assumed
        else (),
    )


def _known(model: Path, architecture: Architecture) -> bytes:
    certainty = "Names and shapes fit it exactly."
    if architecture.assumed:
        guesses = "\n".join(f"    {guess}" for guess in architecture.assumed)
        certainty = (
            "A DRAFT: weights do not say what lies between the layers. These are guesses; put right what is wrong.\n"
            "The report's baseline must show the accuracy that you know; if it does not, a guess is wrong.\n\n"
            + guesses
        )
    return fill(
        "own/model_known.py",
        {
            "weights": shown(model.name).replace('"', "'"),
            "architecture": architecture.name,
            "certainty": certainty,
            "imports": architecture.imports,
            "helper": _FLATTENED if architecture.expression.startswith("Flattened") else "",
            "expression": architecture.expression,
        },
    )


def _unknown(shapes: dict[str, tuple[int, ...]]) -> bytes:
    shapes = without_wrappers(shapes)
    head = last_layer(shapes)
    lines = ["#", "# The weights hold:", "#", *(f"#     {line}" for line in table(shapes).splitlines())]
    if head is not None:
        lines += ["#", f"# The last matrix, `{shown(head[0])}`, has {head[1]} outputs: probably that many classes."]
    return fill(
        "own/model_unknown.py",
        {"table": "\n".join(lines) if shapes else "", "classes": f"classes={head[1]}" if head else ""},
    )


def _check_classes(found: _Model, photos: Photos | None, model: Path | None) -> None:
    """Refuse images that are not of the classes that the model knows."""
    if photos is None or found.classes in (None, len(photos.classes)):
        return
    raise UserError(
        f"{model} has {found.classes} outputs, and the images are of {len(photos.classes)} classes: "
        f"{', '.join(photos.classes[:8])}{', ...' * (len(photos.classes) > 8)}",
        where="--images",
        hint="one folder for each class that the model was trained on; if there are others, leave --images out and "
        "write data.py",
        code="init-classes",
    )


def _grey(photos: Photos, found: _Model) -> bool:
    """Tell whether the model takes one channel; where that is not known, whether the images have one."""
    if found.input is not None and found.input.layout in ("NCHW", "NHWC"):
        return found.input.shape[0 if found.input.layout == "NCHW" else 2] == 1
    return photos.grey if found.channels is None else found.channels == 1


def _data_line(directory: Path, images: Path | None, photos: Photos | None, found: _Model) -> str:
    if images is None or photos is None:
        return 'data: {source: python, entry: "./data.py:load"}'
    more = ", mode: grey" if _grey(photos, found) else ""
    if photos.eval_splits != ("eval",):
        more += f", eval_splits: [{', '.join(photos.eval_splits)}]"
    return (
        f"data: {{source: images, path: {quoted(relative(images, directory))}{more}}}"
        f"   # {photos.count} images of {len(photos.classes)} classes"
    )


def _size(photos: Photos, found: _Model) -> tuple[int, int, str]:
    """Return height and width to resize to, and how they are known."""
    if found.input is not None and found.input.layout in ("NCHW", "NHWC"):
        height, width = found.input.shape[1:] if found.input.layout == "NCHW" else found.input.shape[:2]
        if height > 0 and width > 0:
            return height, width, "what the model takes"
    elif found.architecture is not None and found.architecture.side is not None:
        return found.architecture.side, found.architecture.side, "what the first linear layer implies"
    height, width = photos.size
    if photos.usual is not None:
        return height, width, f"most images are {photos.usual[1]} x {photos.usual[0]}"
    return height, width, f"to check: {_sizes_differ(photos)}"


def _sizes_differ(photos: Photos) -> str:
    (low, narrow), (high, wide) = photos.extremes
    return f"sizes differ ({narrow}x{low} to {wide}x{high}): which did you train with?"


def _to_check(recipe: Path, images: Path | None, photos: Photos | None, found: _Model) -> list[str]:
    """Return what in the recipe no file tells."""
    if photos is None or images is None:
        return [f"check `preprocess` in {recipe}: what your samples go through before the model"]
    lines = [f"check `preprocess` in {recipe}: the size and the values with which you trained"]
    height, width, why = _size(photos, found)
    if why.startswith("to check"):
        lines.append(f"check `resize` there: {_sizes_differ(photos)} {width}x{height} is only the most usual one")
    lines += [
        f"{images / name} holds folders of classes too: add `{name}` to `eval_splits` to evaluate on it"
        for name in photos.others
    ]
    return lines


def _preprocess(photos: Photos | None, found: _Model) -> str:
    if photos is None:
        return "preprocess: []                # what is done to a sample before the model, here and on the board"
    height, width, why = _size(photos, found)
    layout = found.input.layout if found.input is not None and found.input.layout == "NHWC" else "NCHW"
    normalise = "{scale: 1/255}"
    if found.architecture is not None and found.architecture.imagenet:
        normalise = "{scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
    lines = [
        "# What happens to an image before the model, here and on the board: as it was when the model was trained.",
        "# If the report's baseline is less accurate than you know the model to be, look here first.",
        "preprocess:",
        f"  - resize: {{height: {height}, width: {width}}}   # {why}",
        f"  - normalise: {normalise}",
    ]
    lines += ["  - layout: {to: CHW}"] if layout == "NCHW" else []
    return "\n".join([*lines, "postprocess:", "  - softmax", "  - top-k: {k: 1}", "  - labels"])
