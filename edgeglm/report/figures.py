"""Numbers as people read them. Sizes in 10^6 bytes, times in milliseconds, changes of a metric in points.

Plain ASCII, so that any terminal shows them; the page replaces `x` and `-` where it sets type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeglm.report.types import Drop, Metric

MISSING = "-"
_ACRONYMS = {"rmse", "mae", "auc", "roc", "iou", "map", "f1", "r2"}
_SHARES = ("accuracy", "recall", "precision", "f1", "top", "iou", "map", "rate")


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


def metric_title(name: str, *, begins: bool = False) -> str:
    """Return `macro recall`, `RMSE` for the name of a metric; with ``begins`` as the first word of a line."""
    words = [word.upper() if word in _ACRONYMS else word for word in name.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:] if begins else text


def format_metric(name: str, value: float | None) -> str:
    """Return `99.4 %`, or the plain number for a metric that is no share."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f} %" if as_percent(name) else significant(value, 4)


def format_interval(name: str, interval: tuple[float, float]) -> str:
    """Return `98.9 to 99.7 %`."""
    low, high = interval
    if as_percent(name):
        return f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"{significant(low, 4)} to {significant(high, 4)}"


def change_of(drop: Drop, metric: Metric) -> tuple[float, tuple[float, float]]:
    """Return the change of the metric and its interval, in the metric's own direction (-0.01: it fell by 0.01)."""
    if not metric.higher_is_better:
        return drop.value, drop.ci95
    return 0.0 - drop.value, (0.0 - drop.ci95[1], 0.0 - drop.ci95[0])


_TINY = 1e-5  # written with its power of ten
_NOTHING = 1e-9  # what float32 outputs differ by when they are the same: a dozen zeros tell nobody anything


def format_points(name: str, change: float, *, unit: bool = True) -> str:
    """Return `-0.4 pt` (points: hundredths of a share), or `+0.0031` for a metric that is no share."""
    if as_percent(name):
        rounded = round(100 * change, 1)
        return f"{rounded + 0.0:+.1f}{' pt' if unit else ''}" if rounded else f"0.0{' pt' if unit else ''}"
    if abs(change) < _NOTHING:
        return "0"
    text = significant(change) if abs(change) >= _TINY else _scientific(change)
    return f"+{text}" if change > 0 else text


def _scientific(value: float) -> str:
    """Return `-9.4e-8`."""
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}e{int(power)}"


def drop_text(drop: Drop, metric: Metric) -> tuple[str, str]:
    """Return the change of a metric and its interval, as `-0.4 pt` and `-1.3 to +0.5 pt`."""
    change, (low, high) = change_of(drop, metric)
    ends = f"{format_points(metric.name, low, unit=False)} to {format_points(metric.name, high)}"
    return format_points(metric.name, change), ends
