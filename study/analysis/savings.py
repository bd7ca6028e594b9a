"""Savings: the area under a curve, and how many labels one series needs to do what another does with fewer.

Both follow the curves along log(labels), over the draws and repeats that are measured at every label count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from study.analysis.crossed import Grid, Reals, half_width, parts, same_draws
from study.analysis.statistics import Interval, Series, grids, interval

_STEPS = 200  # between two label counts: bounds are found to half a percent where labels grow threefold


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
    may be compared. The interval is over draws and repeats, one area each. Series without a common label count, or
    without a draw that has them all, are left out.
    """
    measured = _by_labels(curves)
    counts = sorted(set.intersection(*(set(measured.get(each, {})) for each in series))) if series else []
    found = {}
    for each in series if counts else ():
        table = _stack(same_draws([measured[each][labels] for labels in counts]))
        if table.size:
            found[each] = interval(_mean_height(counts, table))
    return found


def labels_needed(curves: pd.DataFrame, first: Series, second: Series, labels: int) -> LabelsNeeded | None:
    """What `second` needs to equal `first` with `labels`; None where one of them is not measured.

    The curve of `second` is the isotonic regression of its means: more labels do not hurt. `needed` is where it reaches
    the mean of `first`, linear in log(labels) between two counts. The interval holds the counts at which the paired
    t-test does not tell the two apart (Fieller's way to an interval of a ratio, 1954): each draw follows the curve with
    its own deviation, so what the draws share is taken out. A bootstrap over five draws is too narrow.
    """
    measured = _by_labels(curves)
    ours, theirs = measured.get(first, {}), measured.get(second, {})
    if labels not in ours or not theirs:
        return None
    counts = sorted(theirs)
    given, *heights = same_draws([ours[labels], *(theirs[count] for count in counts)])
    goal, reference = given.accuracy, _stack(heights)  # (R, D), (S, D, P)
    if not reference.size:
        return None
    rising = isotonic_regression(reference.mean((0, 1))).x
    steps = np.geomspace(counts[0], counts[-1], _STEPS * len(counts))
    along = np.unique(np.concatenate([steps, np.array(counts)]))  # (L,), in labels
    risen = reference - reference.mean((0, 1)) + rising
    curve = np.apply_along_axis(lambda row: np.interp(np.log(along), np.log(counts), row), 2, risen)  # (S, D, L)
    difference = curve.mean((0, 1)) - goal.mean()
    n = goal.shape[1]
    low = high = None
    if n > 1:
        half = half_width(parts(curve, goal[:, :, None]))
        low = _first(along, difference + half >= 0)  # fewer labels are surely too few
        high = _first(along, np.minimum.accumulate((difference - half > 0)[::-1])[::-1])  # from here on, too many
    accuracy = float(goal.mean())
    reached = _reached(counts, rising, accuracy)
    return LabelsNeeded(first, labels, accuracy, second, reached, low, high, counts[0], counts[-1], n)


def _by_labels(curves: pd.DataFrame) -> dict[Series, dict[int, Grid]]:
    return {s: {labels: each for (_, labels), each in places.items()} for s, places in grids(curves).items()}


def _stack(places: Sequence[Grid]) -> Reals:
    """Accuracy by repeat, draw and place, (R, D, P), of places with the same draws; of the repeats that all have."""
    common = sorted(set.intersection(*(set(each.repeats) for each in places)))
    return np.stack([each.accuracy[[each.repeats.index(r) for r in common]] for each in places], axis=2)


def _mean_height(counts: Sequence[int], table: Reals) -> Reals:
    """Mean height of (..., P) over log(labels), (...): the area by trapezoids, divided by its width."""
    if len(counts) == 1:
        return table[..., 0]
    x = np.log(counts)
    height: Reals = np.trapezoid(table, x, axis=-1) / (x[-1] - x[0])
    return height


def _reached(counts: Sequence[int], rising: Reals, accuracy: float) -> float | None:
    """The fewest labels with which a rising curve reaches an accuracy."""
    if rising[-1] < accuracy:
        return None
    after = int(np.argmax(rising >= accuracy))
    if after == 0:
        return float(counts[0])
    share = (accuracy - rising[after - 1]) / (rising[after] - rising[after - 1])
    return float(counts[after - 1] * (counts[after] / counts[after - 1]) ** share)


def _first(grid: Reals, holds: NDArray[np.bool_]) -> float | None:
    """The first number of labels at which something holds."""
    return float(grid[int(np.argmax(holds))]) if holds.any() else None
