"""Where answers go: their plain form, files, the outbox, packages."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from edgeglm_agent.inputs._base import Arrival
from edgeglm_agent.kinds import KindError
from edgeglm_agent.processing import Decision, Detection, Prediction
from edgeglm_agent.results import result_type, result_types
from edgeglm_agent.results._base import Outcome, ResultContext, SinkError
from edgeglm_agent.results.crops import crop_of
from edgeglm_agent.results.jsonl import Jsonl
from edgeglm_agent.results.mqtt import MqttResults, chosen
from edgeglm_agent.results.plain import NonFiniteError, encode_answer, plain_result, surest


def outcome(number: int = 0, *, answer: Any = None, sample: Any = None, trace_id: str = "") -> Outcome:
    return Outcome(
        slot="main",
        load=1,
        trace_id=trace_id or f"{number:016x}",
        at_ms=1_700_000_000_000 + number,
        arrival=Arrival(sample=sample, name=f"sample-{number}"),
        answer=answer if answer is not None else [{"index": number, "score": 0.5}],
        latency_ms=0.25,
    )


def context(folder: Path, published: list[tuple[Outcome, bytes]] | None = None) -> ResultContext:
    kept = published if published is not None else []
    return ResultContext(slot="main", state_dir=folder, publish=lambda one, crop: kept.append((one, crop)))


# plain


def test_each_kind_of_result_has_a_plain_form_that_json_can_say() -> None:
    assert plain_result([Prediction(3, 0.75, "three"), Prediction(1, 0.25)]) == (
        [{"index": 3, "label": "three", "score": 0.75}, {"index": 1, "score": 0.25}],
        0.75,
        3,
    )
    found = Detection((1.0, 2.004, 30.5, 40.0), 0.5, 7, "cat")
    assert plain_result([found]) == (
        [{"box": [1.0, 2.0, 30.5, 40.0], "index": 7, "label": "cat", "score": 0.5}],
        0.5,
        7,
    )
    assert plain_result(Decision(True, 1.5, 1.0)) == ({"exceeded": True, "score": 1.5, "limit": 1.0}, 1.5, 1)
    assert plain_result([]) == ([], None, 0)
    answer, score, _ = plain_result({"y": np.array([[1.5, 2.5]], np.float32)})
    assert score is None
    assert encode_answer(answer) == b'{"y":[[1.5,2.5]]}'


def test_a_score_has_the_digits_that_float32_is_good_for() -> None:
    answer, _, _ = plain_result([Prediction(0, float(np.float32(0.1)))])
    assert encode_answer(answer) == b'[{"index":0,"score":0.1}]'


@pytest.mark.parametrize(
    "result",
    [
        pytest.param([Prediction(0, float("nan"))], id="prediction"),
        pytest.param([Prediction(0, 1.0), Prediction(1, float("inf"))], id="second-prediction"),
        pytest.param([Detection((0.0, 0.0, float("nan"), 1.0), 0.5, 0)], id="box"),
        pytest.param(Decision(False, float("nan"), 1.0), id="decision"),
        pytest.param({"y": np.array([1.0, -np.inf], np.float32)}, id="array"),
    ],
)
def test_what_is_not_finite_is_no_answer_whether_or_not_somebody_reads_it(result: Any) -> None:
    with pytest.raises(NonFiniteError):
        plain_result(result)
    with pytest.raises(NonFiniteError):
        surest(result)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param([Prediction(3, 0.75, "three"), Prediction(1, 0.25)], id="predictions"),
        pytest.param([Detection((1.0, 2.0, 30.5, 40.0), 0.5, 7)], id="detections"),
        pytest.param(Decision(True, 1.5, 1.0), id="decision"),
        pytest.param([], id="nothing"),
        pytest.param({"y": np.zeros(2, np.float32)}, id="outputs"),
    ],
)
def test_what_is_counted_of_an_answer_does_not_hang_on_who_reads_it(result: Any) -> None:
    assert surest(result) == plain_result(result)[1:]


# jsonl


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("sync", ["each", "second", "never"])
def test_every_answer_is_one_line(tmp_path: Path, sync: Any) -> None:
    sink = Jsonl(sync=sync).open(context(tmp_path))
    for number in range(5):
        sink.write(outcome(number))
    sink.close()
    lines = lines_of(tmp_path / "results.jsonl")
    assert [line["name"] for line in lines] == [f"sample-{number}" for number in range(5)]
    assert lines[2] == {
        "at_ms": 1_700_000_000_002,
        "slot": "main",
        "load": 1,
        "trace_id": "0000000000000002",
        "latency_ms": 0.25,
        "name": "sample-2",
        "answer": [{"index": 2, "score": 0.5}],
    }


def test_a_file_is_put_aside_before_it_grows_too_large_and_the_oldest_goes(tmp_path: Path) -> None:
    sink = Jsonl(max_mb=1, keep=2, path="out/answers.jsonl").open(context(tmp_path))
    big = "x" * 300_000  # three fit into a file
    for number in range(11):
        sink.write(outcome(number, answer=big))
    sink.close()
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["answers.jsonl", "answers.jsonl.1", "answers.jsonl.2"]
    names = {path.name: [line["name"] for line in lines_of(path)] for path in folder.iterdir()}
    assert names["answers.jsonl.2"] == ["sample-3", "sample-4", "sample-5"]
    assert names["answers.jsonl.1"] == ["sample-6", "sample-7", "sample-8"]
    assert names["answers.jsonl"] == ["sample-9", "sample-10"]


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    sink = Jsonl(max_mb=1, keep=0).open(context(tmp_path))
    for number in range(7):
        sink.write(outcome(number, answer="x" * 300_000))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert len(lines_of(tmp_path / "results.jsonl")) == 1


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b'{"at_ms":17000', id="torn"),
        pytest.param(b"\0" * 200_000, id="zeros"),  # what ext4 leaves of a file whose length alone was written
        pytest.param(b"\0" * 50 + b"\n", id="zeros-and-a-newline"),
        pytest.param(b"", id="whole"),
    ],
)
def test_a_line_that_a_power_cut_has_torn_is_cut_off(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2}\n' + end)
    sink = Jsonl().open(context(tmp_path))
    sink.write(outcome(7))
    sink.close()
    lines = lines_of(path)
    assert lines[:2] == [{"a": 1}, {"a": 2}]
    assert lines[2]["name"] == "sample-7"
    assert len(lines) == 3


def test_a_file_with_no_whole_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\0" * 150_000)
    sink = Jsonl().open(context(tmp_path))
    sink.close()
    assert path.read_bytes() == b""


def test_a_full_disk_costs_the_line_and_no_other(tmp_path: Path) -> None:
    """The limit on a file's size stands for a disk that is full: the kernel writes what fits, then refuses."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_results import context, outcome
        from edgeglm_agent.results._base import SinkError
        from edgeglm_agent.results.jsonl import Jsonl
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sink = Jsonl(sync="never").open(context(Path(sys.argv[1])))
        sink.write(outcome(0))
        full = len(outcome(0).line()) * 2  # half of the second line's bytes are written
        resource.setrlimit(resource.RLIMIT_FSIZE, (full - 30, resource.RLIM_INFINITY))
        for number in (1, 2):
            try:
                sink.write(outcome(number))
            except SinkError as error:
                print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sink.write(outcome(3))
        sink.close()
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.count("File too large") == 2
    assert [line["name"] for line in lines_of(tmp_path / "results.jsonl")] == ["sample-0", "sample-3"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # of the child alone


def test_a_file_that_was_deleted_to_make_room_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeglm_agent.results.jsonl._LOOK_S", 0.0)
    sink = Jsonl().open(context(tmp_path))
    sink.write(outcome(0))
    (tmp_path / "results.jsonl").rename(tmp_path / "moved")
    sink.write(outcome(1))
    sink.close()
    assert [line["name"] for line in lines_of(tmp_path / "moved")] == ["sample-0"]
    assert [line["name"] for line in lines_of(tmp_path / "results.jsonl")] == ["sample-1"]


def test_two_sinks_do_not_write_one_file(tmp_path: Path) -> None:
    first = Jsonl().open(context(tmp_path))
    with pytest.raises(SinkError, match="another sink writes it"):
        Jsonl().open(context(tmp_path))
    first.close()
    Jsonl().open(context(tmp_path)).close()


def test_a_folder_that_cannot_be_written_is_a_sink_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="file"):
        Jsonl(path="file/results.jsonl").open(context(tmp_path))


def test_a_closed_sink_has_no_descriptor_left(tmp_path: Path) -> None:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(3):
        sink = Jsonl().open(context(tmp_path))
        sink.write(outcome(0))
        sink.close()
        sink.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


# mqtt


def test_the_share_of_answers_that_is_sent_is_chosen_by_trace_id(tmp_path: Path) -> None:
    published: list[tuple[Outcome, bytes]] = []
    sink = MqttResults(share=0.1).open(context(tmp_path, published))
    for number in range(5_000):
        sink.write(outcome(number))
    assert 400 < len(published) < 600
    assert [one.trace_id for one, _ in published] == [
        f"{number:016x}" for number in range(5_000) if chosen(f"{number:016x}", 0.1)
    ]
    assert all(chosen(one.trace_id, 0.2) for one, _ in published)  # a larger share holds the smaller one


@pytest.mark.parametrize(("share", "sent"), [(1.0, 100), (0.0, 0)])
def test_all_or_nothing_is_sent_where_that_is_asked_for(tmp_path: Path, share: float, sent: int) -> None:
    published: list[tuple[Outcome, bytes]] = []
    sink = MqttResults(share=share).open(context(tmp_path, published))
    for number in range(100):
        sink.write(outcome(number))
    assert len(published) == sent
    assert all(crop == b"" for _, crop in published)


def picture(height: int = 480, width: int = 640, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)  # noise compresses worst


def decoded(crop: bytes) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(crop)))


def test_a_crop_is_the_image_around_the_best_detection(tmp_path: Path) -> None:
    published: list[tuple[Outcome, bytes]] = []
    sink = MqttResults(crop="detection", crop_format="png", crop_bytes=100_000).open(context(tmp_path, published))
    image = picture()
    answer = [{"box": [100.0, 50.0, 200.0, 150.0], "index": 0, "score": 0.9}, {"box": [0, 0, 9, 9], "score": 0.1}]
    sink.write(outcome(1, answer=answer, sample=image))
    sink.write(outcome(2, answer=[], sample=image))
    np.testing.assert_array_equal(decoded(published[0][1]), image[40:160, 90:210])
    assert published[1][1] == b""  # nothing was found: the answer goes alone


@pytest.mark.parametrize("form", ["jpeg", "png"])
@pytest.mark.parametrize("most", [2_000, 16_384])
def test_an_image_is_scaled_down_until_it_fits(form: Any, most: int) -> None:
    crop = crop_of(picture(), None, most_bytes=most, form=form)
    assert 0 < len(crop) <= most
    shape = decoded(crop).shape
    assert abs(shape[1] / shape[0] - 640 / 480) < 0.15


def test_what_cannot_be_made_small_enough_is_left_out() -> None:
    assert crop_of(picture(), None, most_bytes=256, form="png") == b""
    assert crop_of(np.zeros(10_000, np.float32), None, most_bytes=16_384) == b""


def test_numbers_go_as_npy() -> None:
    values = np.arange(12, dtype=np.float64).reshape(3, 4)
    crop = crop_of({"text": "no picture", "x": values}, None, most_bytes=1_000)
    np.testing.assert_array_equal(np.load(io.BytesIO(crop), allow_pickle=False), values.astype(np.float32))


@pytest.mark.parametrize(
    ("sample", "answer"),
    [
        ("a text", None),
        (None, None),
        (np.zeros((0, 5, 3), np.uint8), None),
        (np.zeros(3, np.float32), [{"box": [0, 0, 1, 1]}]),
        (picture(20, 20), [{"box": [30.0, 30.0, 40.0, 40.0]}]),
        (picture(20, 20), {"exceeded": True}),
        (np.array([object()]), None),
    ],
)
def test_where_there_is_nothing_to_show_there_is_no_crop(sample: Any, answer: Any) -> None:
    assert crop_of(sample, answer, most_bytes=10_000) == b""


def test_a_grey_image_and_one_among_several_inputs_are_found() -> None:
    crop = crop_of({"x": np.zeros(3), "image": picture(20, 30, 1)}, None, most_bytes=16_384, form="png")
    np.testing.assert_array_equal(decoded(crop), picture(20, 30, 1)[:, :, 0])


# packages


def install(folder: Path, module: str, entry: str) -> None:
    (folder / "somebodys.py").write_text(textwrap.dedent(module))
    info = folder / "somebodys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edgeglm_agent.results]\n{entry}\n")


def test_a_package_adds_a_kind_of_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        """
        from edgeglm_agent.results._base import SinkConfig

        class Lamp(SinkConfig, tag="lamp", frozen=True, kw_only=True):
            pin: int

            def open(self, context):
                return LampSink()

        class LampSink:
            def write(self, outcome):
                self.lit = outcome.answer["exceeded"]

            def close(self):
                self.lit = False
        """,
        "lamp = somebodys:Lamp",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "lamp" in result_types()
    lamp = msgspec.convert({"kind": "lamp", "pin": 4}, result_type("lamp"))
    sink = lamp.open(context(tmp_path))  # type: ignore[attr-defined]
    sink.write(outcome(0, answer={"exceeded": True}))
    assert sink.lit


def test_a_package_cannot_take_a_kind_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "", "jsonl = somebodys:Jsonl")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KindError, match="somebodys:Jsonl claims the kind `jsonl`"):
        result_types()


def test_the_kinds_there_are(tmp_path: Path) -> None:
    assert result_type("jsonl") is Jsonl
    assert result_type("mqtt") is MqttResults
    with pytest.raises(KindError, match="unknown kind `kafka`"):
        result_type("kafka")
