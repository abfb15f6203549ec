"""Bodies that are no samples, or nearly none."""

from __future__ import annotations

import functools
import io
import random

import numpy as np

_TEXTS = (
    b"", b"null", b"[]", b"{}", b"[[[[[[[[", b'{"inputs":', b'{"inputs":null}', b'{"inputs":[]}',
    b'{"inputs":[[1],[2,3]]}',
    b'{"inputs":"text"}', b'{"inputs":[NaN]}', b'{"inputs":[1e400]}', b'{"inputs":[null]}', b'{"instances":[]}',
    b'{"instances":{}}', b'{"inputs":1,"inputs":2,"x":3}', b'{"instances":[[1],[[2]]]}', b'{"inputs":{"x":{"y":1}}}',
    b'\xff\xfe{"inputs":[1]}', b'{"inputs":"\\ud800"}', b'{"inputs":[' + b"9" * 400 + b"]}",
    b'{"inputs":' + b"[" * 3000,
    b'{"inputs":{"' + b"a" * 3000 + b'":[1]}}', b'{"instances":[' + b"0," * 500 + b"0]}", b'{"inputs":[true,false]}',
)  # fmt: skip


def json_bodies(random: random.Random) -> bytes:
    """Return a text that is no sample, or a part of one."""
    text = random.choice(_TEXTS)
    return text if random.random() < 0.7 else text[: random.randint(0, len(text))] + random.randbytes(3)


@functools.cache
def _arrays() -> tuple[bytes, bytes]:
    one, two = io.BytesIO(), io.BytesIO()
    np.save(one, np.arange(6, dtype=np.float32).reshape(2, 3))
    np.savez_compressed(two, x=np.ones(50, np.float32), y=np.arange(9))
    return one.getvalue(), two.getvalue()


def npy_bodies(random: random.Random) -> bytes:
    """Return an npy file with a few bytes changed in its header, or cut."""
    return _changed(_arrays()[0], random, 128)


def npz_bodies(random: random.Random) -> bytes:
    """Return an npz file with a few bytes changed, or cut."""
    whole = _arrays()[1]
    return _changed(whole, random, len(whole))


def _changed(whole: bytes, random: random.Random, within: int) -> bytes:
    broken = bytearray(whole)
    for _ in range(random.randint(1, 5)):
        broken[random.randrange(within)] = random.randrange(256)
    return bytes(broken[: random.randint(0, len(broken))]) if random.random() < 0.3 else bytes(broken)
