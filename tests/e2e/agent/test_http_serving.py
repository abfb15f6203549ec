"""A real agent that serves a real model over HTTP."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import socket
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.e2e.agent.test_serving import broken_model
from tests.support.agent.broken_engines import BREAKS, install_broken_engines
from tests.support.agent.http_server import until
from tests.support.agent.running import running_agent
from tests.support.model_folders import write_best
from tests.support.tiny_models import tiny_images, tiny_logits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.agent.running import Agent

CLIENTS = 6


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny ONNX file that names one of five classes."""
    return write_best(tmp_path / "model")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def slot(model: Path, port: int, more: str = "") -> str:
    return (
        f'[slots.main]\nmodel = "{model}"\nresults = [{{kind = "jsonl"}}]\n'
        f'[slots.main.input]\nkind = "http"\nport = {port}\n{more}\n'
    )


def ask(port: int, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, Any]:
    """Return status and document."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/infer", body, {"Content-Type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
        return str(response.read().decode())


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def written(agent: Agent) -> list[dict[str, Any]]:
    path = agent.folder / "state" / "slots" / "main" / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def serves(agent: Agent) -> None:
    agent.until_slot(lambda found: found.state.status == "serving", "the model serves")


def test_requests_are_answered_counted_and_known_by_their_trace(tmp_path: Path, model: Path) -> None:
    port = free_port()
    images = tiny_images(4)
    best = tiny_logits(images).argmax(axis=1).tolist()
    with running_agent(tmp_path, slot(model, port, "max_batch = 4")) as agent:
        serves(agent)
        assert json.loads(get(port, "/healthz")) == {"status": "serving"}
        status, one = ask(port, npy(images[0]), "application/x-npy", **{"X-Request-Id": "00000000000000aa"})
        assert (status, one["answer"][0]["index"], one["trace_id"]) == (200, best[0], "00000000000000aa")
        status, four = ask(port, json.dumps({"instances": images.tolist()}).encode())
        assert [answer[0]["index"] for answer in four["answers"]] == best
        status, wrong = ask(port, b'{"inputs": [[1, 2], [3, 4]]}')  # an array, and none that the model takes
        assert (status, wrong["error"]["kind"]) == (400, "input")
        status, wrong = ask(port, b'{"inputs": [1, null]}')
        assert (status, wrong["error"]["where"]) == (400, "inputs[1]")
        agent.until_slot(lambda found: found.answered == 5, "five answers")
        until(lambda: 'kind="input"} 2' in get(port, "/metrics"))
        page = get(port, "/metrics")
        assert 'edgeglm_inferences_total{slot="main"} 5' in page
        assert 'edgeglm_errors_total{slot="main",kind="input"} 2' in page
        assert 'edgeglm_http_requests_total{slot="main",status="400"} 2' in page
        assert agent.stop() == 0
    lines = written(agent)
    assert [line["trace_id"] for line in lines] == ["00000000000000aa"] + [four["trace_id"]] * 4
    assert [line["answer"][0]["index"] for line in lines] == [best[0], *best]


def test_a_sample_that_does_not_fit_spoils_no_other(tmp_path: Path, model: Path) -> None:
    port = free_port()
    (image,) = tiny_images(1)
    good, bad = npy(image), npy(image[:, :-1])
    with running_agent(tmp_path, slot(model, port, "max_batch = 8\nmax_wait_ms = 20")) as agent:
        serves(agent)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [
                pool.submit(ask, port, bad if number % 4 == 0 else good, "application/x-npy") for number in range(40)
            ]
            codes = [one.result()[0] for one in asked]
        assert codes == [400 if number % 4 == 0 else 200 for number in range(40)]
        assert agent.stop() == 0


def test_told_to_stop_it_answers_what_it_has_taken_in(tmp_path: Path, model: Path) -> None:
    port = free_port()
    body = npy(tiny_images(1)[0])
    answered: list[int] = []

    def client() -> None:
        while True:
            try:
                status, _ = ask(port, body, "application/x-npy")
            except OSError:  # nobody listens any more
                return
            answered.append(status)

    with running_agent(tmp_path, slot(model, port)) as agent:
        serves(agent)
        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        agent.until_slot(lambda found: found.answered > 50, "some answers")
        assert agent.stop() == 0
        for thread in threads:
            thread.join()
    assert set(answered) <= {200, 503}
    assert answered.count(200) == len(written(agent))  # nobody was answered whose answer is not kept, and none lost


def test_a_model_that_is_stuck_is_not_healthy_before_it_is_killed_for_it(tmp_path: Path) -> None:
    plugins, port = install_broken_engines(tmp_path / "plugins"), free_port()
    settings = slot(broken_model(tmp_path / "m", "loop"), port).replace("results", "inference_timeout_s = 9\nresults")

    def asks_in_vain() -> None:
        with contextlib.suppress(OSError):  # the worker is killed in the end
            ask(port, json.dumps({"inputs": [BREAKS] * 4}).encode())

    def health() -> str:
        try:
            return get(port, "/healthz")
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"

    with running_agent(tmp_path, settings, python_path=plugins) as agent:
        serves(agent)
        assert health() == '{"status":"serving"}'
        threading.Thread(target=asks_in_vain, daemon=True).start()
        until(lambda: health() == '503 {"status":"not serving"}')
