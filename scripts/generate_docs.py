"""Write what is generated from structs: docs/recipe.md, its JSON Schema, settings and messages in docs/agent/.

python scripts/generate_docs.py            write them
python scripts/generate_docs.py --check    write nothing; exit 1 when one is not current
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
from agent_reference import settings_reference
from agent_reference import value as agent_value
from edgeglm_agent.inputs import KINDS, input_type
from edgeglm_agent.processing import POST_OPERATIONS, PRE_OPERATIONS
from edgeglm_agent.results import KINDS as RESULT_KINDS
from edgeglm_agent.results import result_type
from edgeglm_agent.source_comments import doc_line, field_comments
from msgspec import inspect as types
from wire_reference import wire_reference

from edgeglm.data.shifts import SHIFTS
from edgeglm.recipe.schema import default_of, own, schema_text
from edgeglm.recipe.types import ArtifactConfig, Budget, Golden, Provenance, Quantize, Recipe, Search, Serve
from edgeglm.recipe.wording import describe_range, describe_type
from edgeglm.sources import (
    CsvData,
    GivenData,
    GivenModel,
    HfModel,
    ImagesData,
    NpzData,
    OnnxModel,
    PythonData,
    PythonModel,
    TextData,
    TfliteModel,
)
from edgeglm.sources.npz import Fractions
from edgeglm.steps import step_types
from edgeglm.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
SECTIONS: dict[str, str] = {  # keys of the recipe whose values have a section of their own
    "model": "model",
    "data": "data",
    "task": "task",
    "artifacts": "artifacts",
    "preprocess": "preprocess",
    "postprocess": "postprocess",
    "provenance": "provenance",
    "steps": "steps",
    "robustness": "robustness",
    "serve": "serve",
    "golden": "golden",
    "budget": "budget",
    "fractions": "fractions",
    "quantize": "quantize",
    "search": "search",
}

EXAMPLE = """\
# yaml-language-server: $schema=recipe.schema.json
version: 1
name: doorbell
model:
  source: python
  entry: ./model.py:build              # def build(width): ... returns a torch.nn.Module
  args: {width: 32}
  weights: doorbell.safetensors
data:
  source: images
  path: photos                         # photos/cat/*.jpg, photos/dog/*.jpg, ...
  fractions: {train: 0.7, calibration: 0.1, eval: 0.2}
task: {kind: classification, top_k: 3}
preprocess:
  - resize: {height: 96, width: 96, keep_aspect: crop}
  - normalise: {scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  - layout: {to: CHW}
postprocess:
  - softmax
  - top-k: {k: 3}
  - labels
labels: [cat, dog, fox]
provenance: {origin: "our own photos, 2026", license: CC-BY-4.0, personal_data: none}
target: rpi5
seed: 0
steps:
  - prune: {channel_ratio: 0.5, round_to: 8, ignore: ["re:.*head"]}
  - distill: {epochs: 12, learning_rate: 1e-3, temperature: 4, alpha: 0.7}
artifacts:
  - {format: onnx, quantize: static-int8}
  - {format: tflite, quantize: {scheme: static-int8, calibration: 256}}
budget: {metric_drop: 0.01, per_class_drop: 0.03, size_mb: 5, min_speedup: 1.5}
on_violation: fail
"""

INTRODUCTION = f"""\
<!-- Written by scripts/generate_docs.py from the structs in edgeglm/; change the comments there. -->

# Recipe reference

A recipe is one YAML 1.2 file: `1e-3` is a number, `yes` and `on` are text. Unknown keys and values are errors, and all
errors of a file are shown at once, each with its line. Paths and entries are relative to the recipe's folder.

`edgeglm check recipe.yaml` validates one without running anything: also that tables have the columns and archives the
arrays that it names, that a window fits, that a tokenizer loads, that an encoder has a row for each of its tokens, a
position for each of a text and a class for each label, and that an ONNX file is whole as far as that shows without
reading its graph. `compress` begins with the same. `--set KEY=VALUE` changes a value for one run, with the key
written as in errors: `--set steps[0].prune.channel_ratio=0.3`. The output folder's `recipe.resolved.yaml` has every
default written out. Editors that know JSON Schema complete and check recipes with `recipe.schema.json`, which
comes with edgeglm (`edgeglm/recipe/recipe.schema.json`).

```yaml
{EXAMPLE}```
"""


def reference() -> str:
    """Return the text of docs/recipe.md."""
    parts = [INTRODUCTION, _section("Keys", Recipe, level=2)]
    parts.append("## model\n\nWhere the network comes from; `source` says which of these it is.\n")
    parts += [
        _section(f"`source: {_tag(cls)}`", cls) for cls in (PythonModel, HfModel, OnnxModel, TfliteModel, GivenModel)
    ]
    parts.append("## data\n\nWhere the samples come from; `source` says which of these it is.\n")
    parts += [
        _section(f"`source: {_tag(cls)}`", cls)
        for cls in (PythonData, NpzData, CsvData, ImagesData, TextData, GivenData)
    ]
    parts.append(_section("fractions", Fractions))
    parts.append('## task\n\nWhat "good" means; `kind` says which of these it is.\n')
    parts += [_section(f"`kind: {_tag(cls)}`", cls) for cls in TASKS]
    parts.append(
        "## steps\n\nA list; each item is `- name: {settings}`. Steps run in this order, each on what the one before"
        " it made.\n"
    )
    parts += [_section(name, cls) for name, cls in own(step_types()).items()]
    parts.append(
        "## robustness\n\nA list; each item is `- name: {settings}`. The samples of the split that decides are changed,"
        " one change at a time; see [Tasks](tasks.md#robustness).\n"
    )
    parts += [_section(_tag(cls), cls) for cls in SHIFTS]
    parts += [_section("artifacts", ArtifactConfig, level=2), _section("quantize", Quantize)]
    parts.append(_section("search", Search))
    note = "A list; each item is `- name: {settings}`, or `- name` where every setting has a default."
    parts.append(f"## preprocess\n\n{note}\n")
    parts += [_section(name, cls) for name, cls in PRE_OPERATIONS.items()]
    parts.append(f"## postprocess\n\n{note}\n")
    parts += [_section(name, cls) for name, cls in POST_OPERATIONS.items()]
    parts += [_section("budget", Budget, level=2), _section("provenance", Provenance, level=2)]
    parts += [_section("serve", Serve, level=2), _section("golden", Golden, level=2)]
    return "\n".join(parts)


def with_tables(text: str) -> str:
    """Return a page of the agent's inputs or results with the table of each kind's settings filled in."""

    def filled(found: re.Match[str]) -> str:
        rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
        cls = result_type(found[2]) if found[1] else input_type(found[2])
        info = types.type_info(cls)
        assert isinstance(info, types.StructType)
        comments = field_comments(cls)
        for field in info.fields:
            default = _default(field).replace("`null`", "none")  # TOML has no null
            kind = agent_value(field.type)
            rows.append(f"| `{field.encode_name}` | {_cell(kind)} | {default} | {_cell(comments[field.name])} |")
        return "\n".join([found[0].partition("\n")[0], *rows, "<!-- end -->"])

    return re.sub(r"<!-- settings of (result )?([a-z0-9-]+) -->\n.*?<!-- end -->", filled, text, flags=re.DOTALL)


def agent_pages() -> list[tuple[Path, str]]:
    """Return the agent's pages that hold tables of settings, with their texts as they must be."""
    paths = [ROOT / "docs" / "agent" / name for name in ("inputs.md", "http.md", "results.md")]
    pages = [(path, with_tables(path.read_text(encoding="utf-8"))) for path in paths]
    told = "".join(text for _, text in pages)
    wanted = [*KINDS, *(f"result {kind}" for kind in RESULT_KINDS)]
    missing = [kind for kind in wanted if f"<!-- settings of {kind} -->" not in told]
    assert not missing, f"docs/agent has no section of {', '.join(missing)}"
    return pages


def _tag(cls: type[Any]) -> str:
    return str(cls.__struct_config__.tag)


def _section(title: str, cls: Any, *, level: int = 3) -> str:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    comments = field_comments(cls)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for field in info.fields:
        key = field.encode_name
        anchor = f"[`{key}`](#{SECTIONS[key]})" if key in SECTIONS and title != SECTIONS[key] else f"`{key}`"
        cells = [anchor, _cell(value(field.type)), _default(field), _cell(comments.get(field.name, ""))]
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows) if info.fields else "It has no settings."
    return f"{'#' * level} {title}\n\n{doc_line(cls)}\n\n{table}\n"


def value(kind: types.Type) -> str:
    """Return a type with its range in words: ``a number above 0 and below 1, or null``."""
    if isinstance(kind, types.UnionType):
        words = [value(member) for member in kind.types if not isinstance(member, types.NoneType)]
        nullable = len(words) < len(kind.types)
        return " or ".join(dict.fromkeys(words)) + (", or null" if nullable else "")
    if isinstance(kind, types.ListType):
        length = describe_range(kind)
        items = {"text": "texts", "a number": "numbers", "an integer": "integers", "a mapping": "mappings"}
        items_text = items.get(describe_type(kind.item_type), describe_type(kind.item_type))
        return f"a list of {items_text}" + (f", {length}" if length else "")
    limits = describe_range(kind)
    return f"{describe_type(kind)} {limits}".rstrip()


def _default(field: types.Field) -> str:
    default = default_of(field)
    if default is msgspec.NODEFAULT:
        return "**required**"
    if isinstance(default, dict) and default:
        return "see there"
    return f"`{default if isinstance(default, str) and default else json.dumps(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the files, or compare them. Returns the exit code."""
    stale = []
    for path, text in (
        (ROOT / "docs/recipe.md", reference()),
        (ROOT / "edgeglm/recipe/recipe.schema.json", schema_text()),
        (ROOT / "docs/agent/settings.md", settings_reference()),
        (ROOT / "docs/agent/wire.md", wire_reference()),
        *agent_pages(),
    ):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
    if stale and "--check" in sys.argv[1:]:
        names = ", ".join(map(str, stale))
        print(f"not current: {names}\n\nhint: run python scripts/generate_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
