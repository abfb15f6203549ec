"""Texts from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeglm_agent.processing import Preprocess

from edgeglm.data.splits import Data
from edgeglm.errors import DataError
from edgeglm.sources import TextData
from edgeglm.sources.entry import Entries
from edgeglm.sources.npz import Fractions
from edgeglm.tasks import Classification, Embedding, Regression
from tests.support.texts import WORDS, save_tokenizer

HOT_COLD = {"task": "classification", "labels": ("hot", "cold")}
TASKS = {"classification": Classification(), "embedding": Embedding(), "regression": Regression()}


def sentences(count: int, first: int = 0) -> list[str]:
    """Return different texts: numbers, their digits as words."""
    return [" ".join(WORDS[int(digit)] for digit in str(number + first)) for number in range(count)]


def load(folder: Path, path: str = "data", task: str = "embedding", **changes: Any) -> Data:
    save_tokenizer(folder / "tokenizer.json")
    labels, slices = changes.pop("labels", ()), changes.pop("slices", ())
    preprocess = Preprocess.of([{"tokenize": {"tokenizer": "tokenizer.json", "length": 8}}], folder=folder)
    return TextData(path=path, **changes).load(
        Entries(folder), preprocess=preprocess, task=TASKS[task], labels=labels, seed=0, slices=slices
    )


def write(folder: Path, **files: list[str] | bytes) -> Path:
    """Write files of the folder ``data``; ``train_tsv`` is train.tsv."""
    (folder / "data").mkdir(exist_ok=True)
    for name, lines in files.items():
        content = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        (folder / "data" / name.replace("_", ".")).write_bytes(content)
    return folder


def test_lines_are_texts_without_targets(tmp_path: Path) -> None:
    write(tmp_path, train_txt=[*sentences(40), "", "  "], eval_txt=sentences(12, 100))
    data = load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 32, "calibration": 8, "eval": 12}
    rows = data.evaluation.rows(np.arange(12))
    assert list(rows) == ["input_ids", "attention_mask"]
    assert rows["input_ids"].dtype == np.int64
    assert data.evaluation.targets is None


def test_one_file_is_divided_and_copies_stay_together(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("\n".join(sentences(100) * 3))
    data = load(tmp_path, "all.txt", fractions=Fractions(train=0.6, calibration=0.2, eval=0.2))
    sets = [{row.tobytes() for row in data.splits[name].rows(np.arange(len(data.splits[name])))["input_ids"]}
            for name in ("train", "calibration", "eval")]  # fmt: skip
    assert [len(one) for one in sets] == [60, 20, 20]
    assert len(set.union(*sets)) == 100


@pytest.mark.parametrize(
    ("written", "labels", "targets", "names"),
    [
        pytest.param(["hot", "cold"], ("hot", "cold"), [0, 1], ("hot", "cold"), id="names of labels"),
        pytest.param(["hot", "cold"], (), [1, 0], ("cold", "hot"), id="names without labels"),
        pytest.param(["3", "0"], ("a", "b", "c", "d"), [3, 0], ("a", "b", "c", "d"), id="numbers"),
        pytest.param(["2", "1"], ("1", "2"), [1, 0], ("1", "2"), id="labels that are numbers"),
        pytest.param(["target", "rest"], ("target", "rest"), [0, 1], ("target", "rest"), id="one like a heading"),
        pytest.param(["target", "rest"], (), [1, 0], ("rest", "target"), id="one like a heading that comes again"),
    ],
)
def test_a_label_is_a_name_or_a_number(
    tmp_path: Path, written: list[str], labels: tuple[str, ...], targets: list[int], names: tuple[str, ...]
) -> None:
    rows = [f"{text}\t{written[number % 2]}" for number, text in enumerate(sentences(40))]
    write(tmp_path, train_tsv=rows[:30], eval_tsv=rows[30:])
    data = load(tmp_path, task="classification", labels=labels)
    assert data.labels == names
    assert data.evaluation.targets is not None
    assert data.evaluation.targets.tolist() == targets * 5


def test_measured_values_are_targets_too(tmp_path: Path) -> None:
    rows = [f"{text}\t{number / 4}" for number, text in enumerate(sentences(40))]
    write(tmp_path, train_tsv=rows[:30], eval_tsv=rows[30:])
    targets = load(tmp_path, task="regression").evaluation.targets
    assert targets is not None
    assert targets.tolist() == [number / 4 for number in range(30, 40)]


def test_columns_go_by_the_header_and_the_others_make_slices(tmp_path: Path) -> None:
    head = "device\tlabel\tsentence\tnote"
    rows = [f"{'ab'[number % 2]}\t{number % 3}\t{text}\t" for number, text in enumerate(sentences(60))]
    write(tmp_path, train_tsv=[head, *rows[:40]], eval_tsv=[head, *rows[40:]])
    data = load(tmp_path, task="classification", header=True, text="sentence", slices=("device", "note"))
    assert {name: mask.sum() for name, mask in data.slices["eval"].items()} == {
        "device=a": 10, "device=b": 10, "note=(empty)": 20,
    }  # fmt: skip
    assert data.slices["eval"]["device=b"].tolist() == [False, True] * 10
    assert data.evaluation.targets is not None
    assert data.evaluation.targets[:4].tolist() == [1, 2, 0, 1]


def test_the_texts_of_a_pair_are_two_samples_side_by_side(tmp_path: Path) -> None:
    texts = sentences(60)
    rows = [f"{one}\t{other}\t{score}" for score, (one, other) in enumerate(zip(texts[:30], texts[30:], strict=True))]
    write(tmp_path, train_txt=sentences(40, 200), eval_tsv=rows)
    data = load(tmp_path, tsv="pairs")
    targets = data.evaluation.targets
    assert targets is not None
    assert targets[:4].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert len(data.evaluation) == 60
    assert Embedding().evaluate({"v": np.eye(60)}, targets, ()).metrics_extra["spearman"] == 0


def test_pairs_that_share_a_text_stay_in_one_split(tmp_path: Path) -> None:
    texts = sentences(120)
    rows = [f"{texts[n]}\t{texts[n + other]}\t1" for other in (40, 80) for n in range(40)]
    (tmp_path / "all.tsv").write_text("\n".join(rows))
    data = load(tmp_path, "all.tsv", tsv="pairs")
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sum(sizes.values()) == 160
    seen: dict[bytes, str] = {}
    for name, split in data.splits.items():
        for row in split.rows(np.arange(len(split)))["input_ids"]:
            assert seen.setdefault(row.tobytes(), name) == name


def test_a_text_is_what_stands_between_tabs_and_line_feeds(tmp_path: Path) -> None:
    odd = ['"quoted, with a comma"\t0', "the\u2028pump\t1", "\ufeffhot\t0", "cold\\tloud\t1"]
    write(tmp_path, train_tsv=[f"{text}\t{n % 2}" for n, text in enumerate(sentences(30))],
          eval_tsv=b"\xef\xbb\xbf" + "\r\n".join(odd).encode())  # fmt: skip
    data = load(tmp_path, task="classification")
    assert len(data.evaluation) == 4
    assert data.evaluation.targets is not None
    assert data.evaluation.targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("files", "changes", "code", "place", "said"),
    [
        pytest.param({"train_txt": b"a\nb\xe4r\n"}, {}, "data-encoding", "train.txt:2", "0xe4 at place 2", id="bytes"),
        pytest.param({"train_tsv": ["a\t0", "b"]}, {}, "data-columns", "train.tsv:2", "1 column, and 2", id="columns"),
        pytest.param(
            {"train_tsv": ["a\tlabel", "b\t1"]}, {"header": True}, "data-columns", "data.text", "no column `text`",
            id="header",
        ),
        pytest.param(
            {"train_tsv": ["a\t0\tb"]}, {}, "data-columns", "data.header",
            r"has 3 columns \(`a`, `0`, `b`\), and without names the first 2 would be read, as text, label", id="three",
        ),
        pytest.param(
            {"train_tsv": ["sentence\tlabel", "a b\t0"]}, {}, "data-columns", "data.header",
            r"names the columns \(`sentence`, `label`\), and would be read as a sample", id="names read as a sample",
        ),
        pytest.param({"train_tsv": ["a\t0", "b\t"]}, {}, "data-missing", "train.tsv:2", "is empty", id="empty"),
        pytest.param(
            {"train_tsv": ["a\thot", "b\thott"], "eval_tsv": ["c\thot"], "eval_txt": None}, HOT_COLD, "data-classes",
            "train.tsv:2", r"column 2 \(`data.target`\) holds `hott`, which is none of the 2 labels", id="label",
        ),
        pytest.param(
            {"train_tsv": ["a\tb\tmuch"]}, {"tsv": "pairs"}, "data-targets", "train.tsv:1",
            r"column 3 \(`data.target`\) holds `much`, which is no number", id="score",
        ),
        pytest.param({"train_tsv": ["a\thot", "\thot"], "eval_tsv": ["c\thot"], "eval_txt": None}, HOT_COLD,
                     "data-missing", "train.tsv:2", "column `text` is empty", id="empty text"),
        pytest.param({"train_tsv": ["a\t \t1"]}, {"tsv": "pairs"}, "data-missing", "train.tsv:1",
                     "column `text_b` is empty", id="empty text of a pair"),
        pytest.param({"train_txt": ["", " "]}, {}, "data-empty", "train.txt", "holds no text", id="nothing"),
        pytest.param({"eval_txt": [], "test_txt": ["a"]}, {"eval_splits": ["held"]}, "data-split-missing", "data",
                     "no file held.txt", id="split"),
        pytest.param({"eval_tsv": ["a\t0"]}, {}, "data-split-twice", "data", "eval.tsv, eval.txt", id="two files"),
        pytest.param(
            {"train_tsv": ["a\t0"]}, {"slices": ("device",)}, "data-columns", "slices", "has no columns",
            id="slice without header",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(
    tmp_path: Path, files: Any, changes: Any, code: str, place: str, said: str
) -> None:
    files = {"eval_txt": sentences(4, 50), **files}
    write(tmp_path, **{name: lines for name, lines in files.items() if lines is not None})
    with pytest.raises(DataError, match=said) as caught:
        load(tmp_path, **changes)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert problem.where.endswith(place)
    assert problem.hint


def test_a_missing_path_and_texts_without_tokenize_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder") as caught:
        load(tmp_path, "none")
    assert caught.value.code == "data-file-missing"
    write(tmp_path, train_txt=["a"], eval_txt=["b"])
    with pytest.raises(DataError, match="nothing makes numbers") as caught:
        TextData(path="data").load(Entries(tmp_path), preprocess=Preprocess(), task=Embedding(), labels=(), seed=0)
    assert "tokenize" in caught.value.problems[0].hint
