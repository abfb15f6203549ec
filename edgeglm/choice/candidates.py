"""What `auto` tries: the formats and schemes that make sense for one network on one board, in the order of the rule.

The rules are those of docs/artifacts.md; the tables below are their text in code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import msgspec

from edgeglm.artifacts.capability import PACKAGES, capability
from edgeglm.choice.board_rule import rank
from edgeglm.model import ModelFile
from edgeglm.recipe.types import LayerRule, Quantize, Scheme, Signatures
from edgeglm.report.types import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeglm.artifacts.groups import Group
    from edgeglm.boards import Board
    from edgeglm.log import Log
    from edgeglm.measure.traits import Traits
    from edgeglm.pipeline.build import Builder
    from edgeglm.pipeline.project import Project
    from edgeglm.recipe import ArtifactConfig, Recipe

# family -> format -> schemes worth trying. Float is always one of them: what INT8 gains is found by measuring.
_SCHEMES: dict[str, dict[str, tuple[str, ...]]] = {
    "convolutional": {  # dynamic INT8 makes convolutions 2 to 6 times slower
        "onnx": ("static-int8", "none"),
        "tflite": ("static-int8", "fp16", "none"),
        "openvino": ("static-int8", "none"),
    },
    "transformer": {  # static INT8 of attention loses much: cosine .93 in ONNX, .57 in TFLite for MiniLM
        "onnx": ("dynamic-int8", "weight-only-int8", "none"),
        "tflite": ("dynamic-int8", "weight-only-int8", "fp16", "none"),
        "openvino": ("static-int8", "weight-only-int8", "none"),
    },
    "LSTM": {
        "onnx": ("dynamic-int8", "none"),
        "tflite": ("dynamic-int8", "static-int8", "fp16", "none"),
        "openvino": ("static-int8", "none"),  # OpenVINO computes recurrent cells in float, whatever their weights are
    },
    "recurrent": {  # ONNX Runtime has no GRU and no plain RNN of integers, nor does nncf make their weights integers
        "onnx": ("none",),
        "tflite": ("dynamic-int8", "static-int8", "fp16", "none"),  # LiteRT has them as products, step by step
        "openvino": ("none",),
    },
    "dense": {
        "onnx": ("dynamic-int8", "static-int8", "none"),
        "tflite": ("dynamic-int8", "static-int8", "fp16", "none"),
        "openvino": ("static-int8", "none"),
    },
}

# Where a wider scheme costs no more time than float, it spares the bytes: LiteRT makes 8-bit weights float as it loads
# them, and of weights alone 8 bits are as near to float as it takes.
_WIDER = {
    "onnx weight-only-int4": "weight-only-int8",
    "tflite weight-only-int4": "weight-only-int8",
    "openvino weight-only-int4": "weight-only-int8",
    "tflite dynamic-int8": "weight-only-int8",
}


@dataclass(frozen=True)
class Candidate:
    """One file to make."""

    config: ArtifactConfig  # its format and scheme are real ones
    where: str  # the item of the recipe that it belongs to: artifacts[0]
    reason: str = ""  # why `auto` proposes it; "": the recipe names it

    @property
    def is_auto(self) -> bool:
        """Whether it stands for a choice that is still to be made."""
        return bool(self.reason)

    @property
    def word(self) -> str:
        """What logs call it: ``onnx static-int8``."""
        return f"{self.config.format} {self.config.scheme}"

    @property
    def wider(self) -> str:
        """What layers get that the scheme hurts too much: a scheme that keeps more of them, or ``none``, float."""
        return _WIDER.get(self.word, "none")

    @property
    def wider_word(self) -> str:
        """The same for people: ``float`` for ``none``."""
        return "float" if self.wider == "none" else self.wider

    def sparing(self, groups: Sequence[Group], reason: str) -> Candidate:
        """Return the same candidate with these groups of operators in the wider scheme."""
        quantization = self.config.quantization
        assert isinstance(quantization, Quantize)
        if self.wider == "none":
            operators = [operator for group in groups for operator in group.operators]
            mixed = msgspec.structs.replace(quantization, ignore=[*quantization.ignore, *operators])
        else:
            rules = [LayerRule(match=group.head, scheme=cast("Any", self.wider)) for group in groups]
            mixed = msgspec.structs.replace(quantization, layers=[*quantization.layers, *rules])
        return replace(self, config=msgspec.structs.replace(self.config, quantize=mixed), reason=reason)


@dataclass(frozen=True)
class Proposal:
    """Everything that a recipe asks for, `auto` written out."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    traits: Traits | None = None  # of the network; None where no artifact is `auto`


def propose(recipe: Recipe, board: Board, traits: Traits | None, *, source: str) -> Proposal:
    """Return the candidates of a recipe in its order, those of one `auto` with the fastest by the rule first.

    Args:
        recipe: Its artifacts are looked at, and whether its budget limits the size.
        board: The target.
        traits: Of the network; None where no artifact is `auto`.
        source: What the model gives: ``network``, or the format of its file.
    """
    named: set[tuple[str, str]] = {(config.format, config.scheme) for config in recipe.artifacts if not config.is_auto}
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for index, config in enumerate(recipe.artifacts):
        where = f"artifacts[{index}]"
        if not config.is_auto:
            candidates.append(Candidate(config, where))
            continue
        assert traits is not None
        found: list[Candidate] = []
        formats = list(PACKAGES) if config.format == "auto" else [config.format]
        for file_format in formats:
            if reason := obstacle(file_format, board, source) or uncallable(config, file_format):
                skipped.append(Skipped(format=file_format, scheme="", reason=reason))
                continue
            for scheme, why in _schemes(config, file_format, board, traits, small=recipe.budget.size_mb is not None):
                if (file_format, scheme) not in named:
                    found.append(Candidate(_written_out(config, file_format, scheme), where, why))
                    named.add((file_format, scheme))
        candidates += sorted(found, key=lambda candidate: rank(candidate.config, board, traits))
    return Proposal(tuple(candidates), tuple(skipped), traits)


def propose_for(project: Project, builder: Builder, log: Log) -> Proposal:
    """Return the candidates of a project's recipe; for `auto` the original is exported, to see what network it is.

    Raises:
        ExportError: It cannot be; the layer is named.
    """
    from edgeglm.measure.traits import traits_of

    traits = None
    if any(config.is_auto for config in project.recipe.artifacts):
        log.stage("auto: looking at the network")
        original = builder.baseline().built
        traits = traits_of(original.path, original.format)
        macs = "" if traits.macs is None else f", {traits.macs:,} multiply-accumulates"
        log.note(f"{_a(traits.family)} network{macs}")
    source = project.original.format if isinstance(project.original, ModelFile) else "network"
    return propose(project.recipe, project.board, traits, source=source)


def obstacle(file_format: str, board: Board, source: str) -> str:
    """Return why a format is left out altogether, or nothing."""
    if reason := unsuitable(file_format, board, source):
        return reason
    missing = capability(file_format)
    return f"extra `{file_format}` not installed ({', '.join(missing)})" if missing else ""


def unsuitable(file_format: str, board: Board, source: str) -> str:
    """Return why a format does not go with a board or a model, whatever is installed here, or nothing."""
    if source == "tflite" and file_format != "tflite":
        return "the model is a TFLite file, which gives tflite alone"
    if source == "onnx" and file_format == "tflite":
        return "the model is an ONNX file, which does not give tflite"
    if file_format == "openvino" and board.arch != "x86_64":
        return f"OpenVINO's INT8 runs as such on x86-64 alone, not on {board.name}"
    return ""


def uncallable(config: ArtifactConfig, file_format: str) -> str:
    """Return why a format has no file that can be called as an artifact asks for, or nothing."""
    if file_format != "openvino":
        return ""
    if config.buckets:
        return "its files have one length of sequences, and `buckets` asks for several"
    if config.several_batches:
        return "its files take as many rows as `serve.batch` says, and `signatures` asks for others"
    return ""


def _schemes(
    config: ArtifactConfig, file_format: str, board: Board, traits: Traits, *, small: bool
) -> Iterator[tuple[str, str]]:
    """Yield schemes and why each is tried."""
    if config.scheme != "auto":
        if isinstance(config.quantization, Quantize) or file_format in config.quantization.formats:
            yield config.scheme, "the recipe names the scheme"
        return
    known = set(get_args(Scheme))
    table = _SCHEMES[traits.family]
    for scheme in table.get(file_format, ("none",)):
        if scheme in known:
            why = "float: what integers gain is found by measuring" if scheme == "none" else ""
            yield scheme, why or f"suits {_a(traits.family)} network"
    listed = table.get(file_format, ())
    if traits.mixed and file_format != "openvino" and (file_format, traits.family) != ("onnx", "recurrent"):
        for scheme in ("static-int8", "dynamic-int8"):
            if scheme not in listed:
                yield scheme, "convolutions and products both count in this network"
    if "fp16" not in listed and file_format == "onnx" and (small or board.name.startswith("jetson")):
        yield "fp16", "halves the file" + ("; TensorRT computes in float16" if board.name.startswith("jetson") else "")
    products = traits.family != "convolutional" or traits.mixed  # 4-bit convolutions are not worth having
    if "weight-only-int4" in known and products and (small or traits.table_share > _LARGE_TABLES):
        yield "weight-only-int4", "tables are much of the file" if traits.table_share > _LARGE_TABLES else "smallest"


_LARGE_TABLES = 0.25


def _a(family: str) -> str:
    return f"an {family}" if family == "LSTM" else f"a {family}"


def _written_out(config: ArtifactConfig, file_format: Any, scheme: Any) -> ArtifactConfig:
    quantization = config.quantization
    if isinstance(quantization, Quantize):
        blocks = scheme.startswith("weight-only-") and (file_format, scheme) != ("tflite", "weight-only-int8")
        quantization = msgspec.structs.replace(
            quantization,
            scheme=scheme,
            block_size=quantization.block_size if blocks else None,
            layers=[
                rule
                for rule in quantization.layers
                if scheme not in ("none", "fp16") and (file_format, rule.scheme) != ("openvino", "dynamic-int8")
            ],
        )
    signatures = config.signatures if file_format == "tflite" else Signatures()  # ONNX takes any number of rows
    return msgspec.structs.replace(config, format=file_format, quantize=quantization, signatures=signatures)
