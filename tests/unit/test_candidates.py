from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeglm.boards import BOARDS
from edgeglm.choice import board_rule, candidates
from edgeglm.choice.candidates import Proposal, propose
from edgeglm.measure.traits import Traits
from tests.support.recipes import MINIMAL, parse

CNN = {"family": "convolutional", "mixed": False, "table_share": 0.0, "macs": 10_000_000, "params": 80_000}


def proposed(
    artifacts: str = "artifacts: auto",
    *,
    target: str = "x86-64",
    source: str = "network",
    more: str = "",
    **traits: Any,
) -> Proposal:
    text = MINIMAL.replace("artifacts:\n  - {format: onnx}", artifacts) + more
    return propose(parse(text).recipe, BOARDS[target], Traits(**(CNN | traits)), source=source)


def words(found: Proposal) -> list[str]:
    return [candidate.word for candidate in found.candidates]


def test_a_proposal_keeps_what_is_known_of_the_network() -> None:
    assert proposed(macs=123).traits == Traits(**(CNN | {"macs": 123}))


def test_what_the_recipe_names_is_taken_as_it_is() -> None:
    found = proposed("artifacts:\n  - {format: onnx, quantize: fp16}")
    assert words(found) == ["onnx fp16"]
    assert not found.candidates[0].is_auto
    assert found.candidates[0].where == "artifacts[0]"


def test_convolutions_are_never_tried_in_dynamic_int8_and_float_always_is() -> None:
    for target in BOARDS:
        found = words(proposed(target=target))
        assert {"onnx static-int8", "tflite static-int8", "onnx none", "tflite none"} <= set(found), target
        assert not any("dynamic-int8" in word for word in found), target


def test_a_transformer_is_not_tried_in_static_int8_outside_openvino() -> None:
    found = words(proposed(family="transformer"))
    assert {"onnx dynamic-int8", "tflite dynamic-int8"} <= set(found)
    assert not {"onnx static-int8", "tflite static-int8"} & set(found)


def test_a_transformer_behind_convolutions_is_tried_in_both() -> None:
    assert {"onnx dynamic-int8", "onnx static-int8"} <= set(words(proposed(family="transformer", mixed=True)))


@pytest.mark.parametrize("target", ["rpi5", "jetson-jp6", "x86-64"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_gru_is_not_tried_in_integers_where_no_runtime_has_them(target: str, mixed: bool) -> None:
    found = words(proposed(target=target, family="recurrent", mixed=mixed))
    assert {"onnx none", "tflite dynamic-int8"} <= set(found)
    assert not [word for word in found if "int8" in word and not word.startswith("tflite")]


def test_the_rule_of_the_board_puts_what_is_fastest_there_first() -> None:
    assert words(proposed(target="rpi5"))[:2] == ["tflite static-int8", "onnx static-int8"]
    assert words(proposed(target="rpi4", family="transformer"))[:2] == ["tflite dynamic-int8", "onnx dynamic-int8"]
    assert words(proposed(target="rpi4", family="LSTM"))[0] == "onnx dynamic-int8"
    assert words(proposed(target="rpi4", family="recurrent"))[0] == "tflite dynamic-int8"
    assert words(proposed(target="jetson-jp6"))[:3] == ["onnx static-int8", "onnx fp16", "onnx none"]
    assert words(proposed(target="jetson-jp7", family="transformer"))[0] == "onnx fp16"


def test_the_guide_names_all_that_the_rule_of_a_board_orders() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text("utf-8")
    lines = guide.partition("**The order of a board.**")[2].split("\n\n")[1].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    families = [{"other recurrent": "recurrent"}.get(name, name) for name in head[1:]]
    boards = {"Raspberry Pi": "rpi", "Jetson": "jetson", "x86-64": "x86-64"}
    told = {
        boards[board]: {
            family: tuple(word.lower().replace("float", "none") for word in cell.split(", "))
            for family, cell in zip(families, cells, strict=True)
        }
        for board, *cells in rows
    }
    assert told == board_rule._FAST


@pytest.mark.parametrize(
    ("asked", "left_out"),
    [("buckets: [8]", "`buckets` asks for several"), ("signatures: {batch: [1, 4]}", "`signatures` asks for others")],
)
def test_candidates_carry_how_they_are_to_be_called_and_those_that_cannot_are_left_out(
    monkeypatch: pytest.MonkeyPatch, asked: str, left_out: str
) -> None:
    monkeypatch.setattr(candidates, "capability", lambda _: [])
    found = proposed(f"artifacts:\n  - {{format: auto, {asked}}}", family="transformer")
    (skipped,) = found.skipped
    assert skipped.format == "openvino"
    assert left_out in skipped.reason
    configs = [candidate.config for candidate in found.candidates]
    assert {config.format for config in configs} == {"onnx", "tflite"}
    for config in configs:
        if "buckets" in asked:
            assert config.buckets == [8]
        else:  # an ONNX file takes any number of rows
            assert config.several_batches == (config.format == "tflite")


def test_of_a_tiny_network_float_comes_first() -> None:
    assert words(proposed(target="rpi5", macs=20_000))[:2] == ["tflite none", "onnx none"]


def test_a_format_that_cannot_be_made_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "capability", lambda kind: ["litert-torch"] if kind == "tflite" else [])
    found = proposed(target="rpi5")
    assert not any(word.startswith("tflite") for word in words(found))
    reasons = {skipped.format: skipped.reason for skipped in found.skipped}
    assert reasons["tflite"] == "extra `tflite` not installed (litert-torch)"


@pytest.mark.parametrize(("source", "kept"), [("onnx", "onnx"), ("tflite", "tflite")])
def test_a_file_source_is_tried_in_its_own_format(source: str, kept: str) -> None:
    found = proposed(target="rpi5", source=source)
    assert {word.split()[0] for word in words(found)} == {kept}
    assert any(source in skipped.reason.lower() for skipped in found.skipped if skipped.format in ("onnx", "tflite"))


def test_what_the_recipe_names_is_not_tried_again() -> None:
    found = proposed("artifacts:\n  - {format: onnx, quantize: auto}\n  - {format: onnx, quantize: static-int8}")
    assert words(found).count("onnx static-int8") == 1


def test_one_scheme_in_every_format() -> None:
    found = proposed("artifacts:\n  - {format: auto, quantize: {scheme: static-int8, ignore: [head]}}", target="rpi5")
    assert words(found) == ["tflite static-int8", "onnx static-int8"]
    assert all(candidate.config.quantization.ignore == ["head"] for candidate in found.candidates)  # type: ignore[attr-defined]


def test_a_limit_of_size_brings_smaller_files_in() -> None:
    assert "onnx fp16" not in words(proposed())
    small = "budget: {size_mb: 1}\n"
    assert "onnx fp16" in words(proposed(more=small))
    assert "onnx weight-only-int4" in words(proposed(more=small, family="dense"))
    assert "onnx weight-only-int4" not in words(proposed(more=small))  # 4-bit convolutions are not worth having
    assert "tflite weight-only-int4" in words(proposed(family="transformer", table_share=0.5))
