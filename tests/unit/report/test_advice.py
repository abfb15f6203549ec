from __future__ import annotations

import pytest

from edgeglm.artifacts.built import SLOW_CONVOLUTIONS, SLOW_DEPTHWISE
from edgeglm.artifacts.checking import check_weights
from edgeglm.measure.execution import DELEGATE, delegate_warnings, float_warnings, openvino_warnings
from edgeglm.measure.frames import Operator
from edgeglm.report.advice import what_to_do, with_advice
from edgeglm.report.remarks import did_not_pay, steps_that_did_not_pay
from tests.support.reports import cifar_report


def known_warnings() -> list[str]:
    """What edgeglm itself says when something did not go well, from where it says it."""
    report = cifar_report()
    return [
        SLOW_CONVOLUTIONS,
        SLOW_DEPTHWISE,
        *check_weights("static-int8", small_bytes=1, left=["fc"]),
        *float_warnings([Operator("Conv", "stem"), Operator("MatMul", "attention", weightless=True)]),
        *openvino_warnings([Operator("brgemm_avx512_f32", "lstm")]),
        *delegate_warnings([Operator("ADD")]),
        *delegate_warnings([Operator(DELEGATE), Operator("CONV_2D")]),
        *delegate_warnings([Operator(DELEGATE), Operator(DELEGATE), Operator("ADD")]),
        *(text for side in report.artifacts for text in did_not_pay(report, side)),
        *steps_that_did_not_pay(report),
    ]


@pytest.mark.parametrize("warning", known_warnings())
def test_what_we_warn_of_comes_with_what_to_do(warning: str) -> None:
    advice = what_to_do(warning)
    assert advice.endswith(".")
    assert advice in str(with_advice(warning)).replace("</code>", "`").replace("<code>", "`")


def test_a_warning_that_is_not_known_stands_alone() -> None:
    assert what_to_do("the moon is full") == ""
    assert str(with_advice("the moon is full")) == "<li>the moon is full</li>"
