"""A profile's file to a `Profile`: validated as recipes are, every fault with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from edgeglm_agent.suggest import suggestion
from msgspec import inspect as types

from edgeglm.fleet.simulate.faults import FAULTS, Fault
from edgeglm.fleet.simulate.profile import BoardShare, Latency, ModelShare, Profile
from edgeglm.recipe.document import parse_document, read_document
from edgeglm.recipe.walk import Walker

if TYPE_CHECKING:
    from edgeglm.recipe.nodes import Node

_SHIPPED = Path(__file__).with_name("profiles")
_LEVELS: tuple[tuple[str, type[Any]], ...] = (
    ("at the top level, not indented", Profile),
    ("in an item of `models`", ModelShare),
    ("under `latency_ms` of a model", Latency),
    ("in an item of `boards`", BoardShare),
)


def shipped_profiles() -> dict[str, Path]:
    """Return the profiles that come with edgeglm, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def load_profile(name_or_path: str) -> Profile:
    """Read a profile: the name of a shipped one, or a file.

    Raises:
        UserError: There is none, or it cannot be used; every problem found, in the order of the file.
    """
    shipped = shipped_profiles()
    if name_or_path in shipped:
        return parse_profile(shipped[name_or_path].read_text(encoding="utf-8"), name_or_path)
    path = Path(name_or_path)
    raw = read_document(
        path,
        what="a profile",
        hint=f"name a YAML file, or a shipped profile: {', '.join(shipped)}",
        missing_hint=suggestion(path.name, list(shipped), what="shipped profiles"),
        code="profile-not-found",
    )
    return parse_profile(raw, str(path))


def parse_profile(text: str | bytes, name: str) -> Profile:
    """Validate the text of a profile; `name` is what errors call it.

    Raises:
        UserError: Every problem found, in the order of the file.
    """
    raw = text.encode() if isinstance(text, str) else text
    profile = parse_document(raw, name, Profile, _ProfileWalker(name), what="a profile", code="profile-invalid")
    assert isinstance(profile, Profile)
    return profile


def with_options(
    profile: Profile,
    *,
    devices: int | None = None,
    duration_s: float | None = None,
    rate: float | None = None,
    in_flight: int | None = None,
    ack_within_s: float | None = None,
    seed: int | None = None,
) -> Profile:
    """Return the profile with what was said beside it; None: as it is there.

    Args:
        profile: A valid one.
        devices: How many.
        duration_s: Of the run; faults that begin later do not befall.
        rate: Messages a second of each device, in place of one a window.
        in_flight: Rows that each device keeps on its way.
        ack_within_s: What the collector is granted.
        seed: Of all that is said.
    """
    said = {
        "devices": devices,
        "duration_s": duration_s,
        "window_s": None if rate is None else 1 / rate,
        "in_flight": in_flight,
        "ack_within_s": ack_within_s,
        "seed": seed,
    }
    return msgspec.structs.replace(profile, **{name: value for name, value in said.items() if value is not None})


class _ProfileWalker(Walker):
    reference = "docs/fleet.md, section Simulate"

    def elsewhere(self, name: str, here: type[Any]) -> str:
        places = [place for place, cls in _LEVELS if cls is not here and name in cls.__struct_fields__]
        places += [f"in the fault `{kind}`" for kind, cls in FAULTS.items() if name in cls.__struct_fields__]
        if issubclass(here, Fault) and name in Fault.__struct_fields__:
            return ""
        return f"`{name}` belongs {' or '.join(places[:3])}" if places else ""

    def _read(self, node: Node, kind: types.Type, key: str) -> Any:
        if isinstance(kind, types.StructType) and kind.cls is Fault:
            return self.named(node, key, dict(FAULTS), what="fault")
        return super()._read(node, kind, key)
