"""What goes back to a client: answers as JSON or arrays, refusals with their reason, and the trace of a request."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeglm_agent.engines import EngineError
from edgeglm_agent.inputs.http.bodies import JSON, NPY, NPZ
from edgeglm_agent.processing import ProcessingError
from edgeglm_agent.results.plain import encode_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JSON", "Refusal", "Reply", "answered", "failure", "refused", "trace_of"]

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{16})([0-9a-f]{16})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}\Z")
_OURS = re.compile(rb"[0-9a-f]{16}\Z")
_ZEROS = b"0" * 16


class Reply(NamedTuple):
    """A response."""

    status: int
    body: bytes
    kind: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Refusal(Exception):  # noqa: N818 - an answer, and no fault of ours
    """A request that is not answered as it was asked.

    Attributes:
        status: The response's.
        kind: ``input``, ``http``, ``token``, ``busy``, ``deadline``,
            ``stopped``, ``internal``, ``run``, ``non-finite``.
        where: The place in the body; empty where there is none.
        headers: Of the response.
    """

    def __init__(
        self, status: int, kind: str, reason: str, *, where: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.status = status
        self.kind = kind
        self.where = where
        self.headers = headers
        super().__init__(reason)


def refused(refusal: Refusal, trace_id: str) -> Reply:
    """Return a refusal as a response."""
    error = {"kind": refusal.kind, "reason": str(refusal)}
    if refusal.where:
        error["where"] = refusal.where
    body = encode_answer({"error": error, "trace_id": trace_id})
    return Reply(refusal.status, body, headers=refusal.headers)


def failure(error: Exception, where: str) -> Refusal:
    """Return what to say of a sample that got no answer."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ProcessingError):
        return Refusal(400, "input", str(error), where=where)
    if isinstance(error, EngineError):
        if error.fault == "bad-input":
            return Refusal(400, "input", str(error), where=where)
        return Refusal(500, "non-finite" if error.fault == "non-finite" else "run", str(error), where=where)
    return Refusal(500, "non-finite", str(error), where=where)


def answered(answers: list[Any], trace_id: str, accept: bytes, *, several: bool) -> Reply:
    """Return answers as a response.

    Args:
        answers: What ``plain_result`` made, one or more.
        trace_id: 16 hex digits.
        accept: What the client's header says; npy and npz are given where it names them.
        several: Asked as ``instances``.

    Raises:
        Refusal: What the client wants is not what there is (406).
    """
    if NPZ.encode() in accept:
        return _arrays(answers, NPZ, several=several)
    if NPY.encode() in accept:
        return _arrays(answers, NPY, several=several)
    if several:
        return Reply(200, encode_answer({"answers": answers, "trace_id": trace_id}))
    return Reply(200, encode_answer({"answer": answers[0], "trace_id": trace_id}))


def _arrays(answers: list[Any], kind: str, *, several: bool) -> Reply:
    """Return answers that are arrays as npy or npz; of several samples, with a batch axis."""
    first = answers[0]
    if not (isinstance(first, dict) and first and all(isinstance(one, np.ndarray) for one in first.values())):
        raise Refusal(406, "http", f"the answers of this model are no arrays: ask for {JSON}")
    if kind == NPY and len(first) > 1:
        raise Refusal(406, "http", f"the model puts out several arrays ({', '.join(first)}): ask for {NPZ}")
    try:
        arrays = {name: np.stack([one[name] for one in answers]) if several else first[name] for name in first}
    except ValueError as error:
        raise Refusal(406, "http", f"the answers have different shapes: ask for {JSON}") from error
    if kind == NPY:
        return Reply(200, _npy(next(iter(arrays.values()))), kind)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # numpy's savez takes names as arguments, some of which are its own
        for name, values in arrays.items():
            archive.writestr(f"{name}.npy", _npy(values))
    return Reply(200, file.getvalue(), kind)


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def trace_of(headers: Mapping[bytes, bytes]) -> tuple[str, bytes]:
    """Return 16 hex digits that a request is known by, and what X-Request-Id says in its response.

    A W3C ``traceparent`` gives the lower half of its trace id (its random half, where that is 64 bits long). An
    ``X-Request-Id`` of 16 hex digits is taken as it is, any other by its hash. Without either one is made.

    Source: W3C Trace Context, section 3.2.
    """
    given = headers.get(b"x-request-id", b"")
    request_id = given if given and _REQUEST_ID.match(given) else b""
    parent = _TRACEPARENT.match(headers.get(b"traceparent", b""))
    if parent and (parent[1] != _ZEROS or parent[2] != _ZEROS):
        half = parent[2] if parent[2] != _ZEROS else parent[1]
        return half.decode(), request_id or parent[1] + parent[2]
    if request_id:
        if _OURS.match(request_id):
            return request_id.decode(), request_id
        return hashlib.blake2b(request_id, digest_size=8).hexdigest(), request_id
    made = secrets.token_hex(8)
    return made, made.encode()
