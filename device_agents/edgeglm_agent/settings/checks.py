"""Rules between settings, and what the files that they name must be."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeglm_agent.settings.hosts import is_address
from edgeglm_agent.wire.manifest import WireError, decode_manifest
from edgeglm_agent.wire.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeglm_agent.settings.toml_lines import KeyPath
    from edgeglm_agent.settings.walk import Walker

MANIFEST = "manifest.json"
SOCKET = "supervisor.sock"
_LONGEST_SOCKET = 107  # bytes; unix(7): 108 with the zero at the end


def check_paths(walker: Walker) -> None:
    """Note files that are not there, or not as they must be."""
    for key, role, path in walker.paths:
        if role == "file":
            _check_file(walker, key, path)
        elif role == "secret" and _check_file(walker, key, path):
            _check_secret(walker, key, path)
        elif role == "folder" and not path.is_dir():
            walker.report(key, f"there is no folder {path}", code="settings-file")


def check_results(walker: Walker) -> None:
    """Note results that write to one file, given or by default."""
    written: dict[str, KeyPath] = {}
    for key, result in walker.built.items():
        if len(key) != 4 or key[0] != "slots" or key[2] != "results" or not hasattr(result, "path"):
            continue
        path = str(result.path or "")
        place = os.path.realpath(path) if path.startswith("/") else f"{key[1]}/{path or type(result).__name__}"
        first = written.setdefault(place, key)
        if first != key:
            hint = "give each its own: two writers would cut each other's lines and rotate twice"
            message = f"the results on line {walker.line(first)} are written to {path or 'the same file'} too"
            walker.report((*key, "path"), message, hint, code="settings-twice")


def _check_file(walker: Walker, key: KeyPath, path: Path) -> bool:
    if not path.is_file():
        there = "is a folder" if path.is_dir() else "does not exist"
        hint = "a relative path starts at the folder of this file"
        walker.report(key, f"{path} {there}", hint, code="settings-file")
        return False
    if not os.access(path, os.R_OK):
        hint = f"let the agent's user read it: chown it to {_user()}, and chmod 600"
        walker.report(key, f"{path} cannot be read by {_user()}", hint, code="settings-file")
        return False
    return True


def _check_secret(walker: Walker, key: KeyPath, path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        who = "every user of this machine" if mode & stat.S_IRWXO else "its whole group"
        can = "read" if mode & (stat.S_IROTH | stat.S_IRGRP) else "change"
        message = f"{path} is a secret that {who} can {can} (mode {mode:04o})"
        walker.report(key, message, f"chmod 600 {path}", code="settings-secret")


def check_device(walker: Walker) -> str:
    """Return the host's name, which stands for the device's; one that no topic can have is noted."""
    host = os.uname().nodename
    if not NAME.match(host):
        hint = 'write device = "name": letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first'
        message = f"is not set, and the host's name `{host}` cannot stand for it"
        walker.report(("device",), message, hint, code="settings-name")
    return host


def check_mqtt(walker: Walker) -> None:
    """Note what does not go together in ``[mqtt]``."""
    given = {key for key in walker.built if key[:1] == ("mqtt",)}
    host: str | None = walker.built.get(("mqtt", "host"))
    if host is not None:
        _check_host(walker, host)
    if ("mqtt", "password_file") in given and ("mqtt", "username") not in given:
        hint = 'add username = "..."'
        walker.report(("mqtt",), "`password_file` without `username`", hint, code="settings-do-not-fit")
    pair = [name for name in ("certificate", "key") if ("mqtt", "tls", name) in given]
    if len(pair) == 1:
        lacks = "key" if pair == ["certificate"] else "certificate"
        hint = "mutual TLS takes both: the certificate of this board, and its private key"
        walker.report(("mqtt", "tls"), f"`{pair[0]}` without `{lacks}`", hint, code="settings-do-not-fit")


def _check_host(walker: Walker, host: str) -> None:
    key = ("mqtt", "host")
    message = hint = ""
    if not host.strip():
        message = "must not be empty"
    elif match := re.match(r"(\w+)://([^:/]*)(?::(\d+))?", host):
        message = f"`{host}` is an address; this takes the host alone"
        hint = f'write host = "{match[2]}"' + (f" and port = {match[3]}" if match[3] else "")
        hint += ", and a table [mqtt.tls]" if match[1] in ("mqtts", "ssl", "tls") else ""
    elif match := re.fullmatch(r"([^:\s/]+):(\d+)", host):
        message = f"`{host}` has a port in it"
        hint = f'write host = "{match[1]}" and port = {match[2]}'
    elif re.search(r"[\s/]", host) or (":" in host and not is_address(host)):
        message = f"`{host}` is no name of a host, and no address"
    if message:
        walker.report(key, message, hint, code="settings-out-of-range")


def check_broker(walker: Walker, slots: Iterable[str]) -> None:
    """Note inputs and results that need a broker, where the file names none; to be called where it does not."""
    for name in slots:
        for key, built in list(walker.built.items()):
            if key[:2] != ("slots", name) or key[2:3] not in (("input",), ("results",)):
                continue
            if isinstance(built, msgspec.Struct) and built.__struct_config__.tag == "mqtt":
                does = "hears" if key[2] == "input" else "speaks to"
                hint = 'add a table [mqtt] with host = "..."'
                walker.report(key, f"this {does} a broker, and the file names none", hint, code="settings-no-broker")


def check_folders(walker: Walker) -> None:
    """Note a folder for sockets whose path is longer than the system takes."""
    key = ("runtime_dir",)
    folder: str | None = walker.built.get(key)
    if folder is None:
        return
    size = len(os.fsencode(folder)) + 1 + len(SOCKET)
    if size > _LONGEST_SOCKET:
        hint = "choose a folder with a shorter path, such as /run/edgeglm-agent"
        message = f"{folder}/{SOCKET} has {size} bytes; the path of a socket can have {_LONGEST_SOCKET}"
        walker.report(key, message, hint, code="settings-out-of-range")


def check_inputs(walker: Walker, slots: Iterable[str]) -> None:
    """Note inputs whose settings, each right by itself, can work nowhere: each says so of its own."""
    from edgeglm_agent.inputs._base import Input, InputError

    for name in slots:
        key: KeyPath = ("slots", name, "input")
        source = walker.built.get(key)
        if not isinstance(source, Input):
            continue
        try:
            source.check()
        except InputError as error:
            at = (*key, error.key) if error.key else key
            walker.report(at, str(error), error.hint, code="settings-do-not-fit")
        except Exception as error:  # of someone else's package: the file's reader is told, and its other errors
            message = f"its package fails: {type(error).__name__}: {error}"
            walker.report(key, message, "mend or uninstall it", code="settings-plugin")


def check_taken(walker: Walker, slots: Iterable[str]) -> None:
    """Note a folder of samples that two slots watch, where one of them takes the files away."""
    watched: dict[str, list[KeyPath]] = {}
    for name in slots:
        key: KeyPath = ("slots", name, "input")
        source = walker.built.get(key)
        if isinstance(source, msgspec.Struct) and source.__struct_config__.tag == "directory":
            watched.setdefault(os.path.realpath(source.path), []).append(key)  # type: ignore[attr-defined]
    for keys in watched.values():
        takers = [key for key in keys if walker.built[key].after != "keep"]
        if len(keys) > 1 and takers:
            other = next(key for key in keys if key != takers[-1])
            message = f"takes files away that the input on line {walker.line(other)} watches too"
            hint = 'let both keep them (`after = "keep"`), or give each slot a folder of its own'
            walker.report((*takers[-1], "after"), message, hint, code="settings-twice")


def check_ports(walker: Walker, slots: Iterable[str]) -> None:
    """Note two slots that listen on the same port."""
    taken: dict[tuple[str, int], KeyPath] = {}
    for name in slots:
        source = walker.built.get(("slots", name, "input"))
        place = getattr(source, "host", None), getattr(source, "port", None)
        if not (isinstance(place[0], str) and isinstance(place[1], int) and place[1]):
            continue
        key: KeyPath = ("slots", name, "input", "port")
        first = taken.setdefault((place[0], place[1]), key)
        if first != key:
            message = f"the input on line {walker.line(first)} listens on {place[0]}:{place[1]} too"
            walker.report(key, message, "give each slot a port of its own", code="settings-twice")


def check_models(walker: Walker, slots: Iterable[str]) -> None:
    """Note model folders that are none, and artifacts that they do not have."""
    for name in slots:
        folder: str | None = walker.built.get(("slots", name, "model"))
        if folder is None:
            continue
        there = _artifacts(walker, ("slots", name, "model"), Path(folder))
        if there is None:
            continue
        for number, path in enumerate(walker.built.get(("slots", name, "artifacts"), [])):
            if path not in there:
                from edgeglm_agent.suggest import suggestion

                hint = suggestion(path, there, what="the model has")
                message = f"the model has no artifact `{path}`"
                walker.report(("slots", name, "artifacts", number), message, hint, code="settings-model")


def _artifacts(walker: Walker, key: KeyPath, folder: Path) -> list[str] | None:
    """Return the artifacts of a model's folder; None: it is no such folder, which is noted."""
    hint = "`edgeglm compress` writes such a folder; a relative path starts at the folder of this file"
    path = folder / MANIFEST
    try:
        return [artifact.path for artifact in decode_manifest(path.read_bytes()).artifacts]
    except OSError as error:
        if not folder.is_dir():
            message = f"there is no folder {folder}"
        elif isinstance(error, FileNotFoundError):
            message = f"{folder} has no {MANIFEST}: it is no result, or one that was not finished"
        else:
            message = f"{path} cannot be read: {error.strerror}"
    except WireError as error:
        message = f"{path}: {error}"
        hint = "copy the folder again, or make it with an edgeglm of this agent's version"
    walker.report(key, message, hint, code="settings-model")
    return None


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
