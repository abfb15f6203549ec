from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs import decode
from edgeglm_agent.inputs.decode import DamagedError
from hypothesis import given, settings
from hypothesis import strategies as st


def npy(values: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64", ">f4", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_npy_file_comes_back_as_it_was_saved(kind: str, order: str) -> None:
    values = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=kind, order=order)  # type: ignore[call-overload]
    read = decode.npy(npy(values))
    assert np.array_equal(read, values)
    assert read.dtype.isnative


def test_objects_are_never_unpickled() -> None:
    with pytest.raises(DamagedError, match="objects are never unpickled"):
        decode.npy(npy(np.array([{"a": 1}], dtype=object), allow_pickle=True))


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "no .npy", id="empty"),
        pytest.param(npy(np.zeros(9))[:-1], "71 bytes follow", id="cut short"),
        pytest.param(npy(np.zeros(9)) + b"x", "73 bytes follow", id="too long"),
        pytest.param(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "far too long", id="a header of 4 GB"),
        pytest.param(header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"), "0 bytes follow",
                     id="8 TB in no bytes"),
        pytest.param(header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "impossible", id="negative"),
        pytest.param(header("{'descr': '<f8', 'fortran_order': False, 'shape': ('a',)}"), "impossible", id="a text"),
        pytest.param(header("{'descr': '<U8', 'fortran_order': False, 'shape': (0,)}"), "not numbers", id="texts"),
        pytest.param(header("__import__('os').system('true')"), "cannot be read", id="code"),
        pytest.param(header("(" * 5000), "cannot be read", id="deep"),
    ],
)  # fmt: skip
def test_a_damaged_npy_file_is_refused_without_taking_the_memory_it_claims(data: bytes, says: str) -> None:
    with pytest.raises(DamagedError, match=says):
        decode.npy(data)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 150), with_head=st.booleans())
def test_whatever_bytes_come_there_is_a_sample_or_one_kind_of_error(data: bytes, at: int, with_head: bool) -> None:
    whole = bytearray(npy(np.zeros((2, 3), np.float32)))
    whole[at : at + len(data)] = data
    candidate = bytes(whole) if with_head else data
    readers: list[Any] = [
        decode.npy,
        lambda bytes_: decode.npz(bytes_, most_bytes=1000),
        lambda bytes_: decode.json_sample(bytes_, ("x",)),
        lambda bytes_: decode.picture(bytes_, "rgb"),
        decode.text,
        lambda bytes_: decode.table(decode.text(bytes_)),
        lambda bytes_: decode.row(decode.text(bytes_)),
    ]
    for read in readers:
        with contextlib.suppress(DamagedError):
            read(candidate)


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(np.zeros(1_000_000)))
    assert len(out.getvalue()) < 20_000
    with pytest.raises(DamagedError, match="more than 1000000 bytes"):
        decode.npz(out.getvalue(), most_bytes=1_000_000)


def test_arrays_of_an_archive_go_to_the_inputs_of_their_names() -> None:
    out = io.BytesIO()
    np.savez_compressed(out, ids=np.arange(3), mask=np.ones(3), other=np.zeros(2))
    arrays = decode.npz(out.getvalue(), most_bytes=10_000)
    assert set(decode.sample_of(arrays, ("ids", "mask"))) == {"ids", "mask"}
    with pytest.raises(DamagedError, match="no `age`; it has ids, mask, other"):
        decode.sample_of(arrays, ("ids", "age"))


def test_json_numbers_become_arrays() -> None:
    whole, parts = decode.json_sample(b"[[1, 2], [3, 4]]", ("x",)), decode.json_sample(b"[0.5, 1]", ("x",))
    assert (whole.dtype, whole.shape) == (np.int64, (2, 2))
    assert (parts.dtype, parts.tolist()) == (np.float32, [0.5, 1.0])
    assert set(decode.json_sample(b'{"a": [1], "b": [2.5]}', ("a", "b"))) == {"a", "b"}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        pytest.param(b"[1, 2", "truncated", id="cut short"),
        pytest.param(b"[[1], [2, 3]]", r"\[1\] has 2 entries, \[0\] has 1", id="ragged"),
        pytest.param(b'["a"]', r"\[0\]: Expected `int | float`, got `str`", id="text"),
        pytest.param(b'{"a": [[1, "b"]], "c": 1}', r"a\[0\]\[1\]: .*got `str`", id="text in an input"),
        pytest.param(b"[true]", "got `bool`", id="truth"),
        pytest.param(b"null", "got `null`", id="nothing"),
        pytest.param(b"[]", "holds nothing", id="empty"),
        pytest.param(b"[123456789012345678901234567890]", "more than 64 bits", id="too large"),
        pytest.param(b"[9223372036854775808]", "more than 64 bits", id="too large by one"),
        pytest.param(b"[1e39]", "more than float32 can", id="too large for float32"),
        pytest.param(b'{"b": [1]}', "no `a`", id="another input"),
        pytest.param(b"[" * 100_000, "100000 deep; at most 6", id="deep"),
        pytest.param(b"[" + b"[]," * 500_000 + b"[]]", "more than 500000 lists", id="many lists"),
    ],
)
def test_json_that_is_no_sample_is_refused(said: bytes, says: str) -> None:
    with pytest.raises(DamagedError, match=says):
        decode.json_sample(said, ("a", "c"))


def test_texts_in_the_place_of_numbers_take_no_memory_for_an_array() -> None:
    said = b"[" + b"1.5," * 100_000 + b'"a",' * 1000 + b'"' + b"b" * 1_000_000 + b'"]'  # NumPy: each as the longest
    tracemalloc.start()
    with pytest.raises(DamagedError, match="got `str`"):
        decode.json_sample(said, ("x",))
    assert tracemalloc.get_traced_memory()[1] < 10 * len(said)
    tracemalloc.stop()


def test_more_numbers_than_the_model_takes_are_refused_before_one_is_made() -> None:
    said = b"[" + b"1.5," * 100_000 + b"2]"
    tracemalloc.start()
    with pytest.raises(DamagedError, match="holds 100001 numbers, and the model takes 192"):
        decode.json_sample(said, ("x",), most_values=192)
    assert tracemalloc.get_traced_memory()[1] < 100_000  # so many numbers take 2.4 MB
    tracemalloc.stop()
    assert len(decode.json_sample(b"[" + b"1," * 191 + b"2]", ("x",), most_values=192)) == 192


def test_a_table_may_have_names_above_it() -> None:
    assert decode.table("a,b\n1,2\n3,4\n").tolist() == [[1, 2], [3, 4]]
    assert decode.table("1;2\r\n", ";").tolist() == [[1, 2]]
    with pytest.raises(DamagedError, match="line 3 has 1 cells, and the first row 2"):
        decode.table("1,2\n3,4\n5\n")
    with pytest.raises(DamagedError, match="line 2 holds a cell that is no number"):
        decode.table("1,2\n3,x\n")
    with pytest.raises(DamagedError, match="no rows"):
        decode.table("a,b\n")


def test_a_line_of_numbers_is_finite() -> None:
    assert decode.row(" 1, 2.5 ") == [1.0, 2.5]
    assert decode.row("1  2\t3", " ") == [1.0, 2.0, 3.0]
    for line in ("1,", "x", "nan", "1,inf"):
        with pytest.raises(DamagedError):
            decode.row(line)
