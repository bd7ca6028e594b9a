"""Compared: the curves of studies that share an axis, and all that the report over them is made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from study.analysis.contests import Contest, hold
from study.analysis.savings import areas
from study.analysis.statistics import Interval, Mean, Series, means
from study.reporting.plots import MODES, RANDOM, SUPERVISED
from study.reporting.side_by_side import Group, StudyResults
from study.storage.tables import curves_frame

BASELINES = {"supervised": SUPERVISED, "random": RANDOM}

Place = tuple[float, int]  # fraction and labels
Network = tuple[str, str | None]  # an encoder, and the stage at which it is read


@dataclass(frozen=True)
class Compared:
    """The curves of one group. Everything is by series; pretrained ones are those of a mode that is no baseline."""

    group: Group
    curves: pd.DataFrame  # as curves.parquet; a baseline that several studies hold is here once
    accuracy: Mapping[tuple[Series, Place], Interval]
    names: Mapping[Series, str]  # a short name each: the method or the baseline
    places: tuple[Place, ...]
    central: Place  # what the report asks about first
    contests: Mapping[tuple[str, Place], Contest]
    areas: Mapping[Series, Interval]
    alone: Mapping[Series, Series]  # each pretrained curve's baseline: its encoder trained on the labels alone
    untrained: Mapping[Series, Series]

    @property
    def modes(self) -> list[str]:
        """The modes of pretrained curves, in the order of every report."""
        return [mode for mode in MODES if any(contest_mode == mode for contest_mode, _ in self.contests)]

    def ranked(self, mode: str) -> list[Series]:
        """The pretrained curves of a mode and the baselines, the largest area first; those without one at the end."""
        shown = [series for series in self.names if series.mode == mode or series.mode in BASELINES]
        return sorted(shown, key=self.order)

    def order(self, series: Series) -> tuple[float, Series]:
        """What sorts curves by area, the largest first."""
        return (-self.areas[series].mean if series in self.areas else 0.0, series)

    def study(self, series: Series) -> StudyResults:
        """The study that holds a curve."""
        return next(result for result in self.group.results if result.study.name == series.study)

    def full(self, series: Series) -> str:
        """A name that says the mode too."""
        return self.names[series] if series.mode in BASELINES else f"{self.names[series]} {series.mode}"

    def points(self, series: Series) -> tuple[Mean, ...]:
        """A curve's means, by label count."""
        dataset = self.group.first.dataset
        return tuple(
            Mean(series, dataset, *place, self.accuracy[series, place])
            for place in self.places
            if (series, place) in self.accuracy
        )


def compared(group: Group, labels: int | None = None) -> Compared | None:
    """What there is to say about a group; None where no curve is measured yet.

    `labels` is the label count to ask about first: the nearest that is measured; None takes that of the search.
    """
    networks = {result.study.name: (result.study.encoder, result.study.tap) for result in group.results}
    curves = pd.concat([curves_frame(result.study, result.fits) for result in group.results], ignore_index=True)
    curves = _with_one_baseline(curves, networks)
    found = means(curves)
    if not found:
        return None
    places = sorted({(mean.fraction, mean.labels) for mean in found})
    series = sorted({mean.series for mean in found})
    alone, untrained = (_same_network(series, mode, networks) for mode in BASELINES)
    contests = {}
    for mode in sorted({each.mode for each in series} - BASELINES.keys()):
        for place in places:
            if (contest := hold(curves, found, mode, place, alone, untrained)) is not None:
                contests[mode, place] = contest
    return Compared(
        group=group,
        curves=curves,
        accuracy={(mean.series, (mean.fraction, mean.labels)): mean.accuracy for mean in found},
        names=_names(series),
        places=tuple(places),
        central=_nearest(places, group, labels),
        contests=contests,
        areas=common_areas(curves, found),
        alone=alone,
        untrained=untrained,
    )


def common_areas(curves: pd.DataFrame, found: Sequence[Mean]) -> dict[Series, Interval]:
    """The areas of all curves that have the label counts which most have; an unfinished curve shortens no other's."""
    counts: dict[Series, set[int]] = {}
    for mean in found:
        counts.setdefault(mean.series, set()).add(mean.labels)
    times = Counter(frozenset(own) for own in counts.values())
    if not times:
        return {}
    usual = max(times, key=lambda own: (times[own], len(own)))
    rows = curves[curves["labels"].isin(usual)]
    return areas(rows, [series for series, own in counts.items() if usual <= own])


def _nearest(places: Sequence[Place], group: Group, labels: int | None) -> Place:
    if labels is not None:
        return min(places, key=lambda place: abs(math.log(place[1] / labels)))
    return min(places, key=lambda place: abs(math.log(place[0] / group.first.objective_fraction)))


def _trained(network: Network, mode: str) -> Network:
    """What of a network makes a baseline another one: trained, it is whole wherever a study reads its encoder."""
    encoder, tap = network
    return (encoder, None) if mode == "supervised" else (encoder, tap)


def _same_network(series: Sequence[Series], mode: str, networks: Mapping[str, Network]) -> dict[Series, Series]:
    """The baseline `mode` of each pretrained curve that has one."""
    baselines = {_trained(networks[each.study], mode): each for each in series if each.mode == mode}
    own = {each: _trained(networks[each.study], mode) for each in series if each.mode not in BASELINES}
    return {each: baselines[network] for each, network in own.items() if network in baselines}


def _with_one_baseline(curves: pd.DataFrame, networks: Mapping[str, Network]) -> pd.DataFrame:
    """Studies may hold their network's baselines: keep the one with most label counts, and the best on validation then.

    Frozen or finetuned, an encoder of the method `random` is untrained and one of `supervised` has seen all labels:
    such a curve is no pretraining's, and is left out.
    """
    pretrained: list[pd.DataFrame] = []
    baselines: dict[tuple[str, Network], tuple[tuple[int, float], pd.DataFrame]] = {}
    for _, rows in curves.groupby(["study", "method", "mode"], sort=True):
        first = rows.iloc[0]
        if first["mode"] not in BASELINES:
            pretrained += [rows] if first["method"] not in BASELINES else []
            continue
        validation = rows.loc[rows["split"] == "validation", "accuracy"]
        rank = (rows["labels"].nunique(), float(validation.mean()) if len(validation) else 0.0)
        place = (first["mode"], _trained(networks[first["study"]], first["mode"]))
        if place not in baselines or rank > baselines[place][0]:
            baselines[place] = rank, rows
    return pd.concat([*pretrained, *(rows for _, rows in baselines.values())] or [curves.iloc[:0]], ignore_index=True)


def _names(series: Sequence[Series]) -> dict[Series, str]:
    """A short name each: the method or the baseline, with the study where that alone is shared."""
    short = {s: s.mode if s.mode in BASELINES else s.method for s in series}
    times = Counter((short[s], s.mode) for s in series)
    return {s: short[s] if times[short[s], s.mode] == 1 else f"{short[s]} ({s.study})" for s in series}
