"""Numbers as people read them. Sizes in 10^6 bytes, times in milliseconds, changes of a metric in points.

Plain ASCII, so that any terminal shows them; the page replaces `x` and `-` where it sets type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeglm.report.types import Drop, Metric

MISSING = "-"
_ACRONYMS = {"rmse", "mae", "auc", "roc", "iou", "map", "f1", "r2"}
_SHARES = ("accuracy", "recall", "precision", "f1", "top", "iou", "map", "rate")
_UNITS = ("s", "ms", "us", "bytes", "samples")  # the last word of a metric's name: `lead_time_s`
_NO_UNIT_AFTER = ("of", "per")  # `share_of_samples` counts no samples


def significant(value: float, digits: int = 3) -> str:
    """Return the number with so many significant digits, never in scientific notation below 10^15."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    if rounded and math.floor(math.log10(abs(rounded))) > math.floor(math.log10(abs(value))):
        decimals = max(0, decimals - 1)  # 9.999 -> 10.0, not 10.00
    return f"{rounded:.{min(decimals, 12)}f}"


def format_bytes(count: float | None) -> str:
    """Return `98.5 kB`, `3.41 MB`: powers of ten, as budgets count."""
    if count is None:
        return MISSING
    for limit, unit in ((1e3, "B"), (1e6, "kB"), (1e9, "MB")):
        if abs(count) < limit * 0.9995:
            scaled = count / (limit / 1e3)
            return f"{scaled:.0f} {unit}" if unit == "B" else f"{significant(scaled)} {unit}"
    return f"{significant(count / 1e9)} GB"


def format_count(count: float | None) -> str:
    """Return `77.8 k`, `12.5 M`: parameters, multiply-accumulates."""
    if count is None:
        return MISSING
    for limit, unit in ((1e3, ""), (1e6, " k"), (1e9, " M")):
        if abs(count) < limit * 0.9995:
            return f"{count:.0f}" if not unit else f"{significant(count / (limit / 1e3))}{unit}"
    return f"{significant(count / 1e9)} G"


def format_ms(milliseconds: float | None) -> str:
    """Return `0.149`, `4.21`, `125`, without the unit."""
    return MISSING if milliseconds is None else significant(milliseconds)


def format_ratio(ratio: float | None) -> str:
    """Return `3.71x`, `13.3x`."""
    if ratio is None or not math.isfinite(ratio):
        return MISSING
    return f"{ratio:.2f}x" if abs(ratio) < 9.995 else f"{ratio:.1f}x"


def format_seconds(seconds: float) -> str:
    """Return `0.4 s`, `43 s`, `4 min 12 s`, `1 h 03 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def as_percent(name: str) -> bool:
    """Tell whether a metric of this name is a share of samples, shown in percent."""
    return any(word in _SHARES for word in name.lower().replace("-", "_").split("_"))


def unit_of(name: str) -> str:
    """Return the unit that the name of a metric ends with: `s` of `lead_time_s`; nothing where there is none."""
    *before, last = name.split("_")
    plain = as_percent(name) or not any(word not in ("", "in") for word in before) or before[-1] in _NO_UNIT_AFTER
    return last if last in _UNITS and not plain else ""


def points_unit(name: str) -> str:
    """Return what a change of a metric is counted in: `pt` (hundredths of a share), a unit, or nothing."""
    return "pt" if as_percent(name) else unit_of(name)


def metric_bounds(name: str) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that a metric of this name can have; None: it has no such end."""
    words = name.lower().split("_")
    if as_percent(name) or "auc" in words:
        return 0.0, 1.0
    if "cosine" in words:
        return -1.0, 1.0
    return (None, 1.0) if words == ["r2"] else (None, None)


def within(
    low: float, high: float, bounds: tuple[float | None, float | None], values: Sequence[float]
) -> tuple[float, float]:
    """Return the ends of an axis, cut at the bounds of its metric (there is no AUC of 1.01), but at no value shown."""
    least, most = bounds
    if least is not None:
        low = max(low, min([least, *values]))
    return low, high if most is None else min(high, max([most, *values]))


def metric_title(name: str, *, begins: bool = False) -> str:
    """Return `macro recall`, `RMSE`, `lead time` (of `lead_time_s`); with ``begins`` as the first word of a line."""
    named = name.split("_")
    if unit_of(name):
        named = named[: -2 if named[-2] == "in" else -1]
    text = " ".join(word.upper() if word in _ACRONYMS else word for word in named)
    return text[:1].upper() + text[1:] if begins else text


def format_metric(name: str, value: float | None) -> str:
    """Return `99.4 %`, `90 s` by the unit in the name, or the plain number."""
    if value is None or not math.isfinite(value):
        return MISSING
    if unit := unit_of(name):
        return f"{_short(value, 4)} {unit}"
    return f"{100 * value:.1f} %" if as_percent(name) else significant(value, 4)


def _short(value: float, digits: int) -> str:
    """Return so many significant digits without zeros at the end of a fraction: `90`, `0.5`."""
    text = significant(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_interval(name: str, interval: tuple[float, float]) -> str:
    """Return `98.9 to 99.7 %`."""
    low, high = interval
    if as_percent(name):
        return f"{100 * low:.1f} to {100 * high:.1f} %"
    if unit := unit_of(name):
        return f"{_short(low, 4)} to {_short(high, 4)} {unit}"
    return f"{significant(low, 4)} to {significant(high, 4)}"


def change_of(drop: Drop, metric: Metric) -> tuple[float, tuple[float, float]]:
    """Return the change of the metric and its interval, in the metric's own direction (-0.01: it fell by 0.01)."""
    if not metric.higher_is_better:
        return drop.value, drop.ci95
    return 0.0 - drop.value, (0.0 - drop.ci95[1], 0.0 - drop.ci95[0])


_TINY = 1e-5  # written with its power of ten
_NOTHING = 1e-9  # what float32 outputs differ by when they are the same: a dozen zeros tell nobody anything


def format_points(name: str, change: float, *, unit: bool = True) -> str:
    """Return `-0.4 pt` (points: hundredths of a share), `+1.5 s`, or `+0.0031` for a metric without a unit."""
    counted = f" {points_unit(name)}" if unit and points_unit(name) else ""
    if as_percent(name):
        rounded = round(100 * change, 1)
        return f"{rounded + 0.0:+.1f}{counted}" if rounded else f"0.0{counted}"
    if abs(change) < _NOTHING:
        return f"0{counted}"
    text = significant(change) if abs(change) >= _TINY else _scientific(change)
    text = _short(change, 3) if unit_of(name) else text
    return f"{'+' if change > 0 else ''}{text}{counted}"


def format_limit(name: str, limit: float) -> str:
    """Return what a metric may lose, in its own unit: `1 pt`, `5 s`, or a number."""
    number = f"{round(100 * limit, 6):g}" if as_percent(name) else f"{limit:g}"
    return f"{number} {points_unit(name)}".rstrip()


def lost_text(name: str, lost: float) -> str:
    """Return `0.4 pt worse`, `0.0031 better` of what a metric lost, in its bad direction; `no change` of nothing."""
    text = format_points(name, abs(lost)).lstrip("+")
    shown = any(digit in text for digit in "123456789")
    return f"{text} {direction(name, lost)}" if shown else text if lost else "no change"


def direction(name: str, lost: float) -> str:
    """Return in a word what became of a metric that lost so much, in its bad direction."""
    if lost > 0 and name.endswith("_to_teacher"):  # that of the original may have been far from it
        return "short of the teacher"
    return "worse" if lost > 0 else "better" if lost < 0 else "no change"


def verdict(drop: Drop, metric: Metric) -> str:
    """Return in words what the interval of a drop proves; `no difference seen` where it holds 0."""
    low, high = drop.ci95
    if low <= 0 <= high:
        return "no difference seen" if drop.value or low < high else "no change"
    return direction(metric.name, drop.value)


def _scientific(value: float) -> str:
    """Return `-9.4e-8`."""
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}e{int(power)}"


def drop_text(drop: Drop, metric: Metric) -> tuple[str, str]:
    """Return the change of a metric and its interval, as `-0.4 pt` and `-1.3 to +0.5 pt`."""
    change, (low, high) = change_of(drop, metric)
    ends = f"{format_points(metric.name, low, unit=False)} to {format_points(metric.name, high)}"
    return format_points(metric.name, change), ends
