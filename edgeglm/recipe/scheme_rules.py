"""Rules of one artifact: what its format and its scheme take. See ``rules``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeglm.patterns import broken_patterns
from edgeglm.recipe.types import LayerRule, Quantize
from edgeglm.sources import ModelSource

if TYPE_CHECKING:
    from edgeglm.recipe.types import ArtifactConfig
    from edgeglm.recipe.walk import Walker

_NO_INT8_BLOCKS = {"tflite": "TFLite", "openvino": "OpenVINO"}
_CONFLICT = "recipe-conflict"


def check_scheme(walker: Walker, key: str, artifact: ArtifactConfig) -> None:
    """What a scheme takes is its own: ours layers to leave alone, those of packages only some formats."""
    scheme = artifact.quantization
    controlled = isinstance(scheme, Quantize) and scheme.accuracy_control
    if f"{key}.search" in walker.lines and not artifact.is_auto and not controlled:
        walker.report(
            f"{key}.search",
            "nothing is searched for: neither format nor scheme is `auto`, and `accuracy_control` is off",
            "remove it, or write `quantize: auto`",
            code=_CONFLICT,
        )
    _calls(walker, key, artifact)
    if artifact.format == "openvino":
        _openvino(walker, key, artifact.scheme, scheme.layers if isinstance(scheme, Quantize) else [])
    if isinstance(scheme, Quantize):
        _quantization(walker, f"{key}.quantize", scheme, artifact.format)
    elif artifact.format not in ("auto", *scheme.formats):
        walker.report(
            f"{key}.quantize",
            f"`{artifact.scheme}` writes {' and '.join(scheme.formats)} files, not {artifact.format}",
            f"write `format: {scheme.formats[0]}`, or choose another scheme",
            code=_CONFLICT,
        )


def _calls(walker: Walker, key: str, artifact: ArtifactConfig) -> None:
    """Batch sizes and lengths are of a network that is exported here; not every format needs both."""
    model = walker.built.get("model")
    is_file = isinstance(model, ModelSource) and model.gives != "network"
    lengths = [step.settings["length"] for step in walker.built.get("preprocess") or [] if step.op == "tokenize"]
    for place, length in enumerate(artifact.buckets if lengths else []):
        if length > lengths[0]:
            walker.report(
                f"{key}.buckets[{place}]",
                f"{length} is more than the {lengths[0]} tokens that texts are padded to",
                "remove it, or give `tokenize` a larger `length`",
                code=_CONFLICT,
            )
    for name, given, formats in (
        ("buckets", bool(artifact.buckets), ("onnx", "tflite")),
        ("signatures", artifact.several_batches, ("tflite",)),
    ):
        if not given:
            continue
        if artifact.format not in ("auto", *formats):
            what = "openvino" if artifact.format == "openvino" else f"{artifact.format}, which takes any batch,"
            walker.report(
                f"{key}.{name}",
                f"{what} has no {name}",
                f"remove it, or write `format: {formats[-1]}`",
                code=_CONFLICT,
            )
        elif is_file:
            message = f"a model that is a file already keeps the shapes it has: it gets no {name}"
            walker.report(f"{key}.{name}", message, "remove it, or start from the PyTorch network", code=_CONFLICT)


def _openvino(walker: Walker, key: str, scheme: str, layers: list[LayerRule]) -> None:
    """OpenVINO is for x86 gateways, and has no dynamic scheme of its own."""
    target = walker.built.get("target", "x86-64")
    if target != "x86-64":
        walker.report(
            f"{key}.format",
            f"openvino is for `target: x86-64`, not {target}: on ARM it computes INT8 in float16, and says nothing",
            "write `format: onnx` or `format: tflite`, or `target: x86-64`",
            code=_CONFLICT,
        )
    for place, name in (
        ("", scheme),
        *((f".layers[{index}].scheme", rule.scheme) for index, rule in enumerate(layers)),
    ):
        if name == "dynamic-int8":
            walker.report(
                f"{key}.quantize{place}",
                "openvino has no dynamic-int8",
                "write weight-only-int8, whose activations OpenVINO quantizes as it runs, or static-int8",
                code=_CONFLICT,
            )


def _quantization(walker: Walker, key: str, quantization: Quantize, made: str) -> None:
    """Refuse patterns that are none, and settings that the scheme beside them does not read."""
    for index, pattern in enumerate(quantization.ignore):
        _pattern(walker, f"{key}.ignore[{index}]", pattern)
    _block_size(walker, f"{key}.block_size", quantization, made)
    if quantization.layers and quantization.scheme in ("none", "fp16"):
        walker.report(
            f"{key}.layers",
            f"`scheme: {quantization.scheme}` has no layers of another scheme",
            "write a scheme that quantizes, and `scheme: none` for the layers that stay in float",
            code=_CONFLICT,
        )
    if quantization.ranges is not None and not quantization.schemes & {"static-int8", "auto"}:
        message = f"`scheme: {quantization.scheme}` measures no ranges beforehand"
        walker.report(f"{key}.ranges", message, "remove it", code=_CONFLICT)
    if quantization.accuracy_control:
        _control(walker, f"{key}.accuracy_control", quantization.scheme)
    for index, rule in enumerate(quantization.layers):
        _pattern(walker, f"{key}.layers[{index}].match", rule.match)
        _block_size(walker, f"{key}.layers[{index}].block_size", rule, made)


def _control(walker: Walker, key: str, scheme: str) -> None:
    """Accuracy control has layers to choose from, and a limit."""
    if scheme == "auto":
        walker.report(key, "`auto` leaves sensitive layers in float by itself", "remove it", code=_CONFLICT)
    elif scheme in ("none", "fp16"):
        message = f"`scheme: {scheme}` quantizes no layer that could be left in float"
        walker.report(key, message, "remove it, or write a scheme that quantizes", code=_CONFLICT)
    elif walker.built.get("budget.metric_drop") is None:
        message = "there is no limit to keep: `budget.metric_drop` is not given"
        walker.report(key, message, "write `budget: {metric_drop: 0.01}`, or what may be lost", code=_CONFLICT)


def _block_size(walker: Walker, key: str, settings: Quantize | LayerRule, made: str) -> None:
    if settings.block_size is None or settings.scheme == "auto":
        return
    hint = "remove it, or write `scheme: weight-only-int4`"
    if not settings.scheme.startswith("weight-only-"):
        message = f"`{settings.scheme}` has no blocks: weights of one channel share a scale"
        walker.report(key, message, hint, code=_CONFLICT)
    elif made in _NO_INT8_BLOCKS and settings.scheme == "weight-only-int8":
        message = f"{_NO_INT8_BLOCKS[made]} has no blocks of 8-bit weights: those of one channel share a scale"
        walker.report(key, message, hint, code=_CONFLICT)


def _pattern(walker: Walker, key: str, pattern: str) -> None:
    for where, message, hint in broken_patterns(key, [pattern]):
        walker.report(where, message, hint, code=_CONFLICT)
