"""The HTTP input: a real server, real clients; the model is a stub, since the server is the point."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import io
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from edgeglm_agent.engines import EngineError
from edgeglm_agent.inputs import input_type
from edgeglm_agent.inputs._base import Arrival, EndOfInput, InputError, InputLostError
from edgeglm_agent.inputs.http import HttpInput
from edgeglm_agent.processing import ProcessingError

from tests.support.agent.http_server import context, doubles, serving, until

PARSERS = ["h11", *(["httptools"] if importlib.util.find_spec("httptools") else [])]
TOKEN = "0123456789abcdefghij"
PARENT = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the parser that uvicorn would, or the one that the test says."""
    chosen = str(getattr(request, "param", PARSERS[-1]))
    if chosen == "h11":
        monkeypatch.setitem(sys.modules, "httptools", None)
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    return chosen


both_parsers = pytest.mark.parametrize("parser", PARSERS, indirect=True)


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


def post(body: bytes, *, kind: str = "application/json", more: str = "") -> bytes:
    return (
        f"POST /v1/infer HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    ).encode() + body


GOOD = post(b'{"inputs":[1,2]}')


def status_of(response: bytes) -> int:
    match = re.match(rb"HTTP/1.1 (\d{3})", response)
    assert match, response
    return int(match[1])


# what is asked and answered


@both_parsers
def test_one_sample_and_several() -> None:
    with serving() as served, httpx.Client(base_url=served.url) as client:
        one = client.post("/v1/infer", json={"inputs": [1, 2.5]})
        assert one.status_code == 200
        assert one.json()["answer"] == {"y": [2.0, 5.0]}
        assert re.fullmatch("[0-9a-f]{16}", one.json()["trace_id"])
        assert one.headers["x-request-id"] == one.json()["trace_id"]
        several = client.post("/v1/infer", json={"instances": [[1], [2], [3]]})
        assert several.json()["answers"] == [{"y": [2.0]}, {"y": [4.0]}, {"y": [6.0]}]
        assert served.batches == [1, 1, 1, 1]  # batching is off unless it is asked for


def test_arrays_go_in_and_come_out_as_npy_and_npz() -> None:
    with serving() as served, httpx.Client(base_url=served.url) as client:
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
        answer = client.post("/v1/infer", content=npy(values), headers=headers)
        assert answer.headers["content-type"] == "application/x-npy"
        np.testing.assert_array_equal(np.load(io.BytesIO(answer.content), allow_pickle=False), values * 2)
        answer = client.post(
            "/v1/infer", json={"instances": [[1], [2]]}, headers={"accept": "application/x-npz, */*;q=0.1"}
        )
        with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
            np.testing.assert_array_equal(arrays["y"], [[2.0], [4.0]])


def test_answers_that_are_no_arrays_are_not_given_as_such() -> None:
    with serving(lambda arrivals: [[{"index": 1, "score": 0.5}] for _ in arrivals]) as served:
        answer = httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]}, headers={"accept": "application/x-npy"})
        assert answer.status_code == 406
        assert httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]}).json()["answer"][0]["index"] == 1


def test_images_reach_the_model_as_pixels() -> None:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (300, 200), (10, 20, 30)).save(file, "PNG")
    noise = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)).save(noise, "JPEG", quality=95)
    assert noise.tell() > 32_768  # decoded in a thread of its own
    with serving(lambda arrivals: [{"shape": np.array(one.sample.shape)} for one in arrivals]) as served:
        for kind, content, shape in (("png", file, [200, 300, 3]), ("jpeg", noise, [400, 400, 3])):
            answer = httpx.post(
                f"{served.url}/v1/infer", content=content.getvalue(), headers={"content-type": f"image/{kind}"}
            )
            assert answer.json()["answer"]["shape"] == shape


@pytest.mark.parametrize(
    ("headers", "trace_id", "request_id"),
    [
        ({"traceparent": f"00-{PARENT}-b7ad6b7169203331-01"}, "8448eb211c80319c", PARENT),
        ({"x-request-id": "00112233445566ff"}, "00112233445566ff", "00112233445566ff"),
        ({"x-request-id": "job 7"}, None, None),
        ({"x-request-id": "job-7"}, "", "job-7"),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, None, None),
        ({"traceparent": f"ff-{PARENT}-b7ad6b7169203331-01"}, None, None),
    ],
)  # fmt: skip
def test_a_trace_is_taken_over_or_made(headers: dict[str, str], trace_id: str | None, request_id: str | None) -> None:
    seen: list[str] = []

    def model(arrivals: list[Arrival]) -> list[Any]:
        seen.extend(arrival.trace_id for arrival in arrivals)
        return doubles(arrivals)

    with serving(model) as served:
        answer = httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]}, headers=headers)
    assert seen == [answer.json()["trace_id"]]
    assert re.fullmatch("[0-9a-f]{16}", seen[0])
    if trace_id:
        assert seen == [trace_id]
    assert answer.headers["x-request-id"] == (request_id or seen[0])


def test_health_and_metrics_are_told() -> None:
    healthy = True
    with serving(about=context(healthy=lambda: healthy)) as served, httpx.Client(base_url=served.url) as client:
        assert client.get("/healthz").json() == {"status": "serving"}
        assert client.head("/healthz").status_code == 200
        healthy = False
        assert client.get("/healthz").status_code == 503
        client.post("/v1/infer", json={"inputs": [1]})
        page = client.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert page.text.startswith("edgeglm_up 1\n")  # the worker's own
        assert 'edgeglm_http_requests_total{slot="main",status="200"} 3' in page.text
        assert 'edgeglm_http_requests_total{slot="main",status="503"} 1' in page.text


# what is refused


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status", "reason"),
    [
        ("POST", "/v1/infer", {"content-type": "application/json"}, b"{", 400, "truncated"),
        ("POST", "/v1/infer", {"content-type": "application/json; charset=utf-8"}, b"[1]", 400, "Expected `object`"),
        ("POST", "/v1/infer", {"content-type": "text/plain"}, b"{}", 415, "takes application/json, application/x-npy"),
        ("POST", "/v1/infer", {}, b"{}", 415, "Content-Type is ``"),
        ("POST", "/v1/infer", {"content-type": "application/x-npy"}, b"\x80\x04.", 400, "it is no .npy file"),
        ("POST", "/v1/infer", {"content-type": "application/json"}, b"1" * 1_000_001, 413, "more than 1000000 bytes"),
        ("GET", "/v1/infer", {}, None, 405, "takes POST"),
        ("POST", "/healthz", {}, b"x", 405, "takes GET"),
        ("GET", "/", {}, None, 404, "/v1/infer"),
        ("GET", "/v1/infer/../../etc/passwd", {}, None, 404, "no such path"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(
    method: str, path: str, headers: dict[str, str], content: bytes | None, status: int, reason: str
) -> None:
    with serving(max_body_mb=1) as served, httpx.Client(base_url=served.url) as client:
        answer = client.request(method, path, headers=headers, content=content)
        assert answer.status_code == status
        assert reason in answer.json()["error"]["reason"]
        assert client.post("/v1/infer", json={"inputs": [1]}).status_code == 200  # on the same connection, if it can be
        assert served.counted() == 2
        until(lambda: served.faults == (status == 400))


@both_parsers
def test_a_body_that_grows_beyond_the_limit_in_pieces_is_refused() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100_000

    with serving(max_body_mb=1) as served:
        headers = {"content-type": "application/json"}
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # closed while the client still wrote
            assert httpx.post(f"{served.url}/v1/infer", content=pieces(), headers=headers).status_code == 413
        assert served.source.doors.counts[413] == 1
        until(lambda: served.source.pending == 0)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ProcessingError("wants an image", key="preprocess[0].resize"), 400, "input"),
        (EngineError("input `x` takes 3", fault="bad-input"), 400, "input"),
        (EngineError("out of memory", fault="run-failed"), 500, "run"),
        (ValueError("a score is NaN"), 500, "non-finite"),
    ],
)
def test_what_the_model_says_of_a_sample_reaches_who_asked(error: Exception, status: int, kind: str) -> None:
    with serving(lambda arrivals: [error if one.sample == 7 else {"y": one.sample} for one in arrivals]) as served:
        answer = httpx.post(f"{served.url}/v1/infer", json={"inputs": 7})
        assert answer.status_code == status
        assert answer.json()["error"] == {"kind": kind, "reason": str(error)}
        answer = httpx.post(f"{served.url}/v1/infer", json={"instances": [1, 7, 3]})
        assert answer.status_code == status
        assert answer.json()["error"]["where"] == "instances[1]"


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\nsecond line\n")
    with serving(token_file=str(file)) as served, httpx.Client(base_url=served.url) as client:
        for given in (
            {},
            {"authorization": TOKEN},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": "Basic x"},
        ):
            for method, path in (("POST", "/v1/infer"), ("GET", "/metrics")):
                answer = client.request(method, path, headers=given)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        good = {"authorization": f"bearer {TOKEN}"}
        assert client.post("/v1/infer", json={"inputs": [1]}, headers=good).status_code == 200
        assert client.get("/metrics", headers=good).status_code == 200
        assert client.get("/healthz").status_code == 200  # a load balancer need not know it


def opened(**settings: Any) -> Any:
    return msgspec.convert({"kind": "http", "port": 0, **settings}, HttpInput).open(context())


def test_it_listens_to_others_only_with_a_token_or_when_told_so(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    for host in ("0.0.0.0", "::"):
        with pytest.raises(InputError, match="no token is asked") as caught:
            opened(host=host)
        assert caught.value.key == "host"
        assert "token_file" in caught.value.hint
    for settings in ({"token_file": str(file)}, {"anyone": True}):
        source = opened(host="0.0.0.0", **settings)
        assert source.address[0] == "0.0.0.0"
        source.close()
    for host in ("localhost", "127.0.0.2"):
        opened(host=host).close()


def test_settings_that_cannot_work_are_named(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("secret\n")
    for settings, key, reason in (
        ({"token_file": str(short)}, "token_file", "no token of at least 16"),
        ({"token_file": str(tmp_path / "none")}, "token_file", "No such file"),
        ({"host": "no.such.host.invalid"}, "host", "is no address"),
        ({"max_pending_mb": 1, "max_body_mb": 2}, "max_pending_mb", "MB for one"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            opened(**settings)
        assert caught.value.key == key
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputLostError, match="in use"):
        opened(port=taken.getsockname()[1])


# memory and time


def test_a_full_queue_answers_429_and_the_rest_is_answered() -> None:
    with serving(max_waiting=4) as served:
        served.hold.clear()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            asked = [
                pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [1]}, timeout=30) for _ in range(20)
            ]
            until(lambda: served.source.doors.counts[429] >= 14)
            served.hold.set()
            answers = [one.result() for one in asked]
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        assert 4 <= codes.count(200) <= 6  # one or two were taken out of the queue before it was full
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
        httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]})
        until(lambda: served.dropped == codes.count(429))  # the worker counts them


def test_more_samples_at_once_than_may_wait_are_refused_whole() -> None:
    with serving(max_waiting=4) as served:
        assert httpx.post(f"{served.url}/v1/infer", json={"instances": [1, 2, 3, 4]}).status_code == 200
        answer = httpx.post(f"{served.url}/v1/infer", json={"instances": [1, 2, 3, 4, 5]})
        assert answer.status_code == 400
        assert "1 to 4 at a time" in answer.json()["error"]["reason"]
        assert sum(served.batches) == 4


def test_bodies_in_hand_have_a_limit_together() -> None:
    with serving(max_body_mb=1, max_pending_mb=2.5) as served:
        served.hold.clear()
        body = npy(np.zeros(120_000))  # 0.96 MB
        headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(httpx.post, f"{served.url}/v1/infer", content=body, headers=headers) for _ in range(6)]
            until(lambda: served.source.doors.counts[429] + served.source.waiting == 6)
            assert served.source.pending <= 2_500_000
            served.hold.set()
            codes = [one.result().status_code for one in asked]
        assert set(codes) == {200, 429}
        assert 1 <= codes.count(200) <= 2  # those that were not refused while others were half there
        until(lambda: served.source.pending == 0)


def test_a_model_that_takes_too_long_is_given_up_and_what_waits_is_not_run() -> None:
    with serving(answer_timeout_s=0.2) as served:
        served.hold.clear()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            asked = [
                pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [1]}, timeout=30) for _ in range(3)
            ]
            answers = [one.result() for one in asked]
        assert [answer.status_code for answer in answers] == [504] * 3
        assert answers[0].json()["error"]["kind"] == "deadline"
        served.hold.set()
        assert httpx.post(f"{served.url}/v1/infer", json={"inputs": [2]}).status_code == 200
        until(lambda: served.dropped >= 2)
        assert sum(served.batches) <= 2


@both_parsers
def test_too_many_connections_are_refused_and_the_others_served() -> None:
    with serving(max_connections=3) as served:
        clients = [served.connect() for _ in range(3)]
        for client in clients:
            client.sendall(GOOD)
            assert status_of(client.recv(65536)) == 200
        assert status_of(served.ask(b"")) == 503
        for client in clients:
            client.sendall(GOOD)
            assert status_of(client.recv(65536)) == 200
            client.close()
        until(lambda: not served.source.connections)
        assert status_of(served.ask(GOOD)) == 200


@both_parsers
@pytest.mark.parametrize(
    ("start", "status"),
    [
        pytest.param(b"", None, id="silent"),
        pytest.param(b"POST /v1/infer HTTP/1.1\r\nHost: h", 408, id="head"),
        pytest.param(post(b"x" * 100)[:-50], 408, id="body"),
        pytest.param(b"GET /heal", 408, id="second-head"),
    ],
)
def test_a_client_that_is_too_slow_is_let_go(start: bytes, status: int | None) -> None:
    with serving(read_timeout_s=0.5) as served, served.connect() as slow:
        if start.startswith(b"GET"):
            slow.sendall(GOOD)
            assert status_of(slow.recv(65536)) == 200
        slow.sendall(start)
        response = b"".join(iter(lambda: slow.recv(65536), b""))  # until the server closes
        assert response.rfind(b"HTTP/1.1 408") >= 0 if status else response == b""
        assert served.source.doors.counts[408] == (status is not None)
        assert status_of(served.ask(GOOD)) == 200


@both_parsers
def test_a_client_that_sends_byte_by_byte_does_not_hold_out() -> None:
    with serving(read_timeout_s=0.5) as served, served.connect() as slow:
        response = b""
        slow.settimeout(0.05)
        for number in range(400):
            try:
                slow.sendall(GOOD[number % 20 : number % 20 + 1])
                response += slow.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        assert served.source.doors.counts[408] == 1
        assert response == b"" or status_of(response) == 408


@both_parsers
def test_a_client_that_does_not_take_its_answer_is_let_go() -> None:
    with serving(lambda arrivals: [{"y": np.zeros(2_000_000)} for _ in arrivals], read_timeout_s=0.5) as served:
        with served.connect() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(post(b'{"inputs":[1]}', more="Accept: application/x-npy\r\n"))
            until(lambda: served.batches)
            until(lambda: not served.source.connections)
        assert served.source.pending == 0
        assert httpx.get(f"{served.url}/healthz").status_code == 200


@both_parsers
def test_a_head_without_end_is_refused() -> None:
    with serving() as served, served.connect() as client:
        with pytest.raises((ConnectionError, BrokenPipeError, AssertionError)) as ended:  # noqa: PT012
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n")
            for number in range(100_000):
                client.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
            raise AssertionError("it took a hundred megabytes")
        assert not isinstance(ended.value, AssertionError)
        assert served.source.doors.counts[431] + served.source.doors.counts[400] == 1


@both_parsers
def test_a_client_that_leaves_while_it_sends_is_counted() -> None:
    with serving() as served:
        with served.connect() as client:
            client.sendall(post(b"x" * 1000)[:-10])
        until(lambda: served.source.doors.counts["gone"] == 1)
        with served.connect() as client:
            client.sendall(b"POST /v1")
        until(lambda: served.source.doors.counts["gone"] == 2)
        with served.connect():
            pass
        assert status_of(served.ask(GOOD)) == 200
        assert served.counted() == 3
        assert served.source.pending == 0


@both_parsers
def test_a_client_that_leaves_while_it_waits_costs_nothing_else() -> None:
    with serving() as served:
        served.hold.clear()
        with served.connect() as client:
            client.sendall(GOOD)
            until(lambda: served.source.waiting)
        served.hold.set()
        assert status_of(served.ask(GOOD)) == 200
        until(lambda: not served.source.waiting)


# connections


@both_parsers
def test_requests_one_behind_the_other_are_answered_in_their_order() -> None:
    with serving() as served, served.connect() as client:
        client.sendall(b"".join(post(b'{"inputs":[%d]}' % number) for number in range(20)))
        received = b""
        while received.count(b'"answer"') < 20:
            received += client.recv(65536)
        assert [int(value) for value in re.findall(rb'"y":\[(\d+)', received)] == [2 * number for number in range(20)]


@both_parsers
def test_a_client_that_offers_http2_is_answered_in_http1() -> None:
    """As Java's client does by default."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    with serving() as served, served.connect() as client:
        client.sendall(post(b'{"inputs":[1,2]}', more=offer))
        assert status_of(client.recv(65536)) == 200


@both_parsers
def test_a_client_that_asks_before_it_sends_is_told_to() -> None:
    with serving() as served, served.connect() as client:
        head, _, body = post(b'{"inputs":[1,2]}', more="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert status_of(client.recv(65536)) == 200


@both_parsers
def test_a_large_upload_is_refused_before_it_is_sent() -> None:
    with serving(max_body_mb=1) as served, served.connect() as client:
        client.sendall(
            b"POST /v1/infer HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99000000\r\n\r\n"
        )
        assert status_of(client.recv(65536)) == 413


# batching


def asked_at_once(served: Any, count: int) -> list[httpx.Response]:
    """Ask while the model is held, so that all wait, and let it go."""
    served.hold.clear()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [number]}, timeout=30)
            for number in range(count)
        ]
        until(lambda: served.source.waiting == count)
        served.hold.set()
        return [one.result() for one in asked]


@pytest.mark.parametrize("wait_ms", [0.0, 20.0])
def test_what_waits_is_run_together_and_everyone_gets_his_own_answer(wait_ms: float) -> None:
    with serving(max_batch=8, max_wait_ms=wait_ms) as served:
        answers = asked_at_once(served, 17)
        assert [answer.json()["answer"] for answer in answers] == [{"y": [2.0 * number]} for number in range(17)]
        assert sum(served.batches) == 17
        assert max(served.batches) == 8
        assert len(served.batches) <= 4


def test_a_batch_waits_for_others_as_long_as_it_is_told_to() -> None:
    with serving(max_batch=4, max_wait_ms=10_000) as served:  # it need not wait: four fill it
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for number in range(4):
                pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [number]}, timeout=30)
        assert served.batches == [4]
    with serving(max_batch=4, max_wait_ms=100) as served:
        began = time.monotonic()
        httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]})
        assert time.monotonic() - began >= 0.1
        assert served.batches == [1]


def test_several_samples_of_one_request_are_run_together() -> None:
    with serving(max_batch=8, max_wait_ms=0) as served:
        answer = httpx.post(f"{served.url}/v1/infer", json={"instances": [[n] for n in range(8)]})
        assert [one["y"] for one in answer.json()["answers"]] == [[2.0 * n] for n in range(8)]
        assert len(served.batches) <= 2


def test_samples_of_different_shapes_are_no_batch() -> None:
    shapes: list[set[Any]] = []

    def model(arrivals: list[Arrival]) -> list[Any]:
        shapes.append({one.sample.shape for one in arrivals})
        return doubles(arrivals)

    with serving(model, max_batch=8) as served:
        instances = [[1], [2], [3, 4], [5], [6, 7], [8, 9]]
        answer = httpx.post(f"{served.url}/v1/infer", json={"instances": instances})
        assert [one["y"] for one in answer.json()["answers"]] == [[2.0 * value for value in one] for one in instances]
        assert all(len(found) == 1 for found in shapes)


@pytest.mark.parametrize("anyway", [False, True])
def test_where_a_batch_changes_answers_it_is_made_only_when_told_so(
    anyway: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    about = context(batch_changes_answers=True)
    with serving(about=about, max_batch=8, batch_anyway=anyway) as served:
        asked_at_once(served, 12)
        assert (max(served.batches) > 1) is anyway
    assert ("not batching" in capfd.readouterr().err) is not anyway


# the end


@both_parsers
def test_what_was_taken_in_is_answered_and_nothing_new_is() -> None:
    with serving() as served:
        idle = served.connect()
        idle.sendall(GOOD)
        assert status_of(idle.recv(65536)) == 200
        slow = served.connect()
        slow.sendall(GOOD[:-5])  # its end comes after the stop
        served.hold.clear()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            asked = [
                pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [n]}, timeout=30) for n in range(10)
            ]
            until(lambda: served.source.waiting == 10)
            until(lambda: served.source.connections == 12)
            served.source.stop()
            until(lambda: not accepts(served.source.address[1]))
            slow.sendall(GOOD[-5:])
            served.hold.set()
            answers = [one.result() for one in asked]
        assert [answer.json()["answer"]["y"] for answer in answers] == [[2.0 * n] for n in range(10)]
        received = slow.recv(65536)
        assert status_of(received) == 200
        assert b"connection: close" in received.lower()
        assert idle.recv(65536) == b""
        assert served.ended.wait(20)  # the worker is told when all is done
        idle.close()
        slow.close()


def test_a_worker_that_waits_is_told_nothing_while_a_request_still_comes_in() -> None:
    """A worker that was told to stop ends when nothing comes: so that is not said too early."""
    source = opened(read_timeout_s=30)
    slow = socket.create_connection(source.address, timeout=20)
    slow.sendall(GOOD[:-5])
    until(lambda: source._server.server_state.tasks)
    source.stop()
    threading.Timer(0.5, lambda: slow.sendall(GOOD[-5:])).start()
    (arrival,) = source.read(0.05)
    arrival.answered({"y": arrival.sample}, None)
    with pytest.raises(EndOfInput):
        source.read(0.05)
    assert status_of(slow.recv(65536)) == 200
    source.close()
    slow.close()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@both_parsers
def test_a_stop_under_load_loses_no_request_that_was_taken_in() -> None:
    sent = answered = 0
    lock = threading.Lock()

    def client() -> None:
        nonlocal sent, answered
        with httpx.Client(base_url=served.url) as mine:
            while True:
                try:
                    answer = mine.post("/v1/infer", json={"inputs": [1]})
                except httpx.TransportError:
                    return
                with lock:
                    answered += answer.status_code == 200

    with serving() as served:
        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: answered > 50)
        served.source.stop()
        assert served.ended.wait(20)
        for thread in threads:
            thread.join()
        assert answered == sum(served.batches)


def test_a_source_that_is_closed_tells_who_waits() -> None:
    with serving() as served:
        served.hold.clear()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            asked = [
                pool.submit(httpx.post, f"{served.url}/v1/infer", json={"inputs": [1]}, timeout=30) for _ in range(3)
            ]
            until(lambda: served.source.waiting == 3)
            closing = threading.Thread(target=served.source.close)
            closing.start()
            codes = [one.result().status_code for one in asked]
            closing.join()
        assert codes == [503] * 3


def test_it_can_be_opened_and_closed_again_and_leaves_nothing() -> None:
    def left() -> tuple[int, int]:
        return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())

    with serving() as served:
        httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]})
    before = left()
    for _ in range(3):
        with serving() as served:
            httpx.post(f"{served.url}/v1/infer", json={"inputs": [1]})
    assert left() == before


# what it costs


def test_reading_its_settings_imports_no_server() -> None:
    script = (
        "import sys; from edgeglm_agent.inputs import input_type; input_type('http');"
        "print({'numpy', 'asyncio', 'uvicorn', 'ssl'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
    assert input_type("http") is HttpInput
