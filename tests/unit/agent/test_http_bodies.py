"""What HTTP requests may hold, and what is said of those that hold something else."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.inputs.http.bodies import JSON, NPY, NPZ, Bodies, BodyError
from edgeglm_agent.inputs.npy import DamagedError
from edgeglm_agent.inputs.npy import npy as read_npy
from edgeglm_agent.inputs.npy import npz as read_npz
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agent.http_server import context


def bodies(*, most_bytes: int = 10_000_000, most_samples: int = 64, **about: Any) -> Bodies:
    return Bodies(context(**about), most_bytes=most_bytes, most_samples=most_samples)


def npy(values: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values), version=version)
    return file.getvalue()


def npz(compressed: bool = True, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + body


# JSON


@pytest.mark.parametrize(
    ("text", "wanted", "kind"),
    [
        pytest.param(b'{"inputs": [1, 2, 3]}', [1, 2, 3], np.int64, id="integers-stay"),
        pytest.param(b'{"inputs": [[1, 2.5], [3, 4]]}', [[1, 2.5], [3, 4]], np.float32, id="numbers"),
        pytest.param(b'{"inputs": 0.5}', 0.5, np.float32, id="one-number"),
        pytest.param(b'{"inputs": [ [ [1] ] ]}', [[[1]]], np.int64, id="deep"),
        pytest.param(b'{"inputs": [9223372036854775807]}', [2**63 - 1], np.int64, id="large"),
    ],
)
def test_one_sample_of_numbers(text: bytes, wanted: Any, kind: type) -> None:
    found = bodies().read(JSON, text)
    assert not found.several
    np.testing.assert_array_equal(found.samples[0], np.array(wanted, kind))
    assert found.samples[0].dtype == kind
    assert found.nbytes == found.samples[0].nbytes


def test_several_samples_of_one_shape_or_of_many() -> None:
    found = bodies().read(JSON, b'{"instances": [[1, 2], [3, 4], [5, 6]]}')
    assert found.several
    assert [one.tolist() for one in found.samples] == [[1, 2], [3, 4], [5, 6]]
    found = bodies().read(JSON, b'{"instances": [[1, 2], [3]]}')
    assert [one.tolist() for one in found.samples] == [[1, 2], [3]]
    found = bodies().read(JSON, b'{"instances": [1, 2.5]}')
    assert [one.tolist() for one in found.samples] == [1, 2.5]


def test_samples_by_name_and_texts() -> None:
    two = bodies(input_names=("image", "age"))
    found = two.read(JSON, b'{"inputs": {"image": [[1, 2]], "age": 40}}')
    assert {name: values.tolist() for name, values in found.samples[0].items()} == {"image": [[1, 2]], "age": 40}
    found = two.read(JSON, b'{"instances": [{"image": [1], "age": 1}, {"age": 2, "image": [2]}]}')
    assert [one["age"].tolist() for one in found.samples] == [1, 2]
    texts = bodies(takes_texts=True)
    assert texts.read(JSON, b'{"inputs": "a warm day"}').samples == ["a warm day"]
    assert texts.read(JSON, '{"instances": ["café", "\\u00e9"]}'.encode()).samples == ["café", "é"]
    assert texts.read(JSON, b'{"inputs": {"text": "hello"}}').samples == [{"text": "hello"}]


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        (b"", "", "truncated"),
        (b"nonsense", "", "invalid character"),
        (b"[]", "", "Expected `object`"),
        (b"{}", "", "wanted is"),
        (b'{"inputs": 1, "instances": [1]}', "", "wanted is"),
        (b'{"input": [1]}', "", "unknown field `input`"),
        (b'{"inputs": [1, "a"]}', "inputs[1]", "got `str`"),
        (b'{"inputs": [1, null]}', "inputs[1]", "got `null`"),
        (b'{"inputs": [[1, 2], [3, true]]}', "inputs[1][1]", "got `bool`"),
        (b'{"inputs": [[1, 2], 3]}', "inputs[1]", "got `int`"),
        (b'{"inputs": [[1, 2], [3]]}', "inputs", "inputs[1] has 1 entries, inputs[0] has 2"),
        (b'{"inputs": [[[1], [2]], [[1, 2], [3, 4]]]}', "inputs", "different lengths"),
        (b'{"inputs": []}', "inputs", "holds nothing"),
        (b'{"inputs": {}}', "inputs", "holds nothing"),
        (b'{"inputs": [1e999]}', "inputs[0]", "out of range"),
        (b'{"inputs": [123456789012345678901234567890]}', "inputs", "64 bits"),
        (b'{"inputs": [[[[[[[1]]]]]]]}', "inputs", "7 deep"),
        (b'{"inputs": ' + b"[" * 10_000 + b"}", "", ""),
        (b'{"inputs": "a text"}', "inputs", "takes numbers"),
        (b'{"inputs": ["a", "b"]}', "inputs", "takes numbers"),
        (b'{"inputs": null}', "inputs", "got `null`"),
        (b'{"instances": []}', "instances", "0 samples"),
        (b'{"instances": 3}', "instances", "a list is wanted"),
        (b'{"instances": {"x": 1}}', "instances", "a list is wanted"),
        (b'{"instances": [[1], ["b"]]}', "instances[1][0]", "got `str`"),
        (b'{"instances": [{"x": [1]}, {"x": [null]}]}', "instances[1].x[0]", "got `null`"),
        (b'{"instances": ' + b"[" + b"1," * 64 + b"1]}", "instances", "65 samples"),
        (b'{"inputs": "\xff\xfe"}', "inputs", "takes numbers"),
        (b'{"inputs": [1e300]}', "inputs", "more than float32"),
        (b'{"inputs": [' + b"[]," * 500_001 + b"[]]}", "", "more than 500000 lists"),
    ],
)
def test_what_is_wrong_with_json_is_said_with_its_place(text: bytes, where: str, reason: str) -> None:
    with pytest.raises(BodyError, match=r"(?s).") as caught:
        bodies().read(JSON, text)
    assert caught.value.where == where
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_model_of_several_inputs_says_which() -> None:
    two = bodies(input_names=("image", "age"))
    for text, reason in (
        (b'{"inputs": [1]}', "the model takes several inputs, by name: image, age"),
        (b'{"inputs": {"image": [1]}}', "the model takes image, age, it was given image"),
    ):
        with pytest.raises(BodyError) as caught:
            two.read(JSON, text)
        assert (str(caught.value), caught.value.where) == (reason, "inputs")
    assert two.types() == (JSON, NPZ)
    with pytest.raises(BodyError, match="a list of texts"):
        bodies(takes_texts=True).read(JSON, b'{"inputs": ["a", "b"]}')


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_any_json_gives_samples_or_one_error(value: Any) -> None:
    for texts in (False, True):
        for key in ("inputs", "instances"):
            try:
                found = bodies(takes_texts=texts).read(JSON, json.dumps({key: value}).encode())
            except BodyError:
                continue
            assert found.samples


# npy and npz


@pytest.mark.parametrize(
    "values",
    [
        np.array(3.5, np.float32),
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.arange(5, dtype=">i2"),
        np.ones(4, np.float16),
    ],
    ids=str,
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_gives_what_numpy_wrote(values: np.ndarray, version: tuple[int, int]) -> None:
    found = read_npy(npy(values, version))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "no .npy", id="empty"),
        pytest.param(npy(1)[:40], "cut short", id="header-cut"),
        pytest.param(npy(np.ones(9))[:-1], "71 bytes follow", id="cut"),
        pytest.param(npy(np.ones(9)) + b"x", "73 bytes follow", id="too-long"),
        pytest.param(npy(1).replace(b"NUMPY\x01", b"NUMPY\x09"), "version 9", id="version"),
        pytest.param(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "far too long", id="short"),
        pytest.param(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99, "far too long", id="huge-header"),
        pytest.param(npy(np.array(["a"])), "not numbers", id="texts"),
        pytest.param(npy(np.ones(2, complex)), "not numbers", id="complex"),
        pytest.param(npy(np.ones(2, [("a", "f4")])), "something else", id="structure"),
        pytest.param(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "impossible shape", id="negative"
        ),
        pytest.param(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,)}"), "shape", id="h"
        ),
        pytest.param(
            b"\x93NUMPY\x01\x00\x37\x00{'descr': '<f4', 'fortran_order': False, 'shape': (\xb9,)}",
            "impossible",
            id="superscript",
        ),
        pytest.param(
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999, 99999999999999999)}"),
            "0 bytes follow",
            id="petabytes",
        ),
        pytest.param(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}"),
            "shape",
            id="17d",
        ),
        pytest.param(header("{'descr': '<b8', 'fortran_order': False, 'shape': ()}"), "numbers of type", id="b8"),
        pytest.param(header("__import__('os').abort()"), "something else", id="code"),
        pytest.param(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1" * 4_000), "something", id="regex"
        ),
    ],
)
def test_an_npy_that_lies_is_refused_before_anything_is_allocated(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedError, match=reason):
        read_npy(data)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_does_not_reach_the_model(number: float) -> None:
    values = np.array([1.0, number], np.float32)
    for kind, data in ((NPY, npy(values)), (NPZ, npz(x=values))):
        with pytest.raises(BodyError, match="holds NaN"):
            bodies().read(kind, data)


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_nothing_is_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([Bomb()], object), allow_pickle=True)
    for kind, data in (
        (NPY, file.getvalue()),
        (NPY, pickle.dumps(Bomb())),
        (NPZ, pickle.dumps(Bomb())),
        (NPZ, zipped(**{"x.npy": file.getvalue()})),
    ):
        with pytest.raises(BodyError):
            bodies().read(kind, data)


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_npz_gives_arrays_by_name() -> None:
    found = bodies(input_names=("a", "b")).read(NPZ, npz(a=np.ones(3), b=np.zeros((2, 2))))
    assert {name: values.shape for name, values in found.samples[0].items()} == {"a": (3,), "b": (2, 2)}
    assert found.nbytes == 56


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"PK\x03\x04nonsense", "cannot be read as .npz", id="nonsense"),
        pytest.param(npz(a=np.ones(9))[:-30], "cannot be read as .npz", id="cut"),
        pytest.param(npz(a=np.zeros(2_000_000)), "more than 1000000 bytes", id="bomb"),
        pytest.param(npz(a=np.zeros(100_000), b=np.zeros(100_000)), "more than 1000000", id="bomb-of-two"),
        pytest.param(zipped(), "no arrays", id="empty"),
        pytest.param(zipped(**{str(n): npy(1) for n in range(70)}), "more than 64", id="many"),
        pytest.param(zipped(a=npy(1), **{"a.npy": npy(1)}), "`a` twice", id="twice"),
        pytest.param(zipped(a=b"text"), "`a`: it is no .npy", id="no-npy"),
    ],
)
def test_an_npz_that_is_none_or_a_bomb_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedError, match=reason):
        read_npz(data, most_bytes=1_000_000)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_npy_or_npz_is_an_error_and_nothing_else(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from([npy(np.ones((2, 3))), npz(a=np.ones(5), b=np.arange(9)), npz(False, a=np.ones(5))])
    )
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    kind = NPY if whole.startswith(b"\x93") else NPZ
    with contextlib.suppress(BodyError):
        bodies().read(kind, bytes(broken[: data.draw(st.integers(0, len(broken)))]))


# images


def picture(form: str, size: tuple[int, int] = (20, 10)) -> bytes:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", size, (255, 0, 0)).save(file, form)
    return file.getvalue()


def test_images_become_what_the_model_takes() -> None:
    found = bodies().read("image/png", picture("PNG"))
    assert found.samples[0].shape == (10, 20, 3)
    assert found.samples[0].dtype == np.uint8
    assert bodies(image_mode="grey").read("image/jpeg", picture("JPEG")).samples[0].shape == (10, 20, 1)


@pytest.mark.parametrize(
    ("kind", "make", "reason"),
    [
        ("image/png", lambda: picture("JPEG"), "does not begin as image/png"),
        ("image/png", lambda: b"%!PS-Adobe", "does not begin"),
        ("image/png", lambda: picture("PNG")[:50], "no image that can be read"),
        ("image/png", lambda: picture("PNG", (2000, 2000)), "million are read"),
        ("image/jpeg", lambda: b"\xff\xd8\xff" + b"x" * 100, "no image"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(kind: str, make: Any, reason: str) -> None:
    with pytest.raises(BodyError, match=reason):
        bodies().read(kind, make())


def test_a_model_says_which_types_it_takes() -> None:
    assert bodies().types() == (JSON, NPY, NPZ, "image/png", "image/jpeg")
    assert bodies(takes_texts=True).types() == (JSON,)
