"""Statistics over the curves: intervals over draws, paired comparisons, and when two curves are separated.

What varies between draws is which images are labelled and the seed of the fit. The test images, the pretraining's seed
and the search are the same in all draws, so no interval here speaks about them. The correction is Holm's, "A simple
sequentially rejective multiple test procedure" (1979).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

CONFIDENCE = 0.95
_KEYS = ["study", "dataset", "method", "mode", "fraction", "labels"]
_NO_SPREAD = 1e-12  # accuracies are fractions: below this, differences between draws are rounding


@dataclass(frozen=True)
class Interval:
    """A mean with its t-interval; one draw has none."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, order=True)
class Series:
    """One curve: whose it is and how it was fitted."""

    study: str
    method: str
    mode: str


_Draws = dict[Series, dict[tuple[float, int], dict[int, float]]]  # by fraction and labels, then by draw: accuracy


@dataclass(frozen=True)
class Mean:
    """One point of a curve: test accuracy over the draws."""

    series: Series
    dataset: str
    fraction: float
    labels: int
    accuracy: Interval


@dataclass(frozen=True)
class Comparison:
    """Two series at one label count: `first` minus `second` over the draws that both have."""

    first: Series
    second: Series
    fraction: float
    labels: int
    difference: Interval
    p: float | None  # two-sided, Holm-corrected; None without two draws or without any spread between them

    @property
    def separated(self) -> bool:
        """Whether the difference is more than the draws explain."""
        return self.p is not None and self.p < 1 - CONFIDENCE


def t_interval(values: Sequence[float]) -> Interval:
    """The mean and its two-sided 95 % t-interval."""
    n = len(values)
    assert n > 0, "a mean needs a value"
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, None, None, n)
    half = float(half_width(np.asarray(values)))
    return Interval(mean, mean - half, mean + half, n)


def half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the 95 % t-interval of the mean over the first axis, (n, ...) to (...); NaN for one value."""
    n = len(values)
    if n == 1:
        return np.full(values.shape[1:], np.nan)
    half: NDArray[np.float64] = student.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, axis=0, ddof=1) / math.sqrt(n)
    return half


def means(curves: pd.DataFrame) -> list[Mean]:
    """Mean test accuracy of every series at every label count, by label count within a series.

    `curves` has the columns of curves.parquet, of one study or of several.
    """
    found = []
    for _, group in curves[curves["split"] == "test"].groupby(_KEYS, sort=True):
        row = group.iloc[0]
        series = Series(row["study"], row["method"], row["mode"])
        accuracy = t_interval(group["accuracy"].tolist())
        found.append(Mean(series, row["dataset"], float(row["fraction"]), int(row["labels"]), accuracy))
    return found


def summarise(curves: pd.DataFrame) -> pd.DataFrame:
    """The means as a table: study, dataset, method, mode, fraction, labels, mean, low, high, n."""
    rows = [
        (m.series.study, m.dataset, m.series.method, m.series.mode, m.fraction, m.labels, *astuple(m.accuracy))
        for m in means(curves)
    ]
    frame = pd.DataFrame(rows, columns=[*_KEYS, "mean", "low", "high", "n"])
    return frame.astype({"mean": float, "low": float, "high": float, "n": int})


def compare(curves: pd.DataFrame, pairs: Iterable[tuple[Series, Series]]) -> list[Comparison]:
    """Paired differences of test accuracy at every label count that both have; all of the result is one Holm family.

    Only series over the same data and seed may be paired: there, a draw is the same labels for both.
    """
    draws = _draws(curves)
    found = [comparison for first, second in pairs for comparison in _pair(draws, first, second)]
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


def _pair(draws: _Draws, first: Series, second: Series) -> list[Comparison]:
    comparisons = []
    for place in sorted(draws[first].keys() & draws[second].keys()):
        a, b = draws[first][place], draws[second][place]
        if both := sorted(a.keys() & b.keys()):
            differences = [a[draw] - b[draw] for draw in both]
            comparisons.append(Comparison(first, second, *place, t_interval(differences), _p_value(differences)))
    return comparisons


def _draws(curves: pd.DataFrame) -> _Draws:
    draws: _Draws = defaultdict(lambda: defaultdict(dict))
    test = curves[curves["split"] == "test"]
    for row in test[["study", "method", "mode", "fraction", "labels", "draw", "accuracy"]].itertuples(index=False):
        study, method, mode, fraction, labels, draw, accuracy = row
        draws[Series(study, method, mode)][fraction, labels][draw] = accuracy
    return draws


def _p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test that the mean difference is zero, uncorrected."""
    n = len(differences)
    if n < 2 or (spread := float(np.std(differences, ddof=1))) < _NO_SPREAD:
        return None
    return 2 * float(student.sf(abs(float(np.mean(differences))) * math.sqrt(n) / spread, n - 1))
