from __future__ import annotations

import re

import pytest

from edgeglm.report.figures import metric_bounds
from edgeglm.report.scatter import Axis, Point, scatter_chart


def point(tag: str, cost: float, quality: float, kind: str = "front") -> Point:
    interval = (quality - 0.1, quality + 0.1) if kind in ("baseline", "chosen") else None
    return Point(tag, f"file {tag}", kind, "circle", cost, quality, interval, f"file {tag}: told", f"#file-{tag}")


def drawn(*points: Point, **settings: object) -> str:
    axis = Axis("cost", lambda value: f"{value:g}")
    return str(scatter_chart("k", "t", "d", points, cost=axis, quality=axis, **settings))  # type: ignore[arg-type]


def places(chart: str) -> dict[str, tuple[float, float]]:
    """Return file -> where its mark lies."""
    found = re.findall(r'href="#file-(\w*)".*?class="shape" cx="([\d.]+)" cy="([\d.]+)"', chart)
    return {tag: (float(x), float(y)) for tag, x, y in found}


def tags(chart: str) -> list[tuple[str, tuple[float, float]]]:
    found = re.findall(r'class="tag(?: beaten)?" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', chart)
    return [(text, (float(x), float(y))) for x, y, text in found]


@pytest.mark.parametrize("higher", [True, False], ids=["high is good", "low is good"])
def test_better_is_up_and_cheaper_is_left_and_the_line_joins_what_none_beats(higher: bool) -> None:
    sign = 1 if higher else -1
    points = [point("1", 2, 3 * sign), point("2", 1, 2 * sign), point("3", 3, 1 * sign), point("4", 4, 4 * sign)]
    chart = drawn(*points, higher_is_better=higher)
    at = places(chart)
    assert at["4"][1] < at["1"][1] < at["2"][1] < at["3"][1]
    assert at["2"][0] < at["1"][0] < at["3"][0] < at["4"][0]
    (line,) = re.findall(r'class="front" d="M([^"]+)"', chart)
    assert [tuple(map(float, spot.split())) for spot in line.split("L")] == [
        pytest.approx(at[tag], abs=0.06) for tag in "214"
    ]


def test_costs_far_apart_get_a_logarithmic_axis_and_near_ones_start_at_zero() -> None:
    assert "logarithmic" in drawn(point("1", 1, 1), point("2", 100, 2))
    near = drawn(point("1", 3, 1), point("2", 4, 2))
    assert "logarithmic" not in near
    assert ">0<" in near


def test_the_axis_of_a_metric_ends_at_the_greatest_value_there_can_be() -> None:
    points = [point("1", 1, 0.99), point("2", 2, 1.0)]
    assert places(drawn(*points))["2"][1] > 27  # some room above it
    auc = Axis("AUC", lambda value: f"{value:g}", metric_bounds("auc"))
    ended = str(scatter_chart("k", "t", "d", points, cost=Axis("cost", str), quality=auc))
    assert places(ended)["2"][1] == 26  # the very top


def test_limits_are_drawn_inside_the_plot_alone() -> None:
    points = [point("1", 3, 1), point("2", 4, 2)]
    assert drawn(*points, limits=(3.5, 1.5)).count('class="limit"') == 2
    assert drawn(*points, limits=(35, 15)).count('class="limit"') == 0


def test_a_limit_does_not_run_through_what_is_written_at_a_line_of_the_grid() -> None:
    points = [point("1", 3, 1), point("2", 4, 2)]
    written = re.findall(r'class="tick" x="0(?:\.0)?" y="([\d.]+)">([\d.]+)<', drawn(*points))
    base, text = next((float(y), text) for y, text in written if text not in ("0", "1", "2"))
    begins = {}
    for limit in (float(text) + 0.01, float(text) - 0.02):
        (at,) = re.findall(r'class="limit" d="M([\d.]+) ([\d.]+)H', drawn(*points, limits=(None, limit)))
        begins[limit > float(text)] = at
    assert base - 11 < float(begins[True][1]) < base + 3
    assert float(begins[True][0]) > 20
    assert float(begins[False][0]) == 8


def test_every_mark_is_told_and_can_be_reached_and_crowded_numbers_do_not_cover_each_other() -> None:
    chart = drawn(*(point(str(number), 1 + number / 1000, 1 + number / 1000) for number in range(30)))
    assert chart.count('aria-label="file') == chart.count('href="#file-') == 30
    spots = [spot for _, spot in tags(chart)]
    assert 1 <= len(spots) < 30
    assert all(abs(a[0] - b[0]) > 7 or abs(a[1] - b[1]) > 9 for i, a in enumerate(spots) for b in spots[:i])


def test_marks_that_cover_each_other_share_one_tag_that_names_them_all() -> None:
    chart = drawn(point("1", 1, 5, "chosen"), point("2", 5, 2), point("4", 5.01, 2), point("3", 5, 2, "dominated"))
    assert sorted(text for text, _ in tags(chart)) == ["1", "2, 3, 4"]
    crowd = drawn(*(point(str(number), 1 + number / 1000, 1) for number in range(1, 10)), point("10", 2, 2))
    assert sorted(text for text, _ in tags(crowd)) == ["1, 2, 3, 4, 5 +4", "10"]


def test_a_wide_interval_does_not_press_the_marks_together() -> None:
    wide = [point("1", 1, 0.90, "chosen"), point("2", 2, 0.86)]  # .2 of interval, .04 apart
    at = places(drawn(*wide))
    assert abs(at["1"][1] - at["2"][1]) > 60
    near = [point("1", 1, 0.9000, "chosen"), point("2", 2, 0.8999)]  # far less than what can be told
    at = places(drawn(*near))
    assert abs(at["1"][1] - at["2"][1]) < 2


def test_only_the_baseline_and_the_best_are_drawn_with_their_intervals() -> None:
    chart = drawn(
        point("", 5, 1, "baseline"), point("1", 1, 1, "chosen"), point("2", 2, 1), point("3", 3, 1, "dominated")
    )
    assert chart.count('class="range"') == 2
    assert chart.count('class="halo"') == 1
