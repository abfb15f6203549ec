"""``edgeglm fleet ls|show|logs|export|forget``, as a person types them, over a real store."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from edgeglm_agent.wire.commands import Reply
from edgeglm_agent.wire.telemetry import BoardReading, Drift, Gap, pack_ranges

from edgeglm.fleet.store.types import Device
from tests.support.fleet.boards import HOSTILE, event, sketch, slot, state, window
from tests.support.fleet.filled import Filled

GATES = [Device("north", f"gate-{number}") for number in range(1, 5)]
LAST = Device("south", "gate-1")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Filled]:
    """Five boards: one is well, one drifts, one is hot and fails, one went; one of another fleet is hostile."""
    now = now_ms()
    filled = Filled(tmp_path)
    for device in (*GATES, LAST):
        filled.say(device, state(device.name, agent="0.1.0"), now - 7_200_000)
    recent = {"at_ms": now - 400_000}
    filled.send(GATES[0], window(**recent), window(at_ms=now - 90_000, duration_ms=80_000), received_ms=now - 1000)
    drifting = window(**recent, drift=(Drift("input.x", 412, 200, 900),), latency_ms=sketch(*[3.0] * 100))
    filled.send(GATES[1], drifting, event(at_ms=now - 300_000), received_ms=now - 1000)
    hot = window(**recent, board=BoardReading(temperature_decic=851), errors={"run": 300})
    filled.send(GATES[2], hot, Gap("quota", pack_ranges([90, 91]), {"window": 2}), received_ms=now - 1000)
    filled.send(GATES[3], window(at_ms=now - 3_600_000), received_ms=now - 3_290_000)
    filled.say(GATES[3], state("gate-4", online=False), now - 3_000_000)
    hostile = window(**recent, errors={HOSTILE: 900})
    said = state("gate-1", slots={"main": slot(HOSTILE, "ee" * 32, why=HOSTILE)}, board={HOSTILE: HOSTILE})
    filled.say(LAST, said, now - 1000)
    bad = event(at_ms=now - 200_000, name="anomaly", detail={"said": HOSTILE, HOSTILE: 1})
    filled.send(LAST, hostile, bad, received_ms=now - 1000)
    filled.answer(LAST, Reply(1, "ops-1", "set", False, HOSTILE), now - 500)
    yield filled
    filled.close()


def fleet(
    store: Filled | Path, *words: str, stdin: int | None = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    path = store if isinstance(store, Path) else store.path
    environment = os.environ | {"EDGEGLM_STORE": f"sqlite:///{path}"}
    return subprocess.run(
        [sys.executable, "-m", "edgeglm", "fleet", *words],
        capture_output=True, text=True, check=False, timeout=300, stdin=stdin, env=environment, cwd=path.parent,
    )  # fmt: skip


def printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_ls_lists_every_board_of_one_fleet_or_of_all(store: Filled) -> None:
    done = fleet(store, "ls", "--fleet", "north")
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["DEVICE", "MODEL", "STATUS", "SEEN", "P95", "MS", "PER", "S", "ERR", "%", "TEMP", "PROBLEM"]
    assert [line.split()[0] for line in lines] == ["gate-1", "gate-2", "gate-3", "gate-4"]
    assert [line.split()[-1] for line in lines] == ["-", "drifting", "erroring,hot,gaps", "silent"]
    assert lines[3].split()[3] == "offline"
    assert done.stderr == "4 boards, 3 with problems: 1 silent, 1 erroring, 1 hot, 1 drifting, 1 gaps\n"
    everyone = fleet(store, "ls")
    assert "south/gate-1" in everyone.stdout
    assert printable(everyone.stdout)


def test_ls_problems_names_the_worst_first_with_the_reason(store: Filled) -> None:
    done = fleet(store, "ls", "--problems", "--fleet", "north")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        ["gate-4", "silent"],
        ["gate-3", "erroring"],
        ["gate-3", "hot"],
        ["gate-3", "gaps"],
        ["gate-2", "drifting"],
    ]
    assert re.match(r"offline: its connection ended 5\d min.* ago; its last window came 5\d min.* ago$", rows[0][2])
    assert "input.x has moved" in rows[4][2]
    assert "2 rows are lost for good" in rows[3][2]
    some = fleet(store, "ls", "--problem", "gaps", "--problem", "silent", "--fleet", "north").stdout
    assert [line.split()[:2] for line in some.splitlines()[1:]] == [["gate-4", "silent"], ["gate-3", "gaps"]]


def test_ls_as_json_has_boards_slots_and_problems(store: Filled) -> None:
    done = fleet(store, "ls", "--json")
    boards = {(board["fleet"], board["device"]): board for board in json.loads(done.stdout)["boards"]}
    assert len(boards) == 5
    assert json.loads(done.stdout)["nothing_comes"] is None
    assert [problem["kind"] for problem in boards["north", "gate-3"]["problems"]] == ["erroring", "hot", "gaps"]
    assert boards["north", "gate-1"]["slots"][0]["p95_ms"] == pytest.approx(20, rel=0.01)
    assert boards["south", "gate-1"]["slots"][0]["model"] == HOSTILE
    assert printable(done.stdout)


def test_ls_says_how_much_could_not_be_read(tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    filled.poison(3)
    filled.say(GATES[0], state("gate-1"), now_ms())
    done = fleet(filled.path, "ls", "--json")
    filled.close()
    assert json.loads(done.stdout)["unreadable"] == 3
    assert done.stderr.splitlines()[-1] == "3 messages or rows could not be read, ever: edgeglm fleet poison"


def test_ls_says_when_nothing_comes_from_any_board(tmp_path: Path) -> None:
    filled, last_ms = Filled(tmp_path), now_ms() - 700_000
    for device in GATES:
        filled.say(device, state(device.name), last_ms - 7_200_000)
        filled.send(device, window(at_ms=last_ms - 300_000), received_ms=last_ms)
    done = fleet(filled.path, "ls", "--json")
    filled.close()
    said = json.loads(done.stdout)["nothing_comes"]
    assert (said["since_ms"], said["boards"], said["reason"]) == (last_ms, 4, done.stderr.splitlines()[-1])
    assert said["reason"].startswith("the last message of any of 4 boards came 11 min")
    assert not any(board["problems"] for board in json.loads(done.stdout)["boards"]), "none is silent by itself as yet"


def test_poison_lists_what_was_put_aside(tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    none = fleet(filled.path, "poison")
    assert (none.stdout, none.stderr) == ("", "everything that came could be read\n")
    filled.poison(3)
    done = fleet(filled.path, "poison", "--last", "2")
    document = json.loads(fleet(filled.path, "poison", "--json").stdout)
    filled.close()
    assert done.stderr == "3 messages or rows could not be read, ever; the newest 2 are shown\n"
    assert done.stdout.splitlines()[0].endswith("  a/topic")
    assert done.stdout.splitlines()[1:3] == ["  why    no batch", "  text   ? (1 byte)"]
    assert document["unreadable"] == len(document["messages"]) == 3


def test_a_fleet_that_the_store_does_not_have_is_refused_by_every_verb(store: Filled, tmp_path: Path) -> None:
    for verb in (
        ("ls", "--problems"), ("top",), ("logs",), ("logs", "--follow"), ("export", "-o", str(tmp_path / "rows.csv")),
        ("show", "gate-2"), ("twin", "gate-2", "--at", "1h"), ("forget", "gate-2", "--yes"), ("serve", "--port", "0"),
    ):  # fmt: skip
        wrong = fleet(store, *verb, "--fleet", "nroth")
        assert (wrong.returncode, wrong.stdout) == (2, ""), verb
        assert "--fleet: no board of fleet `nroth` is known" in wrong.stderr
        assert "did you mean `north`? known fleets: north, south\n" in wrong.stderr
        assert wrong.stderr.endswith("code: fleet-unknown\n")
    assert not (tmp_path / "rows.csv").exists()


def test_a_table_on_a_terminal_fits_it(store: Filled) -> None:
    for words in (("ls",), ("ls", "--problems"), ("show", "south/gate-1")):
        main, child = pty.openpty()
        line = [sys.executable, "-m", "edgeglm", "fleet", *words, "--store", store.url]
        process = subprocess.Popen(line, stdout=child, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "80"})
        os.close(child)
        shown = b""
        with os.fdopen(main, "rb", buffering=0) as terminal:
            while True:
                try:
                    piece = terminal.read(65_536)
                except OSError:  # its other end is closed
                    break
                if not piece:
                    break
                shown += piece
        assert process.wait(300) == 0
        lines = shown.decode().replace("\r\n", "\n").split("\n")
        assert max(map(len, lines)) <= 80, words
        assert all(line.isprintable() for line in lines)


def test_an_empty_store_says_how_boards_get_there_and_a_missing_one_who_makes_it(tmp_path: Path) -> None:
    Filled(tmp_path).close()
    empty = fleet(tmp_path / "fleet.db", "ls")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "edgeglm fleet collect" in empty.stderr
    assert "no board has said anything yet" in empty.stderr
    named = fleet(tmp_path / "fleet.db", "ls", "--fleet", "north")
    assert (named.returncode, named.stderr) == (0, empty.stderr), "it may be right: nobody has said anything"
    nothing = {"boards": [], "unreadable": 0, "nothing_comes": None}
    assert json.loads(fleet(tmp_path / "fleet.db", "ls", "--json").stdout) == nothing
    missing = fleet(tmp_path / "nowhere.db", "ls")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.endswith("code: store-missing\n")


def test_show_tells_of_one_board_and_an_ambiguous_or_unknown_name_is_an_error(store: Filled) -> None:
    done = fleet(store, "show", "gate-2")
    flat = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "board gate-2 of fleet north" in flat
    assert "drifting: input.x has moved" in flat
    assert "p50 3 ms" in flat
    assert "drift-raised feature=input.x psi=0.412" in flat
    both = fleet(store, "show", "gate-1")
    assert (both.returncode, both.stdout) == (2, "")
    assert "2 fleets have a board `gate-1`: north/gate-1, south/gate-1" in both.stderr
    unknown = fleet(store, "show", "gatee-3")
    assert unknown.returncode == 2
    assert "did you mean `gate-3`?" in unknown.stderr
    assert unknown.stderr.endswith("code: device-unknown\n")
    document = json.loads(fleet(store, "show", "north/gate-3", "--json").stdout)
    assert document["lost"] == {"rows": 2, "reasons": {"quota": 2}}


def test_what_a_board_wrote_reaches_no_terminal_raw(store: Filled) -> None:
    for words in (
        ("show", "south/gate-1"),
        ("show", "south/gate-1", "--json"),
        ("logs",),
        ("export", "--what", "events"),
    ):
        done = fleet(store, *words)
        assert done.returncode == 0
        assert "red" in done.stdout, words
        assert printable(done.stdout), words


def test_logs_are_lines_of_all_boards_or_of_one(store: Filled) -> None:
    lines = fleet(store, "logs").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("warning north/gate-2 main drift-raised feature=input.x psi=0.412")
    assert len(fleet(store, "logs", "--fleet", "north").stdout.splitlines()) == 1
    assert len(fleet(store, "logs", "gate-2", "--since", "10m").stdout.splitlines()) == 1
    assert fleet(store, "logs", "gate-2", "--since", "2m").stdout == ""


def shown_until(process: subprocess.Popen[bytes], text: str, shown: str = "") -> str:
    assert process.stdout is not None
    while text not in shown:
        assert select.select([process.stdout], [], [], 300)[0], f"no {text} in {shown}"
        piece = os.read(process.stdout.fileno(), 65_536)
        assert piece, f"it ended with {shown}"
        shown += piece.decode()
    return shown


def test_logs_follow_what_comes_in_and_end_on_a_signal(store: Filled) -> None:
    line = [sys.executable, "-m", "edgeglm", "fleet", "logs", "--follow", "--store", store.url]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        try:
            shown = shown_until(process, "south/gate-1 main anomaly")
            now = now_ms()
            store.send(GATES[0], event(at_ms=now - 500_000, name="agent-started"), received_ms=now)  # before the others
            shown = shown_until(process, "north/gate-1 main agent-started", shown)
            assert shown.count("drift-raised") == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 143
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()


def test_a_board_without_any_model_is_listed_and_shown(tmp_path: Path) -> None:
    filled = Filled(tmp_path)
    now = now_ms()
    filled.say(GATES[0], state("gate-1", slots={}), now - 600_000)
    filled.send(GATES[0], window("", at_ms=now - 301_000, inferences=0, latency_ms=b""), received_ms=now - 1000)
    filled.close()
    listed = fleet(filled, "ls").stdout.splitlines()
    assert listed[1].split()[:4] == ["gate-1", "-", "no", "model"]
    assert listed[1].split()[-2:] == ["61.2", "-"]
    assert "no slot: 0 answered, in 1 window" in fleet(filled, "show", "gate-1").stdout


def test_export_writes_what_programs_read(store: Filled, tmp_path: Path) -> None:
    done = fleet(store, "export", "--since", "2h")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["fleet"], row["device"]) for row in rows] == [
        ("north", "gate-4"), ("north", "gate-1"), ("north", "gate-2"), ("north", "gate-3"), ("south", "gate-1"),
        ("north", "gate-1"),
    ]  # fmt: skip
    assert done.stderr == "6 windows\n"
    made = fleet(store, "export", "--since", "2h", "-o", str(tmp_path / "w.parquet"))
    assert (made.returncode, made.stdout) == (0, "")
    assert made.stderr == f"6 windows in {tmp_path}/w.parquet\n"
    with duckdb.connect() as database:
        figures = database.sql(f"select device, board_temperature_c from '{tmp_path}/w.parquet'").fetchall()
    assert figures[3] == ("gate-3", 85.1)
    again = fleet(store, "export", "--since", "2h", "-o", str(tmp_path / "w.parquet"))
    assert again.returncode == 2
    assert again.stderr.endswith("code: export-exists\n")
    gaps = fleet(store, "export", "gate-3", "--what", "gaps", "--format", "csv")
    assert next(csv.DictReader(io.StringIO(gaps.stdout)))["rows"] == "2"


def test_a_reader_that_leaves_early_is_no_error(store: Filled) -> None:
    for index in range(60):
        store.send(GATES[0], *[event(at_ms=now_ms() - 1000 - index) for _ in range(100)], received_ms=now_ms())
    for verb in ("logs", "export --what events"):
        line = f"{sys.executable} -m edgeglm fleet {verb} --store {store.url} | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=300)
        assert done.stdout.splitlines()[-1] == "0"
        assert done.stderr == ""


@pytest.mark.parametrize("verb", ["ls", "show gate-2", "top", "export", "poison", "twin gate-2 --at 1m --json"])
def test_a_stdout_that_is_closed_is_no_error(store: Filled, verb: str) -> None:
    line = f"exec {sys.executable} -m edgeglm fleet {verb} --store {store.url} >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_forget_removes_a_board_and_asks_before(store: Filled) -> None:
    store.close()
    unasked = fleet(store, "forget", "gate-2")
    assert unasked.returncode == 2
    assert unasked.stderr.endswith("code: forget-unasked\n")
    for answer, left in ((b"n\n", True), (b"y\n", False)):
        main, child = pty.openpty()
        os.write(main, answer)
        done = fleet(store, "forget", "gate-2", stdin=child)
        os.close(child)
        os.close(main)
        assert done.returncode == 0, done.stderr
        assert "remove everything that is known of north/gate-2?" in done.stderr
        assert ("gate-2" in fleet(store, "ls", "--fleet", "north").stdout) is left
    assert "2 rows of north/gate-3 removed" in fleet(store, "forget", "gate-3", "--yes").stderr
    assert fleet(store, "show", "gate-3").returncode == 2


def test_forget_while_somebody_collects_is_one_clear_error(store: Filled) -> None:
    busy = fleet(store, "forget", "gate-2", "--yes")
    assert busy.returncode == 4
    assert busy.stderr.endswith("code: store-busy\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "gate-2", "--since", "yesterday"), "--since: `yesterday` is no time"),
        (("logs", "--since", "24"), "--since: `24` is no time"),
        (("export", "--until", "2027-13-01"), "--until: `2027-13-01` is no time"),
        (("ls", "--fleet", "no/th"), "--fleet: `no/th` cannot be a fleet"),
        (("ls", "--problem", "silnt"), "hint: did you mean `silent`?"),
        (("export", "-o", "week.xlsx"), "week.xlsx: no file that ends in .xlsx is written"),
        (("export", "--since", "1h", "--until", "2h"), "hint: exchange them"),
        (("ls", "--fleet", b"\xff\x1b[2J".decode(errors="surrogateescape")), "cannot be a fleet"),
        (("show", b"\xff".decode(errors="surrogateescape")), "is known"),
        (("show", HOSTILE), "is known"),
        (("twin", "gate-2", "--at", "yesterday"), "--at: `yesterday` is no time"),
        (("twin", "gate-2", "--at", "9998-12-31"), "--at: `9998-12-31` is still to come"),
        (("twin", "gate-2", "--at", "1h", "--around", "2d"), "--around: `2d` is more than a day"),
        (("top", "--every", "0s"), "--every: `0s` is no length of time"),
        (("ls", "--store", "mysql://x"), "is no address of a store"),
        (("export", "--format", "parquet"), "cannot go to stdout"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_exit_2(store: Filled, words: tuple[str, ...], said: str) -> None:
    wrong = fleet(store, *words)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert said in wrong.stderr
    assert printable(wrong.stderr)
