"""The text of docs/agent/settings.md, from the structs of the agent: see generate_docs.py."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from edgeglm_agent.inputs import KINDS as INPUTS
from edgeglm_agent.inputs import input_type
from edgeglm_agent.results import KINDS as RESULTS
from edgeglm_agent.results import result_type
from edgeglm_agent.settings.tables import tables
from edgeglm_agent.settings.words import bare, describe_range, describe_type, members
from edgeglm_agent.source_comments import doc_line, field_comments
from msgspec import inspect as types

EXAMPLE = """\
device = "gate-7"
fleet = "north"

[mqtt]
host = "broker.example"
tls = {ca = "ca.pem", certificate = "gate-7.pem", key = "gate-7.key"}

[telemetry]
window_s = 300
daily_bytes = 150_000

[slots.main]
model = "/var/lib/edgeglm-agent/models/doorbell"
threads = 2

[slots.main.input]
kind = "rpicam"
width = 640
height = 480

[[slots.main.results]]
kind = "jsonl"
max_mb = 32

[[slots.main.results]]
kind = "mqtt"
share = 0.01
"""

INTRODUCTION = f"""\
<!-- Written by scripts/generate_docs.py from the structs in device_agents/; change the comments there. -->

# Settings

The agent has one settings file, in [TOML](https://toml.io). `/etc/edgeglm-agent/agent.toml` is where the service looks
for it. Unknown keys and values are errors, and all errors of a file are shown at once, each with its line, what is
wrong and how to mend it; [Errors](../errors.md#agent) has a paragraph on each code.

```toml
{EXAMPLE}```

- `edgeglm-agent check FILE` says whether a file is right, and starts nothing. `edgeglm-agent doctor FILE` looks at the
  board, the disk, the certificate and the broker as well ([Commands](commands.md)).
- A path that is relative starts at the folder of the file; `~` is the home of the user who runs the agent.
- Files with secrets (private key, passwords, tokens) must not be readable by everyone: `chmod 600`; a group may read
  them (0640). Passwords stand in files of their own, never in this one.
- Not set, and not required: the default holds. TOML has no null.
- In TOML, all that stands below `[mqtt]` is a key of `[mqtt]`, until the next header. Keys of the whole file stand
  above the first header.
- What changes while the agent runs is changed by [commands](commands.md) over MQTT, never by writing this file. A new
  file is read when the agent starts: `systemctl restart edgeglm-agent`.
"""

TITLES = {
    "": "At the top of the file",
    "slots.NAME": "`[slots.NAME]`",
}
NOTES = {
    "slots.NAME": "NAME is yours: letters, digits, `.`, `_` and `-`. Telemetry, events and results carry it. A slot"
    " that is refused or fails costs no other slot.",
}


def settings_reference() -> str:
    """Return the text of docs/agent/settings.md."""
    parts = [INTRODUCTION]
    for header, struct in tables().items():
        parts.append(_section(TITLES.get(header, f"`[{header}]`"), struct, level=2, note=NOTES.get(header, "")))
    parts.append(
        "## `[slots.NAME.input]`\n\n`kind` says where samples come from, and which other keys there are. Packages add"
        " kinds by the entry point group `edgeglm_agent.inputs`.\n"
    )
    parts.append(_kinds({kind: input_type(kind) for kind in INPUTS}, "inputs.md#{}"))
    parts.append(
        "## `[[slots.NAME.results]]`\n\n`kind` says where answers go, and which other keys there are; a slot may have"
        " several. Packages add kinds by the entry point group `edgeglm_agent.results`.\n"
    )
    parts.append(_kinds({kind: result_type(kind) for kind in RESULTS}, "results.md"))
    return "\n".join(parts)


def _kinds(kinds: dict[str, type[Any]], page: str) -> str:
    rows = ["| kind | does |", "|---|---|"]
    for kind, struct in kinds.items():
        place = "http.md" if kind == "http" else page.format(kind)  # which has a page of its own
        rows.append(f"| [`{kind}`]({place}) | {doc_line(struct)} |")
    return "\n".join(rows) + "\n"


def _section(title: str, struct: type[Any], *, level: int, note: str = "") -> str:
    kind = types.type_info(struct)
    assert isinstance(kind, types.StructType)
    comments = field_comments(struct)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for field in kind.fields:
        meaning = comments.get(field.name, "")
        cells = [f"`{field.encode_name}`", value(field.type), _default(field), meaning.replace("|", "\\|")]
        rows.append(f"| {' | '.join(cells)} |")
    table = "\n".join(rows) if kind.fields else "It has no settings."
    text = f"{doc_line(struct)} {note}".strip()
    return f"{'#' * level} {title}\n\n{text}\n\n{table}\n"


def value(kind: types.Type) -> str:
    """Return a type with its range in words."""
    words = []
    for member in members(kind):
        inner = bare(member)
        limits = describe_range(member)
        if isinstance(inner, types.ListType):
            words.append(f"a list of {_plural(inner.item_type)}")
        elif isinstance(inner, types.DictType):
            words.append("tables by name" if isinstance(bare(inner.value_type), types.StructType) else "a table")
        else:
            words.append(f"{describe_type(member)} {limits}".strip())
    return " or ".join(dict.fromkeys(words))


def _plural(kind: types.Type) -> str:
    text = describe_type(kind)
    return {"text": "texts", "a number": "numbers", "an integer": "integers", "a table": "tables"}.get(text, text)


def _default(field: types.Field) -> str:
    if field.required:
        return "**required**"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is None:
        return "not set"
    if isinstance(default, msgspec.Struct):
        return "see there"
    if default in ([], {}):
        return "none"
    return f"`{json.dumps(default)}`"
