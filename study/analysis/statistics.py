"""Statistics over the curves: intervals over draws and repeats, paired comparisons, and when two curves are separated.

What varies between draws is which images are labelled and the seed of the fit. What varies between repeats is the seed
of the pretraining; with one repeat no interval speaks about it. The test images and the search are the same in all. The
correction is Holm's, "A simple sequentially rejective multiple test procedure" (1979).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd

from study.analysis.crossed import CONFIDENCE, Grid, Reals, grid, half_width, p_value, parts, same_draws

_KEYS = ["study", "dataset", "method", "mode", "fraction", "labels"]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % t-interval; one draw has none, unless it is all there is and repeats vary it."""

    mean: float
    low: float | None
    high: float | None
    n: int  # draws
    repeats: int = 1


@dataclass(frozen=True, order=True)
class Series:
    """One curve: whose it is and how it was fitted."""

    study: str
    method: str
    mode: str


_Grids = dict[Series, dict[tuple[float, int], Grid]]  # by fraction and labels


@dataclass(frozen=True)
class Mean:
    """One point of a curve: test accuracy over the draws and repeats."""

    series: Series
    dataset: str
    fraction: float
    labels: int
    accuracy: Interval


@dataclass(frozen=True)
class Comparison:
    """Two series at one label count: `first` minus `second` over the draws that both have, and the repeats of each."""

    first: Series
    second: Series
    fraction: float
    labels: int
    difference: Interval
    p: float | None  # two-sided, Holm-corrected; None where nothing was measured twice, or does not vary

    @property
    def separated(self) -> bool:
        """Whether the difference is more than the draws explain."""
        return self.p is not None and self.p < 1 - CONFIDENCE


def t_interval(values: Sequence[float]) -> Interval:
    """The mean of some draws and its two-sided 95 % t-interval."""
    assert values, "a mean needs a value"
    return interval(np.array([values]))


def interval(first: Reals, second: Reals | None = None, *, all_labels: bool = False) -> Interval:
    """The mean of repeats x draws (R, D) and its 95 % t-interval; or that of its difference to others (S, D)."""
    mean = float(first.mean() if second is None else first.mean() - second.mean())
    repeats = max(len(first), 1 if second is None else len(second))
    if not (found := parts(first, second, all_labels=all_labels)):
        return Interval(mean, None, None, first.shape[1], repeats)
    half = float(half_width(found))
    return Interval(mean, mean - half, mean + half, first.shape[1], repeats)


def means(curves: pd.DataFrame) -> list[Mean]:
    """Mean test accuracy of every series at every label count, by label count within a series.

    `curves` has the columns of curves.parquet, of one study or of several.
    """
    found = []
    for _, group in curves[curves["split"] == "test"].groupby(_KEYS, sort=True):
        row = group.iloc[0]
        fraction, labels = float(row["fraction"]), int(row["labels"])
        series = Series(row["study"], row["method"], row["mode"])
        measured = grids(group)[series][fraction, labels]
        accuracy = interval(measured.accuracy, all_labels=measured.all_labels)
        found.append(Mean(series, row["dataset"], fraction, labels, accuracy))
    return found


def summarise(curves: pd.DataFrame) -> pd.DataFrame:
    """The means as a table: study, dataset, method, mode, fraction, labels, mean, low, high, n, repeats."""
    rows = [
        (m.series.study, m.dataset, m.series.method, m.series.mode, m.fraction, m.labels, *astuple(m.accuracy))
        for m in means(curves)
    ]
    frame = pd.DataFrame(rows, columns=[*_KEYS, "mean", "low", "high", "n", "repeats"])
    return frame.astype({"mean": float, "low": float, "high": float, "n": int, "repeats": int})


def compare(curves: pd.DataFrame, pairs: Iterable[tuple[Series, Series]]) -> list[Comparison]:
    """Paired differences of test accuracy at every label count that both have; all of the result is one Holm family.

    Only series over the same data and seed may be paired: there, a draw is the same labels for both.
    """
    measured = grids(curves)
    found = [comparison for first, second in pairs for comparison in _pair(measured, first, second)]
    corrected = holm([comparison.p for comparison in found])
    return [replace(comparison, p=p) for comparison, p in zip(found, corrected, strict=True)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction, in the order given. None stays None and counts as no test."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tests):
        largest = max(largest, min(1.0, p * (len(tests) - rank)))
        corrected[place] = largest
    return corrected


def grids(curves: pd.DataFrame) -> _Grids:
    """Test accuracy by repeat and draw, of every series at every fraction and label count."""
    cells: dict[Series, dict[tuple[float, int], dict[tuple[int, int], float]]] = defaultdict(lambda: defaultdict(dict))
    columns = ["study", "method", "mode", "fraction", "labels", "repeat", "draw", "accuracy"]
    for row in curves.loc[curves["split"] == "test", columns].itertuples(index=False):
        study, method, mode, fraction, labels, repeat, draw, accuracy = row
        cells[Series(study, method, mode)][float(fraction), int(labels)][int(repeat), int(draw)] = accuracy
    return {
        series: {place: grid(found, all_labels=place[0] == 1) for place, found in places.items()}
        for series, places in cells.items()
    }


def _pair(measured: _Grids, first: Series, second: Series) -> list[Comparison]:
    comparisons = []
    ours, theirs = measured.get(first, {}), measured.get(second, {})
    for place in sorted(ours.keys() & theirs.keys()):
        a, b = same_draws([ours[place], theirs[place]])
        if a.draws:
            difference = interval(a.accuracy, b.accuracy, all_labels=a.all_labels)
            p = p_value(difference.mean, parts(a.accuracy, b.accuracy, all_labels=a.all_labels))
            comparisons.append(Comparison(first, second, *place, difference, p))
    return comparisons
