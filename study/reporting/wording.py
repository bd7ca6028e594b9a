"""Wording: figures as people read them."""

from __future__ import annotations

from study.analysis.savings import LabelsNeeded
from study.analysis.statistics import Comparison, Interval


def percent(value: float, digits: int = 1) -> str:
    """A fraction as `68.1 %`."""
    return f"{100 * value:.{digits}f} %"


def bounds(interval: Interval) -> str:
    """Both bounds in percent, `[66.0, 70.2]`; what one draw leaves is `[no interval]`."""
    if interval.low is None or interval.high is None:
        return "[no interval]"
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]".replace("-", "−")


def accuracy(interval: Interval) -> str:
    """A mean accuracy with its interval, `68.1 % [66.0, 70.2]`."""
    return f"{percent(interval.mean)} {bounds(interval)}"


def points(interval: Interval) -> str:
    """A difference of accuracies with its interval, `+23.9 points [20.1, 27.7]`."""
    return f"{100 * interval.mean:+.1f} points {bounds(interval)}".replace("-", "−")


def verdict(comparison: Comparison) -> str:
    """`separated (p = 0.004)`, `not separated (p = 0.3)` or why there is no test."""
    if comparison.p is None:
        return "not separated (one draw)" if comparison.difference.n == 1 else "not separated (draws do not vary)"
    p = "p < 0.0001" if comparison.p < 1e-4 else f"p = {comparison.p:.2g}"
    return f"{'separated' if comparison.separated else 'not separated'} ({p})"


def equals(needed: LabelsNeeded, first: str, second: str) -> str:
    """`rotnet frozen with 63 labels equals supervised with 171 [130, 240]`; what no fit has reached is `more than`."""
    return f"{first} with {needed.labels:,} labels equals {second} with {label_count(needed)}"


def label_count(needed: LabelsNeeded) -> str:
    """`171 [130, 240]`, the labels that are needed."""
    said = _labels(needed.needed, needed)
    if needed.n == 1:
        return f"{said} [no interval]"
    if needed.low is None:  # both bounds lie beyond the curve
        return f"{said}, by the whole interval"
    return f"{said} [{_labels(needed.low, needed)}, {_labels(needed.high, needed)}]"


def _labels(count: float | None, needed: LabelsNeeded) -> str:
    if count is None:
        return f"more than {needed.most:,}"
    return f"{needed.least:,} or fewer" if count <= needed.least else f"{round(count):,}"


def duration(seconds: float) -> str:
    """A time in its two largest units, `1 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(i for i, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def number(value: object) -> str:
    """A setting's value: four significant digits for a real number, all of anything else."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
