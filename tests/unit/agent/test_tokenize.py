"""Texts become token numbers, the same on host and board."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess, ProcessingError
from edgeglm_agent.processing.tokenize import Tokenize
from edgeglm_agent.wire import ProcessOp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.texts import save_tokenizer

TEXTS = ["the pump is hot", "", "leaks", "the valve leaks and the pump is loud and hot"]
TOKENS = [  # [CLS] 2, [SEP] 3, padding 0
    [2, 4, 5, 6, 7, 3, 0, 0],
    [2, 3, 0, 0, 0, 0, 0, 0],
    [2, 13, 3, 0, 0, 0, 0, 0],
    [2, 4, 12, 13, 11, 4, 5, 3],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("recipe") / "tokenizer.json").parent


def tokenize(folder: Path, *later: Any, **changes: Any) -> Preprocess:
    return Preprocess.of([{"tokenize": {"tokenizer": "tokenizer.json", "length": 8, **changes}}, *later], folder=folder)


def test_texts_become_tokens_and_a_mask_of_one_length(folder: Path) -> None:
    rows = tokenize(folder).batch(TEXTS)
    assert list(rows) == ["input_ids", "attention_mask"]
    assert rows["input_ids"].dtype == rows["attention_mask"].dtype == np.int64
    assert rows["input_ids"].tolist() == TOKENS
    assert np.array_equal(rows["attention_mask"], rows["input_ids"] != 0)


@pytest.mark.parametrize("form", [list, tuple, lambda texts: np.array(texts), lambda texts: np.array(texts, object)])
def test_a_batch_in_any_form_gives_each_text_what_it_gives_alone(folder: Path, form: Any) -> None:
    preprocess = tokenize(folder)
    rows = preprocess.batch(form(TEXTS))
    for number, text in enumerate(TEXTS):
        for sample in (text, np.array(text), {"text": text}):
            alone = preprocess.one(sample)
            assert all(np.array_equal(alone[name], rows[name][number]) for name in rows)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=6))
def test_neighbours_do_not_change_what_a_text_becomes(folder: Path, texts: list[str]) -> None:
    preprocess = tokenize(folder)
    rows = preprocess.batch(texts)["input_ids"]
    assert np.array_equal(rows, np.stack([preprocess.one(text)["input_ids"] for text in texts]))


def test_inputs_go_by_the_names_that_the_model_has(folder: Path) -> None:
    rows = tokenize(folder, input_ids="ids", attention_mask=None, token_type_ids="kinds").batch(TEXTS)
    assert list(rows) == ["ids", "kinds"]
    assert rows["ids"].tolist() == TOKENS
    assert not rows["kinds"].any()


def test_a_mask_left_out_stays_left_out_in_the_manifest(folder: Path) -> None:
    wire = tokenize(folder, attention_mask=None).wire()
    again = Preprocess([ProcessOp(op.op, dict(op.settings)) for op in wire], folder=folder)
    assert list(again.one("pump")) == ["input_ids"]


def test_a_longer_text_is_cut_at_the_end_that_is_asked_for(folder: Path) -> None:
    left = tokenize(folder, truncation="left").one(TEXTS[3])["input_ids"]
    assert left.tolist() == [2, 4, 5, 6, 9, 11, 7, 3]
    with pytest.raises(ProcessingError, match="text 3 has 12 tokens, more than 8") as caught:
        tokenize(folder, truncation="refuse").batch(TEXTS)
    assert caught.value.key == "preprocess[0].tokenize"


def test_other_inputs_stay_beside_the_tokens(folder: Path) -> None:
    rows = tokenize(folder, {"normalise": {"mean": 1.0, "input": "load"}}, input="report").batch(
        {"report": TEXTS, "load": np.arange(4.0)[:, None]}
    )
    assert list(rows) == ["input_ids", "attention_mask", "load"]
    assert rows["load"].ravel().tolist() == [-1, 0, 1, 2]


def test_padding_is_found_where_the_file_names_none(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "tokenizer.json", padding=False)
    assert tokenize(tmp_path).batch(TEXTS)["input_ids"].tolist() == TOKENS


def test_a_tokenizer_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = save_tokenizer(tmp_path / "tokenizer.json")
    before = tokenize(tmp_path).one("pump")["input_ids"].tolist()
    path.write_text(path.read_text().replace('"pump": 5', '"pump": 25'))
    os.utime(path, ns=(1, 1))
    assert (before[1], tokenize(tmp_path).one("pump")["input_ids"].tolist()[1]) == (5, 25)


@pytest.mark.parametrize(
    ("changes", "samples", "said"),
    [
        pytest.param({"tokenizer": "none.json"}, ["a"], "cannot read the tokenizer .*none.json", id="no file"),
        pytest.param({"tokenizer": "bad.json"}, ["a"], "is no tokenizer.json", id="no tokenizer"),
        pytest.param({"length": 2}, ["a"], "length 2 leaves no room for text: 2 special tokens", id="too short"),
        pytest.param({}, [3], "takes texts, not a int", id="a number"),
        pytest.param({}, np.zeros((2, 3)), "takes texts, not an array of float64", id="an array"),
        pytest.param({}, ["\ud800"], ".", id="half a character"),
        pytest.param({}, [], "no samples", id="nothing"),
        pytest.param({}, {"a": ["x"], "b": ["y"]}, "which of a, b is the text", id="two"),
        pytest.param({"input": "c"}, {"a": ["x"], "b": ["y"]}, "no input `c`; it has a, b", id="not there"),
    ],
)
def test_what_cannot_be_tokenized_is_named(folder: Path, changes: Any, samples: Any, said: str) -> None:
    (folder / "bad.json").write_text("{}")
    with pytest.raises(ProcessingError, match=said) as caught:
        tokenize(folder, **changes).batch(samples)
    assert caught.value.key.startswith("preprocess")


def test_texts_come_first_or_not_at_all(folder: Path) -> None:
    with pytest.raises(ProcessingError, match="stands first") as caught:
        Preprocess.of(["grey", {"tokenize": {"tokenizer": "t", "length": 8}}])
    assert caught.value.key == "preprocess[1].tokenize"


def test_a_board_without_the_library_is_told_what_to_install(folder: Path) -> None:
    code = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from pathlib import Path\nfrom edgeglm_agent.processing import Preprocess\n"
        "op = {'tokenize': {'tokenizer': 'tokenizer.json', 'length': 8}}\n"
        "Preprocess.of([op], folder=Path(sys.argv[1])).one('a')"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert "install 'edgeglm-agent[text]'" in done.stderr


SERIES = np.arange(12.0).reshape(6, 2)


def test_a_window_is_the_last_rows_of_a_series() -> None:
    window = Preprocess.of([{"window": {"length": 4}}])
    assert np.array_equal(window.one(SERIES), SERIES[2:])
    assert np.array_equal(window.batch(np.stack([SERIES, -SERIES])), np.stack([SERIES[2:], -SERIES[2:]]))
    assert window.one(np.arange(9)).tolist() == [5, 6, 7, 8]


def test_series_of_several_lengths_come_out_in_one() -> None:
    window = Preprocess.of([{"window": {"length": 4, "fill": -1.0}}])
    rows = window.batch([SERIES, SERIES[:3]])
    assert rows.shape == (2, 4, 2)
    assert rows[1].tolist() == [[-1, -1], [0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("samples", [SERIES[None, :3], np.zeros(3)])
def test_a_series_that_is_too_short_or_none_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(ProcessingError, match=r"shorter than 4|no series"):
        Preprocess.of([{"window": {"length": 4}}]).batch(samples)


def test_a_text_is_read_back_without_what_stands_around_every_text(tmp_path: Path) -> None:
    path = save_tokenizer(tmp_path / "tokenizer.json")
    operation = Tokenize(tokenizer=path.name, length=6)
    rows = operation.tokens(["the pump is hot", "valve leaks"], tmp_path)
    texts = [operation.text({name: values[row] for name, values in rows.items()}, tmp_path) for row in range(2)]
    assert texts == ["the pump is hot", "valve leaks"]
    assert operation.text({}, tmp_path) == ""
    unmasked = Tokenize(tokenizer=path.name, length=6, attention_mask=None)
    assert unmasked.text({"input_ids": rows["input_ids"][1]}, tmp_path) == "valve leaks"
