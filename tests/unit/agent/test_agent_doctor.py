"""What doctor finds on a board: trees of real boards, real folders, real manifests. The broker has tests of its own."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import msgspec
import pytest
from edgeglm_agent.board import clock as board_clock
from edgeglm_agent.cli import main
from edgeglm_agent.doctor import Finding, board, clock, diagnose, disk, inputs, render, runtimes
from edgeglm_agent.engines import EngineError
from edgeglm_agent.inputs._base import Input, InputError
from edgeglm_agent.inputs.camera import CameraInput
from edgeglm_agent.inputs.command import CommandInput
from edgeglm_agent.inputs.gstreamer import GstreamerInput
from edgeglm_agent.inputs.http import HttpInput
from edgeglm_agent.inputs.mqtt import MqttInput
from edgeglm_agent.inputs.replay import ReplayInput
from edgeglm_agent.inputs.rpicam import RpicamInput
from edgeglm_agent.inputs.rtsp import RtspInput
from edgeglm_agent.inputs.serial import SerialInput
from edgeglm_agent.results.mqtt import MqttResults
from edgeglm_agent.settings.types import InputConfig, Outbox, Settings, Slot
from edgeglm_agent.wire import ProcessOp, Runtime

from tests.support.agent import sysroots
from tests.support.model_folders import edit_manifest, read_manifest, write_two


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def _board_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.uname_result(("Linux", "gate-7", "6.12", "1", "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: names)


@pytest.mark.usefixtures("_board_of_64_bits")
class TestBoard:
    def test_a_board_in_order_has_nothing_to_mend(self, tmp_path: Path) -> None:
        found = by_name(board.look(sysroots.pi5(tmp_path / "pi").root, Settings(device="gate-7")))
        assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(
            ("board", "python", "memory", "temperature", "power", "throttling"), "ok"
        )
        assert found["board"].detail.startswith("Raspberry Pi 5 Model B Rev 1.0, Debian GNU/Linux 13 (trixie)")
        assert found["temperature"].detail == "55.6 C"

    @pytest.mark.parametrize(
        ("bits", "power", "throttling"),
        [
            pytest.param(0x50005, "fail", "fail", id="now"),
            pytest.param(0x50000, "warn", "warn", id="since-boot"),
            pytest.param(0x80008, "ok", "fail", id="hot"),
        ],
    )
    def test_a_supply_that_sags_and_a_board_that_is_slowed_down_are_told(
        self, tmp_path: Path, bits: int, power: str, throttling: str
    ) -> None:
        tree = sysroots.pi5(tmp_path / "pi")
        tree.vcgencmd(bits)
        found = by_name(board.look(tree.root, None))
        assert (found["power"].status, found["throttling"].status) == (power, throttling)
        assert (power == "ok") == (not found["power"].hint)
        assert "heat sink" in found["throttling"].hint

    def test_the_monitor_of_the_supply_is_enough(self, tmp_path: Path) -> None:
        tree = sysroots.pi5(tmp_path / "pi")
        for alarm in tree.root.rglob("in0_lcrit_alarm"):
            alarm.write_text("1\n")
        assert by_name(board.look(tree.root, None))["power"].status == "fail"

    def test_a_hot_board_is_told(self, tmp_path: Path) -> None:
        tree = sysroots.pi5(tmp_path / "pi")
        for file in [*tree.root.rglob("thermal_zone0/temp"), *tree.root.rglob("temp1_input")]:
            file.write_text("84200\n")
        found = by_name(board.look(tree.root, None))["temperature"]
        assert (found.status, found.detail) == ("warn", "84.2 C: the board slows itself down, or soon will")

    @pytest.mark.parametrize("make", [sysroots.orin_nano_jp6, sysroots.agx_thor_jp7, sysroots.pc])
    def test_other_boards_are_looked_at_as_well(self, tmp_path: Path, make: object) -> None:
        found = by_name(board.look(make(tmp_path / "board").root, None))  # type: ignore[operator]
        assert {finding.status for finding in found.values()} == {"ok"}

    def test_a_tree_without_anything_is_no_fault(self, tmp_path: Path) -> None:
        assert {finding.status for finding in board.look(tmp_path, None)} == {"ok"}

    def test_a_python_of_32_bits_is_told_on_a_kernel_of_64(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
        found = board.look(sysroots.pi4(tmp_path / "pi").root, None)[0]
        assert found.status == "fail"
        assert found.detail.endswith("aarch64, 32 bit: this is no 64-bit system although its kernel is")

    def test_the_name_that_every_new_board_has_is_told(self, tmp_path: Path) -> None:
        found = by_name(board.look(sysroots.pi4(tmp_path / "pi").root, Settings(device="raspberrypi")))
        assert (found["device"].status, "device = " in found["device"].hint) == ("warn", True)

    def test_slots_that_may_take_more_memory_than_there_is_are_told(self, tmp_path: Path) -> None:
        slots = {name: Slot(model="m", input=InputConfig(), memory_mb=3000) for name in "ab"}
        found = by_name(board.look(sysroots.pi4(tmp_path / "pi").root, Settings(slots=slots)))
        assert "the slots may take 6000 MB together" in found["memory"].detail


class TestClock:
    def test_a_clock_of_1970_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(board_clock, "plausible", lambda: False)
        (found,) = clock.look(tmp_path)
        assert found.status == "fail"
        assert "no certificate will be accepted" in found.detail

    @pytest.mark.parametrize(
        ("kernel", "file", "status"),
        [(True, False, "ok"), (False, True, "ok"), (False, False, "warn"), (None, False, "warn")],
    )
    def test_a_clock_that_nothing_synchronises_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool | None, file: bool, status: str
    ) -> None:
        monkeypatch.setattr(board_clock, "kernel_synchronised", lambda: kernel)
        if file:
            (tmp_path / "run/systemd/timesync").mkdir(parents=True)
            (tmp_path / "run/systemd/timesync/synchronized").touch()
        (found,) = clock.look(tmp_path)
        assert found.status == status
        assert bool(found.hint) == (status != "ok")


def on_disk(folder: Path, *, quota_mb: int = 64) -> dict[str, Finding]:
    state, runtime = str(folder / "state"), str(folder / "run")
    return by_name(disk.look(Settings(state_dir=state, runtime_dir=runtime, outbox=Outbox(quota_mb=quota_mb))))


class TestDisk:
    def test_a_folder_that_keeps_what_it_takes_is_all_right(self, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir()
        found = on_disk(tmp_path)
        assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(
            ("state_dir", "disk", "commits", "runtime_dir"), "ok"
        )
        assert list((tmp_path / "state").iterdir()) == []

    def test_a_folder_that_is_still_to_be_made_is_tried_above(self, tmp_path: Path) -> None:
        found = on_disk(tmp_path / "a" / "b")
        assert found["state_dir"].detail == f"{tmp_path}/a/b/state will be made"
        assert found["commits"].status == "ok"
        assert list(tmp_path.iterdir()) == []

    def test_a_quota_larger_than_what_is_free_is_told(self, tmp_path: Path) -> None:
        found = on_disk(tmp_path, quota_mb=10**9)["disk"]
        assert (found.status, bool(found.hint)) == ("warn", True)

    def test_a_full_disk_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        full = list(os.statvfs(tmp_path))
        full[4] = 1  # f_bavail
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(full))
        assert on_disk(tmp_path)["disk"].status == "fail"

    def test_a_folder_that_cannot_be_written_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run this, writes everywhere
        found = on_disk(tmp_path)
        assert set(found) == {"state_dir", "runtime_dir"}
        assert found["state_dir"].detail == f"{tmp_path} cannot be written by this user"
        assert "install -d -o" in found["state_dir"].hint

    def test_a_file_system_that_is_read_only_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        flags = [*os.statvfs(tmp_path)[:8], os.ST_RDONLY, 255]
        monkeypatch.setattr(os, "access", lambda *_: False)
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
        found = on_disk(tmp_path)["state_dir"]
        assert "read-only" in found.detail
        assert "dmesg" in found.hint

    def test_a_state_in_memory_is_told(self) -> None:
        shared = Path("/dev/shm")
        assert shared.is_dir(), "every Linux has one"
        found = by_name(disk.look(Settings(state_dir=str(shared / "no-agent"), runtime_dir="/tmp")))
        assert found["state_dir"].status == "warn"
        assert "a power cut loses" in found["state_dir"].detail

    def test_a_folder_that_holds_no_database_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(disk.sqlite3, "connect", _no_database)
        found = on_disk(tmp_path)["commits"]
        assert found.status == "fail"
        assert found.detail.endswith("disk I/O error")


def _no_database(*_: object, **__: object) -> object:
    raise disk.sqlite3.OperationalError("disk I/O error")


class TestRuntimes:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return write_two(tmp_path / "model")

    def found(self, folder: Path, **slot: object) -> Finding:
        settings = Settings(slots={"main": Slot(model=str(folder), input=InputConfig(), **slot)})  # type: ignore[arg-type]
        (finding,) = runtimes.look(settings)
        return finding

    def test_what_a_manifest_needs_is_there(self, folder: Path) -> None:
        found = self.found(folder, artifacts=["model.onnx"])
        assert (found.name, found.status) == ("model main", "ok")
        assert found.detail.startswith("tiny 0123456789ab: model.onnx (none) for onnxruntime ")

    def test_a_runtime_that_is_too_old_is_told(self, folder: Path) -> None:
        newer = [
            msgspec.structs.replace(artifact, runtime=Runtime(artifact.runtime.name, "99.0.0"))
            for artifact in read_manifest(folder).artifacts
        ]
        edit_manifest(folder, artifacts=tuple(newer))
        found = self.found(folder)
        assert found.status == "fail"
        assert "it needs onnxruntime 99.0.0 or newer, here is" in found.detail
        assert found.hint == "pip install --upgrade 'edgeglm-agent[litert]'"

    def test_one_artifact_that_can_run_is_enough(self, folder: Path) -> None:
        first, *rest = read_manifest(folder).artifacts
        unknown = msgspec.structs.replace(first, path="model.xyz", format="xyz")
        edit_manifest(folder, artifacts=(unknown, *rest))
        found = self.found(folder)
        assert found.status == "ok"
        assert "passed over: model.xyz: no engine is known for the format xyz" in found.detail

    def test_a_runtime_that_is_not_installed_is_told(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> str:
            raise EngineError("onnxruntime is not installed", fault="no-runtime")

        monkeypatch.setattr("edgeglm_agent.engines.runtime_of", missing)
        found = self.found(folder, artifacts=["model.onnx"])
        assert (found.status, found.hint) == ("fail", "pip install --upgrade 'edgeglm-agent[onnx]'")
        assert "onnxruntime is not installed" in found.detail


class TestInputs:
    @pytest.fixture
    def _bare_board(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A machine with the agent, and neither an extra nor a program beside it."""
        for name in ("av", "PIL", "uvicorn", "tokenizers"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setenv("PATH", str(tmp_path))

    def found(self, source: object, folder: Path | None = None, **slot: object) -> list[Finding]:
        main = Slot(model=str(folder or "none"), input=source, **slot)  # type: ignore[arg-type]
        return inputs.look(Settings(slots={"main": main}))

    @pytest.mark.usefixtures("_bare_board")
    @pytest.mark.parametrize(
        ("source", "lacks"),
        [
            pytest.param(CameraInput(device="cam"), {"PyAV": "agent[camera]", "Pillow": "agent[image]"}, id="camera"),
            pytest.param(RtspInput(url="rtsp://c/1"), {"ffmpeg or gst-launch-1.0": "get install ffmpeg"}, id="rtsp"),
            pytest.param(GstreamerInput(pipeline="x"), {"gst-launch-1.0": "gstreamer1.0-tools"}, id="gstreamer"),
            pytest.param(RpicamInput(codec="yuv420"), {"rpicam-vid": "rpicam-apps-lite"}, id="rpicam"),
            pytest.param(RpicamInput(), {"rpicam-vid": "rpicam-apps-lite", "Pillow": "agent[image]"}, id="mjpeg"),
            pytest.param(CommandInput(command=["mine"], frames_as="rgb"), {"the program `mine`": "PATH"}, id="command"),
            pytest.param(HttpInput(), {"uvicorn": "agent[http]"}, id="http"),
            pytest.param(MqttInput(topic="t", payload="image"), {"Pillow": "agent[image]"}, id="mqtt"),
        ],
    )
    def test_what_an_input_needs_and_is_not_installed_is_told(self, source: Input, lacks: dict[str, str]) -> None:
        found = self.found(source)
        kind = source.__struct_config__.tag
        assert [(one.name, one.status, one.detail) for one in found] == [
            ("input main", "fail", f"`{kind}` needs {called}, which is not installed") for called in lacks
        ]
        assert all(part in one.hint for one, part in zip(found, lacks.values(), strict=True))
        with pytest.raises(InputError, match="which is not installed"):  # the worker says the same
            source.check_needs()

    @pytest.mark.usefixtures("_bare_board")
    def test_what_preprocessing_and_results_need_is_told(self, tmp_path: Path) -> None:
        folder = write_two(tmp_path / "model")
        steps = (ProcessOp("resize", {"height": 8, "width": 8}), ProcessOp("tokenize", {}))
        edit_manifest(folder, preprocess=steps)
        found = self.found(ReplayInput(path="x.npz"), folder, results=[MqttResults(crop="detection")])
        assert [(one.detail, one.hint.split("agent")[-1]) for one in found] == [
            ("the result `mqtt` needs Pillow, which is not installed", "[image]'"),
            ("`resize` of the model needs Pillow, which is not installed", "[image]'"),
            ("`tokenize` of the model needs tokenizers, which is not installed", "[text]'"),
        ]

    def test_an_input_that_has_all_it_needs_is_named_with_it(self) -> None:
        (found,) = self.found(HttpInput())
        assert (found.status, found.detail) == ("ok", "http, with uvicorn")

    def test_a_device_that_is_not_there_or_not_ours_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (found,) = self.found(SerialInput(device=str(tmp_path / "ttyUSB0")))
        assert (found.status, "is not there" in found.detail) == ("warn", True)
        (tmp_path / "ttyUSB0").touch()
        (found,) = self.found(SerialInput(device=str(tmp_path / "ttyUSB0")))
        assert (found.status, found.detail) == ("ok", "serial")
        monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run this, opens everything
        (found,) = self.found(SerialInput(device=str(tmp_path / "ttyUSB0")))
        assert found.status == "fail"
        assert "sudo usermod -aG" in found.hint


class TestDiagnosis:
    def test_faults_of_the_settings_come_with_what_is_wrong_on_the_board(self, tmp_path: Path) -> None:
        (tmp_path / "agent.toml").write_text("[mqtt]\nhsot = 'b'\n")
        found = diagnose(tmp_path / "agent.toml", sysroot=sysroots.pi4(tmp_path / "pi").root)
        assert (found[0].status, found[0].detail) == ("fail", f"{tmp_path}/agent.toml:2 mqtt: unknown key `hsot`")
        assert found[0].hint == "did you mean `host`?"
        assert "clock" in by_name(found)

    def test_without_a_file_the_board_is_looked_at(self, tmp_path: Path) -> None:
        found = diagnose(None, sysroot=sysroots.pi4(tmp_path / "pi").root)
        assert (found[0].name, found[0].status) == ("settings", "warn")

    def test_an_area_that_cannot_be_looked_at_hides_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: object) -> list[Finding]:
            raise RuntimeError("no such thing")

        monkeypatch.setattr(disk, "look", broken)
        (tmp_path / "agent.toml").write_text("device = 'd'\nstate_dir = 'state'\n")
        found = by_name(diagnose(tmp_path / "agent.toml", sysroot=tmp_path))
        assert found["disk"].detail == "cannot be looked at: RuntimeError: no such thing"
        assert found["broker"].status == "ok"

    def test_a_package_that_is_missing_hides_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.startswith(("paho", "edgeglm_agent.uplink"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(sys.modules, "edgeglm_agent.doctor.broker", raising=False)
        monkeypatch.setitem(sys.modules, "paho", None)
        (tmp_path / "agent.toml").write_text("device = 'd'\nstate_dir = 'state'\n[mqtt]\nhost = 'b'\n")
        found = by_name(diagnose(tmp_path / "agent.toml", sysroot=tmp_path))
        assert (found["broker"].status, "paho" in found["broker"].detail) == ("fail", True)
        assert found["disk"].status == "ok"

    def test_lines_are_at_most_80_wide_and_end_with_a_verdict(self) -> None:
        findings = [
            Finding("certificate", "fail", "of door-7 " * 20, "have it renewed " * 20),
            Finding("port", "ok", "8883 is open"),
            Finding("clock", "warn", "drifts", "set it"),
        ]
        lines = render(findings).splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[-1] == "1 failed, 1 to look at"
        assert render(findings[1:2]).splitlines()[-1] == "nothing is wrong"

    @pytest.mark.parametrize(("text", "code"), [("device = 'd'\nstate_dir = 's'\n", 0), ("devcie = 'd'\n", 4)])
    def test_the_exit_code_says_whether_something_fails(
        self, tmp_path: Path, text: str, code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "agent.toml").write_text(text)
        assert main(["doctor", "--json", str(tmp_path / "agent.toml")]) == code
        document = json.loads(capsys.readouterr().out)
        assert any(finding["status"] == "fail" for finding in document) == (code == 4)

    def test_an_agent_without_a_broker_has_no_certificate_to_look_at(self) -> None:
        from edgeglm_agent.doctor import broker, certificate

        assert certificate.look(Settings()) == []
        assert [finding.status for finding in broker.look(Settings())] == ["ok"]

    def test_this_machine_is_looked_at(self) -> None:
        assert by_name(diagnose(None))["python"].detail == platform.python_version()
