"""A profile's file to a `Profile`: validated as recipes are, every fault with its line."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from edgeglm_agent.suggest import suggestion
from msgspec import inspect as types

from edgeglm.errors import Problem, RecipeError, UserError
from edgeglm.fleet.simulate.faults import FAULTS, Fault
from edgeglm.fleet.simulate.profile import BoardShare, Latency, ModelShare, Profile
from edgeglm.recipe.compose import compose
from edgeglm.recipe.nodes import MAX_BYTES, Mapping, Node
from edgeglm.recipe.walk import Walker
from edgeglm.recipe.wording import found

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
    return parse_profile(_read(path, list(shipped)), str(path))


def parse_profile(text: str, name: str) -> Profile:
    """Validate the text of a profile; `name` is what errors call it.

    Raises:
        UserError: Every problem found, in the order of the file.
    """
    try:
        root, problems = compose(text, name=name)
    except RecipeError as error:
        raise _refused(list(error.problems)) from None
    if not isinstance(root, Mapping):
        what = "the file is empty" if root is None else f"a profile is a mapping of keys, this is {found(root)}"
        where = name if root is None else f"{name}:{root.line}"
        raise UserError(what, where=where, hint="start with `version: 1`", code="profile-invalid")
    walker = _ProfileWalker(name)
    walker.index(root, "", root.line)
    profile = walker.read(root, types.type_info(Profile), "")
    composed = {problem.where for problem in problems}
    walked = sorted((problem for _, problem in walker.problems), key=lambda problem: _line(problem, name))
    if everything := [*problems, *(problem for problem in walked if problem.where not in composed)]:
        raise _refused(everything)
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


def _line(problem: Problem, name: str) -> int:
    return int(problem.where.removeprefix(f"{name}:").partition(" ")[0])


def _refused(problems: list[Problem]) -> UserError:
    """Return the error of a profile: the words of recipes, where they name what the file is, are made its own."""

    def ours(text: str) -> str:
        return text.replace("a recipe is", "a profile is").replace("recipes are", "profiles are")

    return UserError.of(
        [replace(p, message=ours(p.message), hint=ours(p.hint), code="profile-invalid") for p in problems]
    )


def _read(path: Path, shipped: list[str]) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = suggestion(path.name, shipped, what="shipped profiles")
        raise UserError("no such profile", where=str(path), hint=hint, code="profile-not-found") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else getattr(error, "strerror", "") or error
        hint = f"name a YAML file, or a shipped profile: {', '.join(shipped)}"
        raise UserError(f"cannot be read: {reason}", where=str(path), hint=hint, code="profile-not-found") from None
    if len(raw) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1024} KiB, which is no profile"
        raise UserError(message, where=str(path), hint="name another file", code="profile-invalid")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
        raise UserError(
            message, where=f"{path}:{line}", hint="save the file as UTF-8", code="profile-invalid"
        ) from None
