"""The real all-MiniLM-L6-v2, as its users know it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from edgeglm.boards import BOARDS
from edgeglm.data.splits import ArraySplit
from edgeglm.measure.evaluate import predict_file
from edgeglm.model import Model
from edgeglm.nn.inference import predict
from edgeglm.pipeline.build import export_float
from edgeglm.sources import HfModel
from edgeglm.sources.entry import Entries
from tests.support.checkpoints import minilm

LENGTH = 64
TEXTS = [
    "The cat sits on the mat.",
    "Ein Satz in einer anderen Sprache, mit Umlauten: schön.",
    "one",
    "bearing temperature rose by 4 K within the last hour, " * 10,  # cut
]


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encoded = tokenizer.encode_batch(TEXTS)
    return {
        "input_ids": np.array([one.ids for one in encoded], np.int64),
        "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
    }


@pytest.fixture(scope="module")
def model(rows: dict[str, np.ndarray]) -> Model:
    found = HfModel(path=minilm().name, task="embedding").load(Entries(minilm().parent), rows)
    assert isinstance(found, Model)
    return found


@pytest.fixture(scope="module")
def embedding(model: Model, rows: dict[str, np.ndarray]) -> np.ndarray:
    return predict(model, ArraySplit(rows, None), threads=1)["embedding"]


def test_embeddings_are_those_of_sentence_transformers(embedding: np.ndarray) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(minilm()), device="cpu", local_files_only=True)
    theirs.max_seq_length = LENGTH
    np.testing.assert_allclose(embedding, theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("file_format", ["onnx", pytest.param("tflite", marks=pytest.mark.full)])
def test_it_becomes_a_file_that_heeds_the_mask(
    model: Model, rows: dict[str, np.ndarray], embedding: np.ndarray, file_format: str, tmp_path: Path
) -> None:
    built = export_float(model, rows, tmp_path / f"m.{file_format}", file_format, board=BOARDS["x86-64"])
    assert {spec.dtype for spec in built.inputs} == {"int64" if file_format == "onnx" else "int32"}
    other = {**rows, "input_ids": np.where(rows["attention_mask"] == 1, rows["input_ids"], 2307)}  # other padding
    for given in (rows, other):
        split = ArraySplit(given, None)
        outputs = predict_file(built.path, format=file_format, split=split, inputs=model.inputs, batch=1, threads=1)
        np.testing.assert_allclose(outputs["embedding"], embedding, atol=2e-5)
