from __future__ import annotations

import msgspec
import pytest
from typer.testing import CliRunner

from edgeglm.cli.app import app
from edgeglm.measuring import FileResult, render_evaluation
from edgeglm.report.types import SplitResult
from tests.support.recipes import MINIMAL, fault
from tests.support.report_parts import accuracy, paired


def test_eval_gives_the_change_with_the_sign_and_unit_of_the_report() -> None:
    before, after, level, same = (
        SplitResult(metric=accuracy(450, 500)),
        SplitResult(metric=accuracy(430, 500), drop=paired(20, 0, 500)),
        SplitResult(metric=accuracy(449, 500), drop=paired(1, 0, 500)),
        SplitResult(metric=accuracy(450, 500), drop=msgspec.structs.replace(paired(0, 0, 500), ci95=(0.0, 0.0))),
    )
    results = [
        FileResult(path=path, splits={"eval": result})
        for path, result in (("a", before), ("b", after), ("c", level), ("d", same))
    ]
    head, first, second, third, fourth = render_evaluation(results).splitlines()
    assert head.split("  ")[-1] == "change (95 % interval)"
    assert "accuracy 90.0 %" in first
    assert "pt" not in first
    assert "accuracy 86.0 %" in second
    assert second.endswith("-4.0 pt (-5.8 to -2.2 pt), worse")
    assert third.endswith("-0.2 pt (-0.6 to +0.2 pt), no difference seen")
    assert fourth.endswith("0.0 pt (0.0 to 0.0 pt), no change")


@pytest.mark.parametrize(("threads", "bound"), [(0, "1"), (257, "256")])
def test_bench_takes_as_many_threads_as_a_recipe_does(threads: int, bound: str) -> None:
    done = CliRunner().invoke(app, ["bench", "model.onnx", "--threads", str(threads)])
    assert (done.exit_code, bound in done.output) == (2, True)
    problem = fault(MINIMAL, f"threads={threads}")
    assert problem.where.endswith("threads")
    assert bound in problem.message + problem.hint
