"""Savings: the area under a curve, and how many labels one series needs to do what another does with fewer.

Both follow the curves along log(labels). A place with a single draw counts for all draws: with all labels every draw is
the same. Otherwise only draws that are measured at every place count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from study.analysis.statistics import Interval, Series, half_width, t_interval

_STEPS = 200  # between two label counts: bounds are found to half a percent where labels grow threefold

_Reals = NDArray[np.float64]


@dataclass(frozen=True)
class LabelsNeeded:
    """How many labels `second` needs to reach the accuracy that `first` reaches with `labels`.

    Bounds belong to a 95 % interval, of numbers of labels. `needed`, `low` and `high` are None where they lie beyond
    `most`, and are `least` where they lie at or below it: `second` was not measured there.
    """

    first: Series
    labels: int
    accuracy: float  # mean of `first` with `labels`
    second: Series
    needed: float | None
    low: float | None
    high: float | None
    least: int  # fewest labels that `second` was fitted with
    most: int
    n: int  # draws; with one there is no interval, and both bounds are None

    @property
    def saved(self) -> float | None:
        """How many labels `first` spares; negative where it needs more; None where that is not bounded."""
        return None if self.needed is None else self.needed - self.labels

    @property
    def certain(self) -> bool:
        """Whether the interval leaves no doubt that `first` spares labels."""
        return self.n > 1 and (self.low is None or self.low > max(self.labels, self.least))


def areas(curves: pd.DataFrame, series: Sequence[Series]) -> dict[Series, Interval]:
    """Area under test accuracy against log(labels), as a share of the largest possible: 1 is all right everywhere.

    It is the mean height of the curve between the label counts that all of `series` have, so only the areas of one call
    may be compared. The interval is over draws, one area a draw. Series without a common label count, or without a
    draw that has them all, are left out.
    """
    measured = {each: _measured(curves, each) for each in series}
    common = sorted(set.intersection(*(set(places) for places in measured.values()))) if measured else []
    found = {}
    for each in series:
        table = _table({labels: measured[each][labels] for labels in common})
        if table.size:
            found[each] = t_interval(_mean_height(common, table).tolist())
    return found


def labels_needed(curves: pd.DataFrame, first: Series, second: Series, labels: int) -> LabelsNeeded | None:
    """What `second` needs to equal `first` with `labels`; None where one of them is not measured.

    The curve of `second` is the isotonic regression of its means: more labels do not hurt. `needed` is where it reaches
    the mean of `first`, linear in log(labels) between two counts. The interval holds the counts at which the paired
    t-test over draws does not tell the two apart (Fieller's way to an interval of a ratio, 1954): each draw follows the
    curve with its own deviation, so what the draws share is taken out. A bootstrap over five draws is too narrow.
    """
    target, reference = _measured(curves, first).get(labels), _measured(curves, second)
    if not target or not reference:
        return None
    counts = sorted(reference)
    table = _table({0: target} | {count: reference[count] for count in counts})  # (D, 1 + P)
    if not table.size:
        return None
    goal, heights = table[:, :1], table[:, 1:]
    rising = isotonic_regression(heights.mean(0)).x
    steps = np.geomspace(counts[0], counts[-1], _STEPS * len(counts))
    grid = np.unique(np.concatenate([steps, np.array(counts)]))  # (G,), in labels
    heights = heights - heights.mean(0) + rising
    along = np.stack([np.interp(np.log(grid), np.log(counts), row) for row in heights])  # (D, G)
    accuracy, n = float(goal.mean()), len(table)
    difference = along - goal
    mean, half = difference.mean(0), half_width(difference)
    low = high = None
    if n > 1:
        low = _first(grid, mean + half >= 0)  # fewer labels are surely too few
        high = _first(grid, np.minimum.accumulate((mean - half > 0)[::-1])[::-1])  # from here on, surely too many
    return LabelsNeeded(
        first, labels, accuracy, second, _reached(counts, rising, accuracy), low, high, counts[0], counts[-1], n
    )


def _measured(curves: pd.DataFrame, series: Series) -> dict[int, dict[int, float]]:
    """Test accuracy by labels, then by draw."""
    rows = curves[(curves["split"] == "test") & (curves["study"] == series.study)]
    rows = rows[(rows["method"] == series.method) & (rows["mode"] == series.mode)]
    found: dict[int, dict[int, float]] = {}
    for labels, draw, accuracy in rows[["labels", "draw", "accuracy"]].itertuples(index=False):
        found.setdefault(int(labels), {})[int(draw)] = float(accuracy)
    return found


def _table(places: dict[int, dict[int, float]]) -> _Reals:
    """Accuracy by draw and place, (D, P): the draws that all places have, where they have more than one."""
    several = [set(draws) for draws in places.values() if len(draws) > 1]
    if not places or not several:
        return np.array([[next(iter(draws.values())) for draws in places.values()]] if places else [])
    common = sorted(set.intersection(*several))
    rows = [[draws[d] if len(draws) > 1 else next(iter(draws.values())) for draws in places.values()] for d in common]
    return np.array(rows)


def _mean_height(counts: Sequence[int], table: _Reals) -> _Reals:
    """Mean height of each row of (D, P) over log(labels): its area by trapezoids, by the width of all."""
    if len(counts) == 1:
        return table[:, 0]
    x = np.log(counts)
    height: _Reals = np.trapezoid(table, x, axis=1) / (x[-1] - x[0])
    return height


def _reached(counts: Sequence[int], rising: _Reals, accuracy: float) -> float | None:
    """The fewest labels with which a rising curve reaches an accuracy."""
    if rising[-1] < accuracy:
        return None
    after = int(np.argmax(rising >= accuracy))
    if after == 0:
        return float(counts[0])
    share = (accuracy - rising[after - 1]) / (rising[after] - rising[after - 1])
    return float(counts[after - 1] * (counts[after] / counts[after - 1]) ** share)


def _first(grid: _Reals, holds: NDArray[np.bool_]) -> float | None:
    """The first number of labels at which something holds."""
    return float(grid[int(np.argmax(holds))]) if holds.any() else None
