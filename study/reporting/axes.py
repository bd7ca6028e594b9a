"""Axes: round values on the axis of a searched setting, and where a trial stands on it."""

from __future__ import annotations

import math

from methods.space import Among, Between
from study.analysis.settings import Setting
from study.records import Trial

_GOLDEN = 0.618034  # its multiples, without their whole part, never crowd


def axis_values(setting: Setting) -> list[tuple[float, str]]:
    """Places in [0, 1] of a setting's range and what is written there: choices, powers of ten, or round steps."""
    if isinstance(setting.range, Among):
        return [(setting.place(choice), str(choice)) for choice in setting.range.choices]
    values = _powers(setting.range) if setting.range.log else _steps(setting.range)
    if len(values) < 2:
        values = [setting.range.low, setting.range.high] if setting.range.high > setting.range.low else values
    return [(setting.place(value), f"{value:.3g}") for value in values or [setting.range.low]]


def axis_title(setting: Setting) -> str:
    """A setting's name, and that its axis is logarithmic where it is."""
    return f"{setting.name} (log scale)" if isinstance(setting.range, Between) and setting.range.log else setting.name


def place_apart(setting: Setting, trial: Trial) -> float:
    """A trial's place on the axis, in [0, 1]: those of one choice stand side by side instead of on each other."""
    place = setting.place(trial.params[setting.name])
    if isinstance(setting.range, Among):
        place += (trial.number * _GOLDEN % 1 - 0.5) * 0.6 / len(setting.range.choices)
    return place


def _powers(range_: Between) -> list[float]:
    first, last = math.ceil(math.log10(range_.low) - 1e-9), math.floor(math.log10(range_.high) + 1e-9)
    values = [10.0**power for power in range(first, last + 1)]
    return values if len(values) > 1 else [v for v in _ones_twos_fives(first) if range_.low <= v <= range_.high]


def _ones_twos_fives(power: int) -> list[float]:
    return [float(f"{factor}e{power + less}") for less in (-1, 0, 1) for factor in (1, 2, 5)]


def _steps(range_: Between) -> list[float]:
    wide = range_.high - range_.low
    if not wide > 0:
        return []
    power = math.floor(math.log10(wide))
    step = next(
        s for s in (float(f"{f}e{p}") for p in (power - 1, power, power + 1) for f in (1, 2, 5)) if wide / s < 5
    )
    first, last = math.ceil(range_.low / step - 1e-9), math.floor(range_.high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
