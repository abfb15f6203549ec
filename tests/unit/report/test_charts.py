from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeglm.report.charts import WIDTH, Bar, bar_chart, distinct, shorten, ticks
from edgeglm.report.figures import metric_bounds
from edgeglm.report.intervals import Dot, Pair, dumbbell_chart, interval_chart


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def of_class(svg: str, name: str) -> list[ElementTree.Element]:
    return [node for node in read(svg).iter() if name in (node.get("class") or "").split()]


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[0-9.]+", path)]


def test_bars_are_as_long_as_their_values_and_what_is_not_measured_has_none() -> None:
    svg = bar_chart(
        "k",
        "Size",
        "words",
        [Bar("a", "baseline", 100.0, "100"), Bar("b", "artifact", 25.0, "25"), Bar("c", "step", None, "not measured")],
    )
    bars = of_class(svg, "bar")
    assert [float(bar.get("width") or 0) for bar in bars] == [WIDTH, WIDTH / 4]
    assert [text.text for text in of_class(svg, "missing")] == ["not measured"]
    assert len(of_class(svg, "track")) == 3


def test_the_reach_of_a_bar_is_drawn_beyond_it_and_inside_the_frame() -> None:
    svg = bar_chart(
        "k", "Latency", "words", [Bar("a", "step", 100.0, "100", reach=125.0), Bar("b", "step", 10.0, "10")]
    )
    (whisker,) = of_class(svg, "whisker")
    start, end = numbers(whisker.get("d") or "")[:3:2]
    assert start == WIDTH * 0.8
    assert end == WIDTH - 1
    assert not of_class(svg, "beyond")


def test_one_wild_reach_leaves_the_bars_their_length_and_becomes_an_arrow() -> None:
    svg = bar_chart(
        "k", "Latency", "words", [Bar("a", "step", 100.0, "100", reach=2000.0), Bar("b", "step", 50.0, "50")]
    )
    long, short = (float(bar.get("width") or 0) for bar in of_class(svg, "bar"))
    assert long == pytest.approx(2 * short, abs=0.02)
    assert long > WIDTH / 2
    assert len(of_class(svg, "beyond")) == 1


def test_a_step_far_below_everything_else_is_an_arrow_and_leaves_the_axis_to_the_others() -> None:
    dots = [
        Dot("a", "baseline", 0.93, (0.91, 0.95), "93"),
        Dot("pruned", "step", 0.10, (0.08, 0.12), "10"),
        Dot("trained", "step", 0.90, (0.88, 0.92), "90"),
        Dot("b", "artifact", 0.92, (0.90, 0.94), "92"),
    ]
    svg = interval_chart("k", "Accuracy", "words", dots, label=lambda value: f"{value:.2f}")
    (arrow,) = of_class(svg, "beyond")
    assert numbers(arrow.get("d") or "")[0] == 0
    places = [float(dot.get("cx") or 0) for dot in of_class(svg, "dot")]
    assert len(places) == 3
    assert max(places) - min(places) > WIDTH / 4
    artifact_below = interval_chart("k", "A", "w", [dots[0], Dot("b", "artifact", 0.1, None, "10")], label=str)
    assert not of_class(artifact_below, "beyond")  # a result is never put off the axis


def test_bars_of_nothing_but_zeros_still_show() -> None:
    svg = bar_chart("k", "Latency", "words", [Bar("a", "step", 0.0, "0"), Bar("b", "step", 0.0, "0")])
    assert [float(bar.get("width") or 0) for bar in of_class(svg, "bar")] == [2.0, 2.0]


def test_dots_stand_in_order_with_their_intervals_around_them() -> None:
    dots = [Dot("a", "baseline", 0.9, (0.85, 0.95), "90"), Dot("b", "artifact", 0.8, (0.7, 0.9), "80")]
    svg = interval_chart("k", "Accuracy", "words", dots, label=lambda value: f"{value:.2f}")
    first, second = (float(dot.get("cx") or 0) for dot in of_class(svg, "dot"))
    assert second < first
    for dot, line in zip((first, second), of_class(svg, "range"), strict=True):
        left, _, right = numbers(line.get("d") or "")[:3]
        assert 0 <= left < dot < right <= WIDTH
    (reference,) = of_class(svg, "reference")
    assert numbers(reference.get("d") or "")[0] == pytest.approx(first, abs=0.1)


def test_the_axis_of_a_share_ends_at_one_unless_a_value_lies_beyond() -> None:
    dots = [Dot("a", "baseline", 0.99, (0.97, 1.0), "99"), Dot("b", "artifact", 1.0, None, "100")]
    svg = interval_chart("k", "AUC", "words", dots, label=str, bounds=metric_bounds("auc"))
    at = [float(dot.get("cx") or 0) for dot in of_class(svg, "dot")]
    assert at[1] == pytest.approx(WIDTH - 6)  # the very end
    beyond = [*dots, Dot("c", "artifact", 1.2, None, "120")]
    svg = interval_chart("k", "AUC", "words", beyond, label=str, bounds=metric_bounds("auc"))
    assert len(of_class(svg, "dot")) == 3


@pytest.mark.parametrize(
    "dots",
    [
        pytest.param([Dot("a", "step", 1.0, (1.0, 1.0), "1")], id="one point"),
        pytest.param([Dot("a", "step", 0.0, None, "0")], id="zero"),
        pytest.param([Dot("a", "step", None, None, "-")], id="nothing measured"),
        pytest.param([Dot("a", "step", float("nan"), None, "-")], id="not finite"),
        pytest.param([], id="no rows"),
    ],
)
def test_an_interval_chart_of_no_width_is_still_drawn(dots: list[Dot]) -> None:
    svg = interval_chart("k", "Accuracy", "words", dots, label=str)
    assert "nan" not in svg
    assert float((read(svg).get("viewBox") or "").split()[3]) > 0


def test_a_dumbbell_shows_where_a_class_was_and_where_it_is() -> None:
    pairs = [
        Pair("cat", 0.9, 0.8, counted=True, text="-10"),
        Pair("dog", 0.8, 0.9, counted=True, text="+10"),
        Pair("emu", 0.8, 0.8, counted=True, text="0"),
        Pair("rare", 1.0, 0.1, counted=False, text="-90"),
    ]
    svg = dumbbell_chart("k", "Recall", "words", pairs, low=0.5, label=str)
    rings = [float(ring.get("cx") or 0) for ring in of_class(svg, "ring")]
    dots = [float(dot.get("cx") or 0) for dot in of_class(svg, "dot")]
    assert dots[0] < rings[0]
    assert dots[1] > rings[1]
    assert dots[2] == rings[2]
    assert rings[0] == dots[1]  # one axis for all rows
    kinds = [(dot.get("class") or "").split()[1] for dot in of_class(svg, "dot")]
    assert kinds == ["lost", "kept", "same", "few"]


def test_charts_name_and_describe_themselves_and_escape_labels() -> None:
    svg = bar_chart("k", "Title <b>", "words & more", [Bar('<i>"x"', "step", 1.0, "1 < 2")])
    root = read(svg)  # well-formed
    assert root.get("role") == "img"
    ids = (root.get("aria-labelledby") or "").split()
    named = {node.get("id"): node.text for node in root.iter() if node.get("id")}
    assert [named[key] for key in ids] == ["Title <b>", "words & more"]
    assert '<i>"x"' in [node.text for node in root.iter("title")]


def test_a_name_too_long_for_its_place_ends_in_an_ellipsis_and_wide_letters_count_twice() -> None:
    assert shorten("short", 100) == "short"
    assert shorten("a  b\nc", 100) == "a b c"
    cut = shorten("x" * 50, 70)
    assert cut.endswith("\u2026")
    assert len(cut) <= 10
    assert len(shorten("\u9577" * 50, 70)) <= 6


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_lie_inside_the_range(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    slack = (high - low) * 1e-6 + 1e-9 * max(abs(low), abs(high))
    assert len(found) <= 6
    assert all(low - slack <= tick <= high + slack for tick in found)


def test_numbers_of_an_axis_that_would_read_alike_get_more_digits() -> None:
    short = "{:.2g}".format
    assert distinct([0.5, 1.0], short) == ["0.5", "1"]
    assert distinct([0.99998, 0.99999], short) == ["0.99998", "0.99999"]


def test_long_names_of_layers_keep_their_end() -> None:
    bars = [Bar("backbone.encoder.layer.0.attention.self.query", "artifact", 1.0, "1.02 kB float32", keeps_end=True)]
    chart = bar_chart("k", "t", "d", bars)
    shown = chart.split("</title>")[2].split("<")[0]
    assert shown.startswith("\u2026")
    assert shown.endswith("attention.self.query")
