from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeglm.report.figures import (
    change_of,
    format_bytes,
    format_count,
    format_interval,
    format_limit,
    format_metric,
    format_ms,
    format_points,
    format_ratio,
    format_seconds,
    lost_text,
    metric_title,
    significant,
)
from edgeglm.report.types import Drop, Metric


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.149, "0.149"), (4.216, "4.22"), (9.996, "10.0"), (999.6, "1000"), (125.4, "125"),
        (-0.0041, "-0.00410"), (math.inf, "-"), (math.nan, "-"),
    ],
)  # fmt: skip
def test_numbers_keep_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_three_significant_digits_are_within_half_a_percent(value: float) -> None:
    assert float(significant(value)) == pytest.approx(value, rel=0.005001)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (98_496, "98.5 kB"), (999_600, "1.00 MB"),
        (3_436_112, "3.44 MB"), (25_201_000_000, "25.2 GB"),
    ],
)  # fmt: skip
def test_sizes_count_in_powers_of_ten(count: int | None, text: str) -> None:
    assert format_bytes(count) == text


def test_counts_times_and_ratios_read_as_people_write_them() -> None:
    assert [format_count(n) for n in (None, 12, 77_850, 125_485_696, 4e9)] == ["-", "12", "77.8 k", "125 M", "4.00 G"]
    assert [format_ms(x) for x in (None, 0.0, 4.216)] == ["-", "0", "4.22"]
    assert [format_ratio(x) for x in (None, math.inf, 3.708, 9.996, 13.314)] == ["-", "-", "3.71x", "10.0x", "13.3x"]
    assert [format_seconds(x) for x in (0.44, 43, 252, 3790)] == ["0.4 s", "43 s", "4 min 12 s", "1 h 03 min"]


def test_shares_are_percent_and_other_metrics_plain_numbers() -> None:
    assert format_metric("accuracy", 0.9937) == "99.4 %"
    assert format_metric("top_5", 0.998) == "99.8 %"
    assert format_metric("macro_recall", 0.5) == "50.0 %"
    assert format_metric("calibration_error", 0.0213) == "0.02130"
    assert format_metric("rmse", 12.3456) == "12.35"
    assert format_metric("accuracy", None) == format_metric("accuracy", math.nan) == "-"
    assert format_interval("accuracy", (0.989, 0.997)) == "98.9 to 99.7 %"
    assert format_interval("rmse", (1.0, 2.0)) == "1.000 to 2.000"


def test_changes_carry_their_sign_and_zero_has_none() -> None:
    assert format_points("accuracy", -0.004) == "-0.4 pt"
    assert format_points("accuracy", 0.004) == "+0.4 pt"
    assert format_points("accuracy", -0.0001) == "0.0 pt"
    assert format_points("accuracy", 0.004, unit=False) == "+0.4"
    assert format_points("rmse", 0.0031) == "+0.00310"
    assert format_points("rmse", -0.5) == "-0.500"


def test_a_unit_in_the_name_of_a_metric_stands_behind_its_number() -> None:
    assert (metric_title("lead_time_s"), format_metric("lead_time_s", 90.0)) == ("lead time", "90 s")
    assert (metric_title("delay_in_ms"), format_metric("delay_in_ms", 0.25)) == ("delay", "0.25 ms")
    assert format_metric("detection_delay_samples", 1234.5) == "1234 samples"
    assert format_points("lead_time_s", -12.5) == "-12.5 s"
    assert format_interval("lead_time_s", (80.0, 95.5)) == "80 to 95.5 s"
    assert format_limit("lead_time_s", 5.0) == "5 s"
    for plain in ("s", "in_s", "share_of_samples", "rate_s"):  # no unit: a name, a share, a share
        assert metric_title(plain) == plain.replace("_", " ")
    assert format_metric("share_of_samples", 0.5) == "0.5000"


def test_what_a_metric_lost_is_called_worse_whichever_way_it_counts() -> None:
    assert lost_text("accuracy", 0.004) == "0.4 pt worse"
    assert lost_text("rmse", -0.02) == "0.0200 better"
    assert lost_text("accuracy", 0.0) == "no change"
    assert lost_text("accuracy", 1e-5) == "0.0 pt"  # neither word for what does not show


@pytest.mark.parametrize(("higher", "change", "interval"), [(True, -0.1, (-0.3, 0.2)), (False, 0.1, (-0.2, 0.3))])
def test_a_drop_is_a_change_in_the_metrics_own_direction(
    higher: bool, change: float, interval: tuple[float, float]
) -> None:
    metric = Metric(name="m", value=0.5, n=10, ci95=(0.4, 0.6), higher_is_better=higher)
    drop = Drop(value=0.1, ci95=(-0.2, 0.3), n=10, worse=2, better=1)
    assert change_of(drop, metric) == (change, interval)


def test_a_change_that_is_rounding_is_none() -> None:
    assert format_points("cosine_to_original", 4e-13) == format_points("cosine_to_original", -4e-13) == "0"
    assert format_points("rmse", 4e-6) == "+4.0e-6"
