from __future__ import annotations

from edgeglm.measuring import FileResult, render_evaluation
from edgeglm.report.types import SplitResult
from tests.support.report_parts import accuracy, paired


def test_eval_gives_the_change_with_the_sign_and_unit_of_the_report() -> None:
    before, after = (
        SplitResult(metric=accuracy(450, 500)),
        SplitResult(metric=accuracy(449, 500), drop=paired(1, 0, 500)),
    )
    text = render_evaluation([FileResult(path=path, splits={"eval": r}) for path, r in (("a", before), ("b", after))])
    head, first, second = text.splitlines()
    assert head.split("  ")[-1] == "change (95 % interval)"
    assert "accuracy 90.0 %" in first
    assert "pt" not in first
    assert "accuracy 89.8 %" in second
    assert second.endswith("-0.2 pt (-0.6 to +0.2 pt), worse")
