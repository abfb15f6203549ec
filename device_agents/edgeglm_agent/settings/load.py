"""A settings file -> Settings, or every problem of the file at once."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import inspect as types

from edgeglm_agent.errors import Problem, SettingsError
from edgeglm_agent.settings import checks
from edgeglm_agent.settings.broken_toml import toml_problem
from edgeglm_agent.settings.toml_lines import TomlLines
from edgeglm_agent.settings.types import Settings
from edgeglm_agent.settings.walk import Walker

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["load_settings", "parse_settings", "tomllib"]

_MOST_BYTES = 256 * 1024


def load_settings(path: Path, *, models: bool = True) -> Settings:
    """Read a settings file.

    Paths become absolute, and ``device`` is filled in with the host's name where it is not set.

    Args:
        path: As the user gave it; messages show it so.
        models: Whether the folders of models are looked at, and whether inputs can work with their settings. A
            supervisor that starts leaves both to its workers: one slot that cannot serve must not silence the board.

    Raises:
        SettingsError: It cannot be used; with every problem in it, by line.
    """
    return parse_settings(read_text(path), name=str(path), folder=path.absolute().parent, models=models)


def runtime_dir_of(path: Path) -> Path:
    """Return the folder of sockets that a settings file names, whatever else may be wrong in it.

    Raises:
        SettingsError: The file cannot be read, is no TOML, or says no path there.
    """
    text, name = read_text(path), str(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([toml_problem(name, text, str(error))]) from None
    only = {key: value for key, value in values.items() if key == "runtime_dir"}
    walker = Walker(name, TomlLines(text), path.absolute().parent)
    walker.read(only, types.type_info(Settings), ())
    if walker.problems:
        raise SettingsError([problem for _, problem in walker.problems])
    return Path(walker.built.get(("runtime_dir",), Settings().runtime_dir))


def read_text(path: Path) -> str:
    """Return what the file holds. Raises: SettingsError."""
    hint = "name the agent's TOML file; docs/agent.md has one to start from"
    try:
        if path.stat().st_size > _MOST_BYTES and path.is_file():
            raise _unreadable(path, f"larger than {_MOST_BYTES // 1024} KiB", hint)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problem = Problem(message="there is no such file", hint=hint, where=str(path), code="settings-not-found")
        raise SettingsError([problem]) from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(
            message=f"this is no UTF-8: byte {error.object[error.start]:#04x}",
            hint="save the file as UTF-8",
            where=f"{path}:{line}",
            code="settings-not-toml",
        )
        raise SettingsError([problem]) from None


def _unreadable(path: Path, message: str, hint: str) -> SettingsError:
    return SettingsError([Problem(message=message, hint=hint, where=str(path), code="settings-unreadable")])


def parse_settings(text: str, *, name: str, folder: Path, models: bool = True) -> Settings:
    """Return the settings that a text holds; see ``load_settings``.

    Args:
        text: TOML.
        name: What messages call it.
        folder: Absolute; where relative paths start.
        models: See ``load_settings``.

    Raises:
        SettingsError: With every problem.
    """
    try:
        values = tomllib.loads(text)
        lines = TomlLines(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([toml_problem(name, text, str(error))]) from None
    except RecursionError:
        message = "brackets within brackets, deeper than anything here goes"
        raise SettingsError([Problem(message=message, where=name, code="settings-not-toml")]) from None
    walker = Walker(name, lines, folder)
    settings = walker.read(values, types.type_info(Settings), ())
    checks.check_paths(walker)
    device = checks.check_device(walker) if "device" not in values else walker.built.get(("device",))
    checks.check_mqtt(walker)
    slots = list(values["slots"]) if isinstance(values.get("slots"), dict) else []
    checks.check_ports(walker, slots)
    checks.check_taken(walker, slots)
    checks.check_results(walker)
    if "mqtt" not in values:
        checks.check_broker(walker, slots)
    if models:
        checks.check_models(walker, slots)
        checks.check_inputs(walker, slots)
    checks.check_folders(walker)
    if walker.problems:
        raise SettingsError([problem for _, problem in sorted(walker.problems, key=lambda item: item[0])])
    assert isinstance(settings, Settings)  # INVALID comes with a problem
    return msgspec.structs.replace(settings, device=device)
