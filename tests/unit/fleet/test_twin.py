"""``fleet twin``: what a board ran, saw and said around a moment, and whether it was alone."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from edgeglm_agent.wire.telemetry import BoardReading, Burst, Drift, Result

from edgeglm.errors import UserError
from edgeglm.fleet.plain import json_text
from edgeglm.fleet.seeing.keeping import keep
from edgeglm.fleet.seeing.signals import piece_kind, signal_of
from edgeglm.fleet.seeing.twin import Twin, twin
from edgeglm.fleet.seeing.twin_text import render
from edgeglm.fleet.store.types import Device, StoredEvent, StoredResult, StoredWindow
from tests.support.fleet.boards import (
    HOSTILE,
    MINUTE_MS,
    NOW_MS,
    slot,
    state,
    stored_event,
    stored_gap,
    stored_window,
    summary,
    window,
)
from tests.support.fleet.memory import ListReader

ME, OTHERS = Device("north", "gate-1"), [Device("north", f"gate-{number}") for number in range(2, 6)]
AT_MS = NOW_MS - 60 * MINUTE_MS
LENGTH_MS = 5 * MINUTE_MS
WAVE = np.stack([np.sin(np.arange(50) / 5), np.zeros(50)], axis=1).astype(np.float32)


def windows(device: Device, *, hot: bool = False, **values: object) -> list[StoredWindow]:
    """Five windows, of which the third holds the moment."""
    board = BoardReading(temperature_decic=851 if hot else 612)
    return [
        stored_window(
            device, place, window(at_ms=AT_MS - 2 * MINUTE_MS + (place - 2) * LENGTH_MS, board=board, **values)
        )
        for place in range(5)
    ]


def burst(values: np.ndarray, **changes: object) -> Burst:
    made = {"dtype": str(values.dtype), "shape": values.shape, "data": values.tobytes(), "rate_hz": 100.0}
    return Burst(**(made | changes))  # type: ignore[arg-type]


def anomaly(device: Device = ME, **values: object) -> StoredEvent:
    detail = {"score": 0.9, "limit": 0.5, "at": 1}
    given = {"name": "anomaly", "burst": burst(np.stack([WAVE, WAVE * 9, WAVE])), "channels": (0.5, 0.01)} | values
    return stored_event(device, 7, at_ms=AT_MS + 1000, detail=detail, **given)


def of(reader: ListReader, **values: object) -> Twin:
    return twin(reader, reader.boards[0], AT_MS, 15 * MINUTE_MS, **values)  # type: ignore[arg-type]


def fleet(**lists: object) -> ListReader:
    boards = [summary(device.name) for device in (ME, *OTHERS)]
    given = {"stored_windows": [one for device in (ME, *OTHERS) for one in windows(device)]} | lists
    return ListReader(boards=boards, **given)  # type: ignore[arg-type]


def test_what_it_ran_is_told_by_the_load_that_the_window_names() -> None:
    def loaded(load: int, model: str, minutes: int) -> StoredEvent:
        detail = {"model": model, "artifact": "model.onnx", "runtime": "onnxruntime 1.31.1", "load": load}
        return stored_event(ME, load, at_ms=AT_MS + minutes * MINUTE_MS, name="model-loaded", detail=detail)

    began = {"agent": "0.1.0", "window_s": 300, "sample_share": 0.0}
    events = [
        stored_event(ME, 100, at_ms=AT_MS - 90 * MINUTE_MS, name="agent-started", slot="", detail=began),
        loaded(6, "kws 1.0", -80),
        loaded(7, "kws 1.1", -50),
        stored_event(ME, 101, at_ms=AT_MS - MINUTE_MS, name="commanded", detail={"op": "set", "sample_share": 0.25}),
        loaded(8, "kws 1.2", 5),
    ]
    found = of(fleet(stored_events=events, stored_windows=windows(ME, load=7)))
    (ran,) = found.ran
    assert (ran.model, ran.load, ran.since_ms, ran.told_by) == ("kws 1.1", 7, AT_MS - 50 * MINUTE_MS, "event")
    assert (found.settings.agent, found.settings.window_s, found.settings.sample_share) == ("0.1.0", 300, 0.25)
    assert "main: kws 1.1, model.onnx in onnxruntime 1.31.1; load 7, since " in " ".join(
        render(found, width=80).split()
    )


def test_without_such_an_event_the_newest_state_speaks_only_of_its_own_load() -> None:
    assert (of(fleet()).ran[0].model, of(fleet()).ran[0].told_by) == ("kws 1.2", "state")
    earlier = of(fleet(stored_windows=windows(ME, load=99))).ran[0]
    assert (earlier.model, earlier.load, earlier.told_by) == ("", 99, "nothing")
    assert "main: nothing in the store tells what; load 99" in render(
        of(fleet(stored_windows=windows(ME, load=99))), width=80
    )


def test_windows_before_and_after_are_shown_and_the_one_that_held_the_moment_is_marked() -> None:
    found = of(fleet())
    assert [one.at_ms for one in found.windows] == [one.at_ms for one in windows(ME)]
    marked = [line for line in render(found, width=80).splitlines() if line.startswith(">")]
    assert len(marked) == 1
    assert found.missing == {}
    away = [one for one in windows(ME) if one.sequence not in (1, 2)]
    found = of(fleet(stored_windows=away))
    assert found.missing == {"main": "the last one before it ended 420 s earlier, the next began 180 s later"}
    assert "no window held the moment" in render(found, width=80)


def test_an_anomaly_is_shown_with_its_error_by_channel_and_the_signal_around_it() -> None:
    found = of(fleet(stored_events=[anomaly()]))
    (said,) = found.events
    assert said.channels == [0.5, 0.01]
    assert said.signal is not None
    assert (said.signal.shape, said.signal.rate_hz, said.signal.at) == ([3, 50, 2], 100.0, 1)
    loud, quiet = said.signal.channels
    assert (round(loud.high), quiet.low, quiet.high) == (9, 0.0, 0.0)
    assert max(loud.points) == loud.high, "what stands out is not averaged away"
    text = render(found, width=80)
    assert "error by channel: channel 0 0.5, channel 1 0.01" in text
    assert "signal: 3 x 50 x 2 of float32, 1.2 KB, 100 Hz; sample 1 (from 0) went over" in " ".join(text.split())
    assert "█" in text
    assert render(found, width=80, blocks=False).isascii()
    document = json.loads(json_text(found))
    assert document["events"][0]["signal"]["data"]


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        pytest.param({"dtype": "object"}, "its type is none of numbers", id="objects"),
        pytest.param({"dtype": HOSTILE}, "its type is none of numbers", id="hostile"),
        pytest.param({"shape": (3, 51, 2)}, "1200 bytes do not fill its shape", id="short"),
        pytest.param({"shape": (-3, -50, 2)}, "its shape is none", id="negative"),
        pytest.param({"shape": (2**31,) * 3}, "its shape is none", id="huge"),
        pytest.param({"shape": ()}, "its shape is none", id="scalar"),
        pytest.param({"shape": (1,) * 20}, "its shape is none", id="many-axes"),
    ],
)
def test_a_burst_that_is_none_is_said_and_harms_nobody(changes: dict[str, object], trouble: str) -> None:
    broken = anomaly(burst=burst(np.stack([WAVE] * 3), **changes), channels=(float("nan"), 1e300))
    found = of(fleet(stored_events=[broken]))
    assert found.events[0].signal is not None
    assert found.events[0].signal.trouble == trouble
    assert found.events[0].channels == [None, 1e300]
    for text in (render(found, width=80), json_text(found)):
        assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((4, 50, 3), 3), ((4, 3), 3), ((4, 512), 1), ((4,), 1), ((2, 8, 8, 3), 1), ((2, 50, 200), 1)],
)
def test_channels_are_the_last_axis_of_a_series_and_of_few_values(shape: tuple[int, ...], channels: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = signal_of(burst(values), {})
    assert (len(found.channels), found.trouble, found.at) == (channels, "", None)
    assert max(one.high for one in found.channels) == values.max()
    spoilt = np.where(values == values.max(), np.nan, values).astype(np.float32)
    assert max(one.high for one in signal_of(burst(spoilt), {}).channels) == values.max() - 1
    assert signal_of(burst(np.full(shape, np.inf, np.float16)), {}).channels[0].points == []


def test_answers_near_the_moment_are_shown_with_their_inputs_and_kept_as_files(tmp_path: Path) -> None:
    answers = [
        StoredResult(ME, b"12345678", place, AT_MS + place * 1000, NOW_MS, Result("main", 1, "ab" * 8, 0, b"[1]", crop))
        for place, crop in enumerate([b"\xff\xd8\xffjpeg", b"", HOSTILE.encode()])
    ]
    found = of(fleet(stored_results=answers, stored_events=[anomaly(), anomaly(burst=burst(WAVE, dtype="object"))]))
    assert [one.piece for one in found.results] == ["jpeg", "", "other"]
    assert "main [1]; jpeg of 7 bytes" in render(found, width=80)
    kept = keep(found, tmp_path / "kept")
    assert sorted(path.name for path in kept) == sorted(
        [f"{AT_MS + 1000}-7-signal.npy", f"{AT_MS}-0-input.jpg", f"{AT_MS + 2000}-2-input.bin"]
    )
    assert np.array_equal(np.load(kept[0]), np.stack([WAVE, WAVE * 9, WAVE]))
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no folder"):
        keep(found, tmp_path / "file")
    assert [piece_kind(first) for first in (b"\x89PNG", b"\x93NUMPY", b"")] == ["png", "npy", ""]


def test_a_board_that_is_alone_with_its_trouble_is_told_from_one_of_many() -> None:
    drifting = windows(ME, hot=True, drift=(Drift("input.x", 700, 300, 900),))
    others = [one for device in OTHERS for one in windows(device, hot=device != OTHERS[0])]
    found = of(fleet(stored_windows=[*drifting, *others], stored_events=[anomaly()]))
    assert found.signs == ["hot", "drifting", "anomaly"]
    company = {one.sign: (one.too, one.of) for one in found.neighbours.company}
    assert company == {"hot": (3, 4), "drifting": (0, 4), "anomaly": (0, 4)}
    text = " ".join(render(found, width=80).split())
    assert "hot: 3 of 4 boards with the same model too" in text
    assert "drifting: it is alone (of 5)" in text
    assert "4 other boards of the fleet, 4 with the same model" in text
    assert found.neighbours.boards[-1].signs == []


def test_boards_of_another_model_are_compared_only_where_no_other_runs_the_same() -> None:
    reader = fleet()
    reader.boards[1:] = [
        summary(device.name, said=state(device.name, slots={"main": slot("bell 2", "bb" * 32)})) for device in OTHERS
    ]
    assert of(reader).neighbours.compared == "same-fleet"
    reader.boards[1] = summary(OTHERS[0].name)
    found = of(reader).neighbours
    assert (found.compared, found.boards[0].device) == ("same-model", "gate-2")
    assert of(ListReader(boards=reader.boards[:1])).neighbours.boards == []


def test_a_neighbour_that_was_away_is_no_comparison_of_figures_but_a_sign() -> None:
    found = of(fleet(stored_windows=windows(ME)))
    assert {one.silent for one in found.neighbours.boards} == {True}
    nobody = of(fleet(stored_windows=[]))
    assert nobody.signs == ["silent"]
    assert nobody.neighbours.company[0].too == 4


def test_of_a_time_before_a_board_was_heard_nothing_is_wrong_with_it() -> None:
    reader = fleet(stored_windows=windows(OTHERS[0]))
    for place in (0, 2, 3):
        reader.boards[place] = msgspec.structs.replace(reader.boards[place], first_seen_ms=AT_MS + 60 * MINUTE_MS)
    found = of(reader)
    assert (found.unheard, found.signs, found.neighbours.company) == (True, [], [])
    signs = {one.device: (one.unheard, one.silent, one.signs) for one in found.neighbours.boards}
    later, away = (True, False, []), (False, True, ["silent"])
    assert signs == {"gate-2": (False, False, []), "gate-3": later, "gate-4": later, "gate-5": away}
    text = render(found, width=80)
    assert "nothing had come from it yet: it was first heard" in " ".join(text.split())
    assert "nobody can tell" in text
    assert text.count("not heard yet") == 2

    reader.boards[0] = summary("gate-1")
    company = of(reader).neighbours.company
    assert [(one.sign, one.too, one.of) for one in company] == [("silent", 1, 2)], "of those that had been heard"
    assert "silent: no window of it held the moment" in render(of(reader), width=80)


def test_windows_of_before_a_board_was_heard_count_when_they_come_later() -> None:
    reader = fleet()
    reader.boards[0] = msgspec.structs.replace(reader.boards[0], first_seen_ms=AT_MS + 60 * MINUTE_MS)
    assert (of(reader).unheard, of(reader).signs) == (False, [])
    reader.stored_windows = [one for one in reader.stored_windows if one.device != ME] + windows(ME)[:1]
    later = twin(reader, reader.boards[0], AT_MS + 10 * MINUTE_MS, 30 * MINUTE_MS)
    assert (later.unheard, later.signs) == (False, ["silent"])


def test_what_was_lost_then_is_told_and_hostile_words_move_no_cursor() -> None:
    said = state("gate-1", slots={HOSTILE: slot(HOSTILE, HOSTILE)}, agent=HOSTILE)
    reader = ListReader(
        boards=[summary("gate-1", said=said), summary(HOSTILE, said=state(slots={HOSTILE: slot(HOSTILE)}))],
        stored_windows=windows(ME, slot=HOSTILE, drift=(Drift(HOSTILE, 700, 300, 900),), errors={HOSTILE: 2**60}),
        stored_events=[
            anomaly(name=HOSTILE, slot=HOSTILE),
            stored_event(ME, 9, at_ms=AT_MS, detail={HOSTILE: HOSTILE}),
        ],
        stored_results=[
            StoredResult(ME, b"12345678", 1, AT_MS, NOW_MS, Result(HOSTILE, 1, HOSTILE, 0, b"\xff\x1b[2J"))
        ],
    )
    gap = stored_gap(ME, 11, [90, 91], HOSTILE)
    reader.stored_gaps = [type(gap)(gap.device, gap.epoch, 11, AT_MS, AT_MS, gap.gap)]
    found = of(reader)
    for text in (render(found, width=80), render(found, width=40), json_text(found)):
        assert all(line.isprintable() for line in text.split("\n"))
        assert "red" in text
    assert max(map(len, render(found, width=80).splitlines())) <= 80
    assert found.gaps[0].rows == 2
