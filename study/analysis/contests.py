"""Contests: what is separated from what among the curves of one mode at one label count.

Three families of paired comparisons, each with its own Holm correction: every pair of pretrained curves; each of them
against the labels alone; each of them against an untrained encoder. Fifteen methods make 105 pairs, which five draws
seldom separate; whether a method beats the labels alone is asked of fifteen pairs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from study.analysis.statistics import Comparison, Mean, Series, compare


@dataclass(frozen=True)
class Contest:
    """The pretrained curves of one mode at one label count, the best first, with all comparisons of them."""

    mode: str
    fraction: float
    labels: int
    means: tuple[Mean, ...]
    pairs: tuple[Comparison, ...]  # each better minus each worse
    alone: Mapping[Series, Comparison]  # minus the same encoder trained on the labels alone, where that is measured
    untrained: Mapping[Series, Comparison]  # minus the same encoder untrained

    def against(self, series: Series) -> list[Comparison]:
        """The pairs in which a curve stands, on either side."""
        return [pair for pair in self.pairs if series in (pair.first, pair.second)]

    @property
    def better_than_alone(self) -> list[Series]:
        """Curves that are separated from the labels alone and above them, the best first."""
        ordered = [mean.series for mean in self.means if mean.series in self.alone]
        return [s for s in ordered if self.alone[s].separated and self.alone[s].difference.mean > 0]


def hold(
    curves: pd.DataFrame,
    found: Sequence[Mean],
    mode: str,
    place: tuple[float, int],
    alone: Mapping[Series, Series],
    untrained: Mapping[Series, Series],
) -> Contest | None:
    """The contest of `mode` at a fraction and label count; None where no curve of that mode is measured there.

    `alone` and `untrained` give each pretrained curve its baseline: that of the same encoder.
    """
    here = [mean for mean in found if mean.series.mode == mode and (mean.fraction, mean.labels) == place]
    if not here:
        return None
    here.sort(key=lambda mean: (-mean.accuracy.mean, mean.series))
    ordered = [mean.series for mean in here]
    rows = curves[(curves["fraction"] == place[0]) & (curves["labels"] == place[1])]

    def against(baselines: Mapping[Series, Series]) -> dict[Series, Comparison]:
        wanted = [(series, baselines[series]) for series in ordered if series in baselines]
        return {comparison.first: comparison for comparison in compare(rows, wanted)}

    pairs = tuple(compare(rows, combinations(ordered, 2)))
    return Contest(mode, *place, tuple(here), pairs, against(alone), against(untrained))
