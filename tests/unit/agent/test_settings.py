from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from edgeglm_agent import inputs, results
from edgeglm_agent.errors import Problem, SettingsError
from edgeglm_agent.inputs._base import Input
from edgeglm_agent.settings.load import load_settings, parse_settings
from edgeglm_agent.settings.types import (
    AnyPath,
    InputConfig,
    OutputPath,
    ResultConfig,
    SecretPath,
    Settings,
    Slot,
    Telemetry,
    Tls,
)
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from msgspec import Meta

from tests.support.uncovered import uncovered

ROOT = Path(__file__).parents[3]


class Tide(InputConfig, frozen=True, tag="tide"):
    """An input of this test."""

    gauge: str  # which of the harbour's gauges
    every_s: Annotated[float, Meta(gt=0)] = 1.0
    folder: AnyPath | None = None
    levels: dict[str, list[int]] = {}

    def __post_init__(self) -> None:
        if self.gauge == "dry":
            raise ValueError("a gauge that lies dry measures nothing")


class Door(InputConfig, frozen=True, tag="door"):
    """An input that listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: SecretPath | None = None


class Paper(ResultConfig, frozen=True, tag="paper"):
    """A result of this test."""

    path: OutputPath
    trays: tuple[int, int] = (1, 2)  # a type that the loader leaves to msgspec


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kinds_of_test", sys.modules[__name__])
    for name, cls in (("tide", "Tide"), ("door", "Door")):
        monkeypatch.setitem(inputs.KINDS, name, f"kinds_of_test:{cls}")
    monkeypatch.setitem(results.KINDS, "paper", "kinds_of_test:Paper")


def model_folder(folder: Path) -> Path:
    """A folder as `edgeglm compress` leaves it, as far as the loader looks."""
    folder.mkdir(parents=True)
    artifact = {
        "path": "model.onnx", "sha256": "", "size_bytes": 1, "format": "onnx", "scheme": "none", "golden": "g",
        "runtime": {"name": "onnxruntime", "least_version": "1.23.2"}, "inputs": [], "outputs": [],
    }  # fmt: skip
    lineage = {"recipe_sha256": "", "data_sha256": "", "code_sha256": "", "weights_sha256": "", "versions": {}}
    manifest = {
        "schema": 1, "name": "m", "version": "1", "target": "rpi5", "artifacts": [artifact], "files": {}, "inputs": [],
        "preprocess": [], "postprocess": [], "labels": [], "reference": None, "lineage": lineage,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


SLOT = """\
[slots.main]
model = "m"
input = {kind = "tide", gauge = "harbour"}
"""


def read(text: str, folder: Path, *, models: bool = False) -> Settings:
    return parse_settings(text, name="agent.toml", folder=folder, models=models)


def problems(text: str, folder: Path, *, models: bool = False) -> list[tuple[str, str, str, str]]:
    """Return where, message, hint and code of each problem."""
    with pytest.raises(SettingsError) as caught:
        read(text, folder, models=models)
    return [(problem.where, problem.message, problem.hint, problem.code) for problem in caught.value.problems]


def problem(text: str, folder: Path, *, models: bool = False) -> tuple[str, str, str, str]:
    (only,) = problems(text, folder, models=models)
    return only


def test_a_whole_file_becomes_settings(tmp_path: Path) -> None:
    model_folder(tmp_path / "models" / "kws")
    for name in ("ca.pem", "device.pem", "device.key", "password"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "agent.toml").write_text(
        """\
version = 1
device = "gate-7"
fleet = "north"
state_dir = "state"

[mqtt]
host = "broker.example"
tls = {ca = "ca.pem", certificate = "device.pem", key = "device.key"}
username = "gate-7"
password_file = "password"

[telemetry]
sample_share = 1

[slots.main]
model = "models/kws"
threads = 2
artifacts = ["model.onnx"]
inference_timeout_s = 5

[slots.main.input]
kind = "tide"
gauge = "harbour"
folder = "/srv/tide"
levels.high = [3, 4]

[[slots.main.results]]
kind = "paper"
path = "out.jsonl"
trays = [3, 4]
"""
    )
    settings = load_settings(tmp_path / "agent.toml")
    assert settings.device == "gate-7"
    assert settings.state_dir == f"{tmp_path}/state"
    assert settings.mqtt is not None
    assert settings.mqtt.tls == Tls(
        ca=f"{tmp_path}/ca.pem", certificate=f"{tmp_path}/device.pem", key=f"{tmp_path}/device.key"
    )
    assert settings.mqtt.password_file == f"{tmp_path}/password"
    assert settings.telemetry == Telemetry(sample_share=1.0)
    assert settings.slots == {
        "main": Slot(
            model=f"{tmp_path}/models/kws",
            input=Tide(gauge="harbour", folder="/srv/tide", levels={"high": [3, 4]}),
            results=[Paper(path=f"{tmp_path}/out.jsonl", trays=(3, 4))],
            threads=2,
            artifacts=["model.onnx"],
            inference_timeout_s=5.0,
        )
    }


def test_an_empty_file_is_an_agent_without_models_named_as_its_host(tmp_path: Path) -> None:
    assert read("", tmp_path) == Settings(device=os.uname().nodename)


def test_every_fault_of_a_file_is_told_at_once_by_line(tmp_path: Path) -> None:
    text = """\
fleet = "no spaces"
[mqtt]
host = "mqtts://broker:8884"
keepalive_s = 3
prot = 8884
[mqtt.tls]
key = "device.key"
[telemetry]
window_s = "300"
drift = "yes"
[log]
level = "warn"
[slots.main]
model = "nowhere"
input = {kind = "tidde"}
[[slots.main.results]]
path = "x"
[slots.main.more]
"""
    found = problems(text, tmp_path, models=True)
    assert [(where, message) for where, message, _, _ in found] == [
        ("agent.toml:1 fleet", "`no spaces` has not the form wanted here"),
        ("agent.toml:3 mqtt.host", "`mqtts://broker:8884` is an address; this takes the host alone"),
        ("agent.toml:4 mqtt.keepalive_s", "3 is out of range: at least 10 and at most 65535"),
        ("agent.toml:5 mqtt", "unknown key `prot`"),
        ("agent.toml:6 mqtt.tls", "`key` without `certificate`"),
        ("agent.toml:7 mqtt.tls.key", f"{tmp_path}/device.key does not exist"),
        ("agent.toml:9 telemetry.window_s", "expected an integer, found the text `300`"),
        ("agent.toml:10 telemetry.drift", "expected true or false, found the text `yes`"),
        ("agent.toml:12 log.level", "unknown value `warn`"),
        ("agent.toml:14 slots.main.model", f"there is no folder {tmp_path}/nowhere"),
        ("agent.toml:15 slots.main.input.kind", "unknown kind `tidde`"),
        ("agent.toml:16 slots.main.results[0]", "missing key `kind`"),
        ("agent.toml:18 slots.main", "unknown key `more`"),
    ]
    hints = {message: hint for _, message, hint, _ in found}
    assert hints["unknown key `prot`"] == "did you mean `port`?"
    assert hints["unknown value `warn`"] == "did you mean `warning`?"
    assert hints["unknown kind `tidde`"] == "did you mean `tide`?"
    assert hints["expected an integer, found the text `300`"] == "write the number without quotes: 300"
    assert hints["3 is out of range: at least 10 and at most 65535"].startswith("`keepalive_s` is: longer than")
    assert hints["`mqtts://broker:8884` is an address; this takes the host alone"] == (
        'write host = "broker" and port = 8884, and a table [mqtt.tls]'
    )


@pytest.mark.parametrize(
    ("text", "where", "message", "hint", "code"),
    [
        pytest.param(
            "versoin = 1",
            "agent.toml:1",
            "unknown key `versoin`",
            "did you mean `version`?",
            "settings-unknown-key",
            id="misspelt",
        ),
        pytest.param(
            "[log]\ndevice = 'x'",
            "agent.toml:2 log",
            "unknown key `device`",
            "`device` belongs to the top of the file, above the first table",
            "settings-unknown-key",
            id="other-level",
        ),
        pytest.param(
            "[telemetry]\nhost = 'x'",
            "agent.toml:2 telemetry",
            "unknown key `host`",
            "`host` belongs to [mqtt]",
            "settings-unknown-key",
            id="other-table",
        ),
        pytest.param(
            "version = 2",
            "agent.toml:1 version",
            "unknown value `2`",
            "known values: 1",
            "settings-unknown-value",
            id="version",
        ),
        pytest.param(
            "version = true",
            "agent.toml:1 version",
            "expected `1`, found `true`",
            "",
            "settings-wrong-type",
            id="bool-is-no-number",
        ),
        pytest.param(
            "device = 7",
            "agent.toml:1 device",
            "expected text, found the integer 7",
            'text needs quotes: "7"',
            "settings-wrong-type",
            id="text",
        ),
        pytest.param(
            "device = ''",
            "agent.toml:1 device",
            "must not be empty",
            "letters, digits",
            "settings-out-of-range",
            id="empty",
        ),
        pytest.param(
            'device = "gate-7\\n"',
            "agent.toml:1 device",
            "`gate-7\n` has not the form wanted here",
            "letters, digits",
            "settings-out-of-range",
            id="newline",
        ),
        pytest.param(
            "device = 2026-01-01",
            "agent.toml:1 device",
            "expected text, found the date or time 2026-01-01",
            'text needs quotes: "2026-01-01"',
            "settings-wrong-type",
            id="date",
        ),
        pytest.param(
            "[mqtt]\nport = 1",
            "agent.toml:1 mqtt",
            "missing key `host`",
            "`host`",
            "settings-missing-key",
            id="missing",
        ),
        pytest.param(
            "[mqtt]\nhsot = 'b'",
            "agent.toml:2 mqtt",
            "unknown key `hsot`",
            "did you mean `host`?",
            "settings-unknown-key",
            id="missing-but-misspelt",
        ),
        pytest.param(
            "[mqtt]\nhost = 'b'\nport = 65536",
            "agent.toml:3 mqtt.port",
            "65536 is out of range: at least 1 and at most 65535",
            "`port` is: 8883 with TLS",
            "settings-out-of-range",
            id="port",
        ),
        pytest.param(
            "[mqtt]\nhost = 'a b'",
            "agent.toml:2 mqtt.host",
            "`a b` is no name of a host, and no address",
            "",
            "settings-out-of-range",
            id="host",
        ),
        pytest.param(
            "[mqtt]\nhost = 'a:1883'",
            "agent.toml:2 mqtt.host",
            "`a:1883` has a port in it",
            'write host = "a" and port = 1883',
            "settings-out-of-range",
            id="host-port",
        ),
        pytest.param(
            "[mqtt]\nhost = ' '",
            "agent.toml:2 mqtt.host",
            "must not be empty",
            "",
            "settings-out-of-range",
            id="host-empty",
        ),
        pytest.param(
            "[mqtt]\nhost = 'a'\npassword_file = 'p'",
            "agent.toml:1 mqtt",
            "`password_file` without `username`",
            'add username = "..."',
            "settings-do-not-fit",
            id="password",
        ),
        pytest.param(
            "[telemetry]\nsample_share = nan",
            "agent.toml:2 telemetry.sample_share",
            "nan is not a finite number",
            "",
            "settings-out-of-range",
            id="nan",
        ),
        pytest.param(
            "[telemetry]\nsample_share = '5%'",
            "agent.toml:2 telemetry.sample_share",
            "expected a number, found the text `5%`",
            "write a fraction: 0.05",
            "settings-wrong-type",
            id="percent",
        ),
        pytest.param(
            "[telemetry]\nwindow_s = 300.0",
            "agent.toml:2 telemetry.window_s",
            "expected an integer, found the number 300.0",
            "write 300",
            "settings-wrong-type",
            id="float",
        ),
        pytest.param(
            "log = 'info'",
            "agent.toml:1 log",
            "expected a table, found the text `info`",
            "",
            "settings-wrong-type",
            id="no-table",
        ),
        pytest.param(
            "[[log]]\nlevel = 'info'",
            "agent.toml:1 log",
            "expected a table, found a list",
            "write one table, [name]",
            "settings-wrong-type",
            id="tables-for-one",
        ),
        pytest.param(
            "slots = 3",
            "agent.toml:1 slots",
            "expected a table, found the integer 3",
            "",
            "settings-wrong-type",
            id="slots",
        ),
        pytest.param(
            "runtime_dir = 'a\\u0000'".replace("'", '"'),
            "agent.toml:1 runtime_dir",
            "no path holds a null character",
            "",
            "settings-out-of-range",
            id="null",
        ),
        pytest.param(
            f"runtime_dir = '/{'r' * 91}'",
            "agent.toml:1 runtime_dir",
            f"/{'r' * 91}/supervisor.sock has 108 bytes; the path of a socket can have 107",
            "choose a folder with a shorter path",
            "settings-out-of-range",
            id="socket",
        ),
    ],
)
def test_a_fault_of_the_file_says_where_what_and_how_to_mend_it(
    tmp_path: Path, text: str, where: str, message: str, hint: str, code: str
) -> None:
    (tmp_path / "p").touch(mode=0o600)
    found = problem(text, tmp_path)
    assert (found[0], found[1], found[3]) == (where, message, code)
    assert hint in found[2]
    assert found[2]


@pytest.mark.parametrize(
    ("lines", "where", "message", "code"),
    [
        pytest.param(
            "input = {kind = 'tide'}",
            "agent.toml:3 slots.main.input",
            "missing key `gauge`",
            "settings-missing-key",
            id="missing",
        ),
        pytest.param(
            "input = {gauge = 'a'}",
            "agent.toml:3 slots.main.input",
            "missing key `kind`",
            "settings-missing-key",
            id="no-kind",
        ),
        pytest.param(
            "input = {kind = 4, gauge = 'a'}",
            "agent.toml:3 slots.main.input.kind",
            "expected one of",
            "settings-wrong-type",
            id="kind-number",
        ),
        pytest.param(
            "input = 'tide'",
            "agent.toml:3 slots.main.input",
            "expected a table, found the text `tide`",
            "settings-wrong-type",
            id="no-table",
        ),
        pytest.param(
            "input = {kind = 'tide', gauge = 'dry'}",
            "agent.toml:3 slots.main.input",
            "a gauge that lies dry measures nothing",
            "settings-do-not-fit",
            id="post-init",
        ),
        pytest.param(
            "[slots.main.input]\nkind = 'tide'\ngauge = 'a'\nlevels = {x = [1, 2,\n 'three']}",
            "agent.toml:7 slots.main.input.levels.x[2]",
            "expected an integer, found the text `three`",
            "settings-wrong-type",
            id="in-a-list",
        ),
        pytest.param(
            "input = {kind = 'tide', gauge = 'a'}\n[[slots.main.results]]\nkind = 'paper'\npath = 'a'\ntrays = [1]",
            "agent.toml:7 slots.main.results[0].trays",
            "Expected `array` of length 2, got 1",
            "settings-wrong-type",
            id="msgspec-reads-it",
        ),
        pytest.param(
            "input = {kind = 'tide', gauge = 'a'}\nresults = {kind = 'paper', path = 'a'}",
            "agent.toml:4 slots.main.results",
            "expected a list, found a table",
            "settings-wrong-type",
            id="one-for-a-list",
        ),
        pytest.param(
            "input = {kind = 'tide', gauge = 'a'}\nproviders = ['gpu']",
            "agent.toml:4 slots.main.providers[0]",
            "unknown value `gpu`",
            "settings-unknown-value",
            id="provider",
        ),
    ],
)
def test_a_fault_of_an_input_or_result_has_its_line(
    tmp_path: Path, lines: str, where: str, message: str, code: str
) -> None:
    found = problem(f"[slots.main]\nmodel = 'm'\n{lines}\n", tmp_path)
    assert (found[0], found[3]) == (where, code)
    assert found[1].startswith(message)


def test_a_socket_whose_path_just_fits_is_taken(tmp_path: Path) -> None:
    assert read(f"runtime_dir = '/{'r' * 90}'", tmp_path).runtime_dir.endswith("r")


def test_a_name_that_no_topic_can_have_is_refused(tmp_path: Path) -> None:
    text = SLOT.replace("slots.main", 'slots."a/b"')
    assert problem(text, tmp_path)[:2] == ("agent.toml:1 slots", "`a/b` cannot be a name")


def test_the_hint_for_a_required_setting_says_what_it_is_for(tmp_path: Path) -> None:
    text = "[slots.main]\nmodel = 'm'\ninput = {kind = 'tide'}\n"
    assert problem(text, tmp_path)[2] == "`gauge` is: which of the harbour's gauges"


def test_a_hosts_name_that_cannot_be_a_devices_has_to_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = os.uname_result(("Linux", "my host", "6", "1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: names)
    where, message, hint, code = problem("", tmp_path)
    assert (where, code) == ("agent.toml:1 device", "settings-name")
    assert message == "is not set, and the host's name `my host` cannot stand for it"
    assert hint.startswith('write device = "name"')
    assert read("device = 'd'", tmp_path).device == "d"


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        pytest.param(
            "host = broker",
            "agent.toml:1",
            "this is no TOML: invalid value",
            'text needs quotes: host = "broker"',
            id="unquoted",
        ),
        pytest.param(
            "a = 1\ndrift = True", "agent.toml:2", "this is no TOML: invalid value", "write `drift = true`", id="python"
        ),
        pytest.param(
            "drift = no # off", "agent.toml:1", "this is no TOML: invalid value", "write `drift = false`", id="yaml-no"
        ),
        pytest.param(
            "ca = None",
            "agent.toml:1",
            "this is no TOML: invalid value",
            "TOML has no null: remove the line",
            id="none",
        ),
        pytest.param("\nmqtt:\n  host: x", "agent.toml:2", "this is no TOML: ", "TOML writes `mqtt = ...`", id="yaml"),
        pytest.param('x = "C:\\models"', "agent.toml:1", "this is no TOML: ", "a backslash in", id="backslash"),
        pytest.param(
            "x = [1,\n2\n", "agent.toml:2", "this is no TOML: ", "a quote or bracket that is missing", id="bracket"
        ),
        pytest.param(
            'x = "a\ny = 1', "agent.toml:1", "this is no TOML: ", "a quote or bracket that is missing", id="quote"
        ),
        pytest.param(
            "x =\n", "agent.toml:1", "this is no TOML: ", "give `x` a value, or remove the line", id="nothing"
        ),
        pytest.param("[log\nlevel = 'info'", "agent.toml:1", "this is no TOML: ", "", id="header"),
    ],
)
def test_broken_toml_names_its_line_and_what_may_be_meant(
    tmp_path: Path, text: str, where: str, message: str, hint: str
) -> None:
    found = problem(text, tmp_path)
    assert (found[0], found[3]) == (where, "settings-not-toml")
    assert found[1].startswith(message)
    assert hint in found[2]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        pytest.param(SLOT + "\n" + SLOT, "agent.toml:5", "`slots.main` stands twice; first on line 1", id="slots"),
        pytest.param(
            "device = 'a'\n\ndevice = 'b'", "agent.toml:3", "`device` stands twice; first on line 1", id="key"
        ),
        pytest.param(
            "log = {level = 'info', level = 'info'}",
            "agent.toml:1",
            "`log.level` stands twice; first on line 1",
            id="inline",
        ),
    ],
)
def test_what_stands_twice_names_both_lines(tmp_path: Path, text: str, where: str, message: str) -> None:
    found = problem(text, tmp_path)
    assert (found[0], found[1], found[3]) == (where, message, "settings-duplicate-key")


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    assert problem(f"x = {'[' * 100_000}", tmp_path)[3] == "settings-not-toml"


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        pytest.param("gone.toml", None, "settings-not-found", "there is no such file", id="gone"),
        pytest.param(".", None, "settings-unreadable", "cannot be read: Is a directory", id="folder"),
        pytest.param("a.toml", b"a = 1\nb = '\xff'", "settings-not-toml", "this is no UTF-8: byte 0xff", id="latin-1"),
        pytest.param("a.toml", b"#" * 300_000, "settings-unreadable", "larger than 256 KiB", id="large"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, code: str, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / name)
    (only,) = caught.value.problems
    assert (only.code, only.message) == (code, message)
    assert only.where.startswith(str(tmp_path / name))


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfdevice = 'a'\r\n")
    assert load_settings(tmp_path / "a.toml").device == "a"


def test_messages_call_the_file_as_the_user_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^a\.toml:1: unknown key `x`"):
        load_settings(Path("a.toml"))


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        pytest.param(0o644, "that every user of this machine can read (mode 0644)", id="world"),
        pytest.param(0o602, "that every user of this machine can change (mode 0602)", id="world-write"),
        pytest.param(0o660, "that its whole group can", id="group-write"),
        pytest.param(0o640, "", id="group-reads"),
        pytest.param(0o400, "", id="alone"),
    ],
)
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int, said: str) -> None:
    (tmp_path / "p").write_text("hunter2")
    (tmp_path / "p").chmod(mode)
    text = "[mqtt]\nhost = 'b'\nusername = 'u'\npassword_file = 'p'\n"
    if not said:
        assert read(text, tmp_path).mqtt is not None
        return
    where, message, hint, code = problem(text, tmp_path)
    assert (where, code) == ("agent.toml:4 mqtt.password_file", "settings-secret")
    assert said in message
    assert hint == f"chmod 600 {tmp_path}/p"


def test_a_secret_of_an_input_is_checked_as_well(tmp_path: Path) -> None:
    (tmp_path / "t").touch(mode=0o644)
    (tmp_path / "t").chmod(0o644)
    text = "[slots.main]\nmodel = 'm'\ninput = {kind = 'door', token = 't'}\n"
    assert problem(text, tmp_path)[3] == "settings-secret"


def test_a_file_that_the_agents_user_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run this, reads every file
    assert "cannot be read by" in problem("[mqtt]\nhost = 'b'\ntls.ca = 'ca.pem'\n", tmp_path)[1]


def test_two_results_do_not_write_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("out")
    text = "".join(
        f"[slots.{name}]\nmodel = 'm'\ninput = {{kind = 'tide', gauge = 'a'}}\n"
        f"results = [{{kind = 'paper', path = '{path}'}}]\n"
        for name, path in (("a", "out/x"), ("b", "link/x"), ("c", "other/x"))
    )
    where, message, _, code = problem(text, tmp_path)
    assert (where, code) == ("agent.toml:8 slots.b.results[0].path", "settings-twice")
    assert message == f"the results on line 4 are written to {tmp_path}/link/x too"


def test_results_within_the_folder_of_their_slot_do_not_collide_with_those_of_another(tmp_path: Path) -> None:
    text = "".join(
        f"[slots.{name}]\nmodel = 'm'\ninput = {{kind = 'tide', gauge = 'a'}}\n"
        "results = [{kind = 'jsonl', path = 'x'}, {kind = 'jsonl'}]\n"
        for name in "ab"
    )
    first, second = read(text, tmp_path).slots["b"].results
    assert (first.path, second.path) == ("x", None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["", ", path = 'x'"])
def test_two_results_of_one_slot_do_not_write_one_file_either(tmp_path: Path, path: str) -> None:
    text = SLOT + f"results = [{{kind = 'jsonl'{path}}},\n {{kind = 'jsonl'{path}}}]\n"
    where, message, _, code = problem(text, tmp_path)
    assert (where, code) == ("agent.toml:5 slots.main.results[1].path", "settings-twice")
    assert message.startswith("the results on line 4 are written to ")


@pytest.mark.parametrize(
    ("lines", "where", "does"),
    [
        ("input = {kind = 'mqtt', topic = 'a'}", "agent.toml:3 slots.main.input", "hears"),
        ("input = {kind = 'door'}\nresults = [{kind = 'mqtt'}]", "agent.toml:4 slots.main.results[0]", "speaks to"),
    ],
)
def test_what_needs_a_broker_needs_one_in_the_file(tmp_path: Path, lines: str, where: str, does: str) -> None:
    text = f"[slots.main]\nmodel = 'm'\n{lines}\n"
    found = problem(text, tmp_path)
    assert (found[0], found[1], found[3]) == (
        where,
        f"this {does} a broker, and the file names none",
        "settings-no-broker",
    )
    assert read(f"{text}[mqtt]\nhost = 'b'\n", tmp_path).mqtt is not None


def test_two_slots_do_not_listen_on_one_port(tmp_path: Path) -> None:
    text = "".join(
        f"[slots.{name}]\nmodel = 'm'\ninput = {{kind = 'door', port = {port}}}\n"
        for name, port in (("a", 80), ("b", 81), ("c", 80))
    )
    where, message, _, code = problem(text, tmp_path)
    assert (where, code) == ("agent.toml:9 slots.c.input.port", "settings-twice")
    assert message == "the input on line 3 listens on 127.0.0.1:80 too"


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        pytest.param(None, "has no manifest.json: it is no result, or one that was not finished", id="none"),
        pytest.param("{", "manifest.json: not a manifest: ", id="broken"),
        pytest.param('{"schema": 99}', "manifest of schema 99; this version reads 1", id="schema"),
    ],
)
def test_a_model_folder_without_a_manifest_that_can_be_read_is_refused(
    tmp_path: Path, manifest: str | None, said: str
) -> None:
    (tmp_path / "m").mkdir()
    if manifest is not None:
        (tmp_path / "m" / "manifest.json").write_text(manifest)
    where, message, hint, code = problem(SLOT, tmp_path, models=True)
    assert (where, code) == ("agent.toml:2 slots.main.model", "settings-model")
    assert said in message
    assert hint


def test_an_artifact_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    model_folder(tmp_path / "m")
    text = SLOT + "artifacts = ['model.onnx', 'modle.onnx']\n"
    where, message, hint, code = problem(text, tmp_path, models=True)
    assert (where, code) == ("agent.toml:4 slots.main.artifacts[1]", "settings-model")
    assert (message, hint) == ("the model has no artifact `modle.onnx`", "did you mean `model.onnx`?")


def test_a_supervisor_starts_with_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(SLOT)
    assert load_settings(tmp_path / "a.toml", models=False).slots["main"].model == f"{tmp_path}/m"


@pytest.mark.parametrize(
    ("source", "where", "said"),
    [
        pytest.param("kind = 'http', host = '0.0.0.0'", ".host", "no token is asked of them", id="http-open-to-all"),
        pytest.param("kind = 'http', max_body_mb = 100", ".max_pending_mb", "64 MB for all requests", id="http-sizes"),
        pytest.param("kind = 'http', host = '::', token_file = 'short'", ".token_file", "is no token of", id="token"),
        pytest.param("kind = 'mqtt', topic = 'a/#/b'", ".topic", "# stands alone", id="topic"),
        pytest.param("kind = 'serial', device = '/dev/ttyS9', baud = 123456", ".baud", "is no speed", id="baud"),
        pytest.param("kind = 'command', command = ['a'], frames_as = 'rgb'", ".width", "carry no size", id="frames"),
        pytest.param("kind = 'rpicam', width = 100, codec = 'yuv420'", ".width", "no multiple of 64", id="rpicam"),
        pytest.param("kind = 'gstreamer', pipeline = '\"a'", ".pipeline", "No closing quotation", id="gstreamer"),
        pytest.param("kind = 'rtsp', url = 'rtsp://c/1', width = 64", ".width", "go together", id="rtsp-size"),
        pytest.param(
            "kind = 'rtsp', url = 'rtsp://c/1', username = 'u'", ".password_file", "go together", id="rtsp-login"
        ),
        pytest.param("kind = 'directory', path = 'i', done = 'failed'", ".failed", "the same folder", id="directory"),
        pytest.param("kind = 'replay', path = 'x.parquet'", ".path", "is none of .csv", id="replay"),
    ],
)
def test_an_input_that_can_work_nowhere_is_told_by_check_and_costs_a_supervisor_one_slot_alone(
    tmp_path: Path, source: str, where: str, said: str
) -> None:
    (tmp_path / "short").write_text("password\n")
    (tmp_path / "short").chmod(0o600)
    model_folder(tmp_path / "m")
    text = f"[mqtt]\nhost = 'b'\n[slots.main]\nmodel = 'm'\ninput = {{{source}}}\n"
    found = problem(text, tmp_path, models=True)
    assert (found[0], found[3]) == (f"agent.toml:5 slots.main.input{where}", "settings-do-not-fit")
    assert said in found[1]
    assert found[2]
    assert read(text, tmp_path).slots


def test_a_package_whose_check_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dam(Input, frozen=True, tag="dam"):
        """An input of this test."""

        def check(self) -> None:
            raise KeyError("sluice")

    monkeypatch.setattr(sys.modules[__name__], "Dam", Dam, raising=False)
    monkeypatch.setitem(inputs.KINDS, "dam", "kinds_of_test:Dam")
    model_folder(tmp_path / "m")
    found = problem("[slots.main]\nmodel = 'm'\ninput = {kind = 'dam'}\n", tmp_path, models=True)
    assert (found[0], found[1], found[3]) == (
        "agent.toml:3 slots.main.input",
        "its package fails: KeyError: 'sluice'",
        "settings-plugin",
    )


def test_two_slots_do_not_take_files_from_each_other(tmp_path: Path) -> None:
    text = "".join(
        f"[slots.{name}]\nmodel = 'm'\ninput = {{kind = 'directory', path = '{path}', after = '{after}'}}\n"
        for name, path, after in (("a", "inbox", "keep"), ("b", "./inbox/", "delete"), ("c", "other", "move"))
    )
    where, message, _, code = problem(text, tmp_path)
    assert (where, code) == ("agent.toml:6 slots.b.input.after", "settings-twice")
    assert message == "takes files away that the input on line 3 watches too"
    assert read(text.replace("delete", "keep"), tmp_path).slots


@examples(max_examples=60, deadline=None)
@given(st.text(alphabet="abmqt=.[]{}\"'#\n 1_-", max_size=80))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    refused: tuple[Problem, ...] = ()
    try:
        read(text, Path("/nowhere"))
    except SettingsError as error:
        refused = error.problems
    assert all(problem.where.startswith("agent.toml:") and problem.hint for problem in refused)


JSONISH: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@examples(max_examples=60, deadline=None)
@given(st.data())
def test_any_value_in_any_place_is_read_or_refused_with_a_hint(data: st.DataObject) -> None:
    """Values of every type at every known key: nothing but SettingsError comes out."""
    from edgeglm_agent.settings.toml_lines import TomlLines
    from edgeglm_agent.settings.walk import Walker
    from msgspec import inspect as types

    keys = st.sampled_from(
        [*Settings.__struct_fields__, *Slot.__struct_fields__, *Tls.__struct_fields__, "kind", "host"]
    )
    values = st.recursive(JSONISH, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=12)
    document = data.draw(st.dictionaries(keys, values, max_size=4))
    walker = Walker("agent.toml", TomlLines(""), Path("/nowhere"))
    walker.read(document, types.type_info(Settings), ())
    assert all(problem.hint and problem.code for _, problem in walker.problems)


DOCS = sorted([*ROOT.glob("docs/agent/*.md"), *ROOT.glob("docs/agent.md"), ROOT / "README.md"])
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in DOCS
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    if "[project" not in block  # of a package that adds something
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_documentation_shows_is_right(block: str, tmp_path: Path) -> None:
    """All but files that are not here, and what a page leaves out for shortness."""
    faults: tuple[Problem, ...] = ()
    try:
        read(block, tmp_path)
    except SettingsError as error:
        faults = error.problems
    left_out = ("settings-file", "settings-missing-key", "settings-no-broker")
    assert [str(fault) for fault in faults if fault.code not in left_out] == []


def test_every_setting_of_the_file_says_what_it_is_for() -> None:
    from edgeglm_agent.settings.tables import tables
    from edgeglm_agent.source_comments import field_comments

    for header, struct in tables().items():
        assert set(field_comments(struct)) >= set(struct.__struct_fields__), header


@pytest.mark.parametrize("kind", sorted(inputs.KINDS))
def test_the_supervisor_can_read_the_settings_of_an_input_without_numpy(kind: str) -> None:
    code = f"import sys; from edgeglm_agent.inputs import input_type; input_type({kind!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "asyncio", "ssl", "cv2", "av"} & set(done.stdout.split())


def test_reading_settings_brings_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[mqtt]\nhost = 'b'\n")
    heavy = ("numpy", "asyncio", "ssl", "difflib", "dataclasses", "importlib.metadata")
    code = (
        "import sys; from pathlib import Path; from edgeglm_agent.settings.load import load_settings; "
        f"load_settings(Path(sys.argv[1])); print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.toml"], capture_output=True, text=True, check=True, env=uncovered()
    )
    assert done.stdout.strip() == "[]"
