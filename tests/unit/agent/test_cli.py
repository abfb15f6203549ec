from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from edgeglm_agent import __version__
from edgeglm_agent.cli import main

COMMAND = [sys.executable, "-m", "edgeglm_agent"]


def run_code(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_version_is_printed() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"edgeglm-agent {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["run"], ["status", "a", "b"], ["frobnicate"], ["worker", "--slot", "a"]])
def test_a_wrong_command_line_is_answered_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("usage: edgeglm-agent")


@pytest.mark.parametrize("verb", ["run", "check", "selftest"])
def test_faults_of_the_settings_are_shown_without_a_traceback(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[mqtt]\nhsot = 'b'\n[telemetry]\nwindow_s = 0\n")
    assert main([verb, str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"{path}:2 mqtt: unknown key `hsot`\n\nhint: did you mean `host`?\ncode: settings-unknown-key\n\n"
        f"{path}:4 telemetry.window_s: 0 is out of range: at least 1 and at most 86400\n\n"
        "hint: `window_s` is: one record a window and slot\ncode: settings-out-of-range\n"
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param("tls = {ca = 'not-mounted-yet.pem'}", 4, id="a file that may come"),
        pytest.param("tls = {ca = 'not-mounted-yet.pem'}\nport = 0", 2, id="and a fault that stays"),
    ],
)
def test_run_tells_what_may_mend_itself_from_what_only_an_edit_mends(tmp_path: Path, more: str, code: int) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f"[mqtt]\nhost = 'b'\n{more}\n")
    assert main(["run", str(path)]) == code  # which the systemd unit starts again unless it is 2
    assert main(["check", str(path)]) == 2


def test_check_says_what_a_file_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("device = 'gate-7'\nfleet = 'north'\n[mqtt]\nhost = 'broker'\n")
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: device gate-7 of fleet north, broker\n"


def test_a_bug_is_shown_with_its_traceback() -> None:
    code = (
        "import sys\nfrom edgeglm_agent import cli\ncli._check = lambda given: 1 / 0\nsys.exit(cli.main(sys.argv[1:]))"
    )
    done = run_code(code, "check", "x")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    shell = f"{' '.join(COMMAND)} doctor | true"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_verb_that_is_stopped_ends_at_once(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """`status` waits for a supervisor that never answers."""
    (tmp_path / "agent.toml").write_text("runtime_dir = '.'\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "supervisor.sock"))
        listener.listen()
        listener.settimeout(30)
        # what a shell starts in the background ignores SIGINT, and so do its children
        process = subprocess.Popen(
            [*COMMAND, "status", tmp_path / "agent.toml"],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stderr=subprocess.DEVNULL,
        )
        connection, _ = listener.accept()
        with connection:
            process.send_signal(number)
            assert process.wait(30) == code


@pytest.mark.parametrize("arguments", [["--version"], ["check", "/nowhere"], ["status", "/nowhere"]])
def test_a_verb_starts_without_numpy_or_anything_heavy(arguments: list[str]) -> None:
    heavy = ("numpy", "asyncio", "ssl", "paho", "onnxruntime", "email", "importlib.metadata")
    code = (
        "import sys\nfrom edgeglm_agent.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = run_code(code, *arguments)
    assert done.stdout.splitlines()[-1] == "[]"
