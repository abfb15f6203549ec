from __future__ import annotations

from typing import Any

import pytest

from edgeglm.choice.candidates import Candidate
from edgeglm.choice.preference import Faults
from edgeglm.choice.rivals import rivals
from edgeglm.recipe import ArtifactConfig, Budget
from edgeglm.recipe.types import Search

NOTHING = Faults(missed=0, over=1.0, undecided=0, broken=False, lost=False)
LOST = Faults(missed=0, over=1.0, undecided=0, broken=False, lost=True)


def candidate(file_format: Any, *, where: str = "artifacts[0]", auto: bool = True, keep: Any = "chosen") -> Candidate:
    config = ArtifactConfig(format=file_format, search=Search(keep=keep))
    return Candidate(config, where, "suits it" if auto else "")


def found(*pairs: tuple[Candidate, Faults], budget: Budget | None = None, here: bool = True) -> dict[int, list[int]]:
    standing = [faults for _, faults in pairs]
    return rivals([one for one, _ in pairs], standing.__getitem__, budget or Budget(), same_machine=here)


def test_what_is_as_right_and_of_the_same_format_is_a_rival() -> None:
    pairs = [(candidate("onnx"), NOTHING), (candidate("onnx"), LOST), (candidate("tflite"), LOST)]
    assert found(*pairs) == {1: [0]}
    assert found((candidate("onnx"), NOTHING), (candidate("onnx"), NOTHING)) == {0: [1], 1: [0]}


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": Budget(peak_rss_mb=10.0)},
        {"budget": Budget(host_latency_p95_ms=1.0)},
        {"here": False},
        {"keep": "pareto"},
        {"auto": False},
    ],
    ids=str,
)
def test_all_are_timed_alike_where_speed_alone_does_not_decide(settings: dict[str, Any]) -> None:
    of_file = {key: value for key, value in settings.items() if key in ("keep", "auto")}
    others = {key: value for key, value in settings.items() if key not in of_file}
    pairs = [(candidate("onnx", **of_file), NOTHING), (candidate("onnx", **of_file), LOST)]
    assert found(*pairs, **others) == {}
