"""The report over all studies: which curve is best at each label count, and what is not separated from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from urllib.parse import quote

import pandas as pd

from study.analysis.statistics import Comparison, Mean, Series, compare, means
from study.records import Fit, Study, Trial
from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Link, Page, Picture, Section, Table
from study.reporting.plots import RANDOM, SUPERVISED, Curve, draw_curves, method_styles
from study.reporting.wording import accuracy, duration, listed, points, verdict
from study.storage.tables import curves_frame

_BASELINES = {"supervised": SUPERVISED, "random": RANDOM}


@dataclass(frozen=True)
class StudyResults:
    """A study and what it has finished."""

    folder: str  # below the folder of results
    study: Study
    trials: Sequence[Trial]
    fits: Sequence[Fit]


@dataclass(frozen=True)
class _Winner:
    """The best curve at one label count; all pairs at that count are one Holm family."""

    mean: Mean
    others: tuple[Comparison, ...]  # the best minus each other
    alone: Comparison | None  # the best minus the labels alone


def comparison_page(results: Sequence[StudyResults]) -> Page:
    """All studies; those of the same images and the same split are set side by side."""
    together: dict[tuple[str, str, int], list[StudyResults]] = {}
    for result in sorted(results, key=lambda result: result.study.name):
        study = result.study
        together.setdefault((study.dataset, study.data_hash, study.seed), []).append(result)
    times = Counter(dataset for dataset, _, _ in together)
    lead: list[str] = []
    sections: list[Section] = []
    for (dataset, data_hash, seed), group in sorted(together.items()):
        title = dataset if times[dataset] == 1 else f"{dataset} (data {data_hash[:8]}, seed {seed})"
        answer, found = _data_set(title, group)
        lead.append(answer)
        sections += found
    if len(together) > 1:
        lead.append("Only studies of the same images and the same split share an axis and are compared.")
    return Page("All studies", tuple(lead), tuple(sections))


def _data_set(title: str, group: Sequence[StudyResults]) -> tuple[str, list[Section]]:
    """The answer in a sentence, and the sections of one data set."""
    encoders = {result.study.name: result.study.encoder for result in group}
    curves = pd.concat([curves_frame(result.study, result.fits) for result in group], ignore_index=True)
    curves = _with_one_baseline(curves, encoders)
    found = means(curves)
    if not found:
        return f"{title}: no curve is measured yet.", [_studies(title, group)]
    names = _names([mean.series for mean in found])
    winners = [_winner(curves, found, place, encoders) for place in sorted({(m.fraction, m.labels) for m in found})]
    wanted = math.log(group[0].study.objective_fraction)
    central = min(winners, key=lambda winner: abs(math.log(winner.mean.fraction) - wanted))
    sections = [_best(title, winners, found, names), _curves(title, found, names), _studies(title, group)]
    return f"{title}: {_sentence(central, found, names)}", sections


def _with_one_baseline(curves: pd.DataFrame, encoders: dict[str, str]) -> pd.DataFrame:
    """Every study holds its encoder's baselines: keep one, of the method `supervised` or the best on validation."""
    pretrained: list[pd.DataFrame] = []
    baselines: dict[tuple[str, str], tuple[tuple[bool, float], pd.DataFrame]] = {}
    for _, rows in curves.groupby(["study", "method", "mode"], sort=True):
        first = rows.iloc[0]
        if first["mode"] not in _BASELINES:
            pretrained.append(rows)
            continue
        validation = rows.loc[rows["split"] == "validation", "accuracy"]
        rank = (first["method"] == "supervised", float(validation.mean()) if len(validation) else 0.0)
        place = (first["mode"], encoders[first["study"]])
        if place not in baselines or rank > baselines[place][0]:
            baselines[place] = rank, rows
    return pd.concat([*pretrained, *(rows for _, rows in baselines.values())] or [curves], ignore_index=True)


def _names(series: Sequence[Series]) -> dict[Series, str]:
    """A short name each: the method or the baseline, with the study where that alone is shared."""
    distinct = sorted(set(series))
    short = {s: s.mode if s.mode in _BASELINES else s.method for s in distinct}
    times = Counter((short[s], s.mode) for s in distinct)
    return {s: short[s] if times[short[s], s.mode] == 1 else f"{short[s]} ({s.study})" for s in distinct}


def _winner(curves: pd.DataFrame, found: Sequence[Mean], place: tuple[float, int], encoders: dict[str, str]) -> _Winner:
    here = sorted((m for m in found if (m.fraction, m.labels) == place), key=lambda m: (-m.accuracy.mean, m.series))
    best, others = here[0].series, [mean.series for mean in here[1:]]
    rows = curves[(curves["fraction"] == place[0]) & (curves["labels"] == place[1])]
    family = compare(rows, [*((best, other) for other in others), *combinations(others, 2)])
    against = tuple(c for c in family if c.first == best)
    network = encoders[best.study]
    alone = [c for c in against if c.second.mode == "supervised" and encoders[c.second.study] == network]
    return _Winner(here[0], against, alone[0] if alone and best.mode not in _BASELINES else None)


def _sentence(winner: _Winner, found: Sequence[Mean], names: dict[Series, str]) -> str:
    mean = winner.mean
    sentence = f"with {mean.labels:,} labels, {_full(mean.series, names)} is best with {accuracy(mean.accuracy)}"
    if close := [_full(c.second, names) for c in winner.others if not c.separated]:
        sentence += f", not separated from {listed(close)}"
    if winner.alone:
        alone = next(m for m in found if m.series == winner.alone.second and m.fraction == mean.fraction)
        sentence += f". Training on those labels alone reaches {accuracy(alone.accuracy)}: "
        sentence += f"{points(winner.alone.difference)}, {verdict(winner.alone)}"
    return sentence + "."


def _best(title: str, winners: Sequence[_Winner], found: Sequence[Mean], names: dict[Series, str]) -> Section:
    rows = [
        (
            f"{winner.mean.labels:,}",
            _full(winner.mean.series, names),
            accuracy(winner.mean.accuracy),
            f"{points(winner.alone.difference)}, {verdict(winner.alone)}" if winner.alone else "",
            listed([_full(c.second, names) for c in winner.others if not c.separated]) or "none",
        )
        for winner in winners
    ]
    columns = ("labels", "best", "test accuracy", "against those labels alone", "not separated from")
    note = (
        "Means [95 % t-interval] over draws of the labels. Differences are paired over draws; separated means p < 0.05 "
        "in a paired t-test, Holm-corrected over all pairs of curves at that label count. The intervals do not cover "
        "another pretraining or other test images. A baseline that several studies hold counts once: that of the study "
        "of method supervised, or else the one that is best on validation."
    )
    return Section(
        f"{title}: best at each label count", (note,), (Table(columns, tuple(rows)),), _pictures(found, names)
    )


def _pictures(found: Sequence[Mean], names: dict[Series, str]) -> tuple[Picture, ...]:
    """A panel a mode of pretrained curves, with the baselines in each."""
    modes = [mode for mode in ("frozen", "finetuned") if any(mean.series.mode == mode for mean in found)]
    styles = method_styles(sorted({names[mean.series] for mean in found if mean.series.mode not in _BASELINES}))
    pictures = []
    for mode in modes or ["no pretraining"]:
        shown = [s for s in names if s.mode == mode or s.mode in _BASELINES]
        curves = [
            Curve(names[s], _BASELINES.get(s.mode) or styles[names[s]], tuple(m for m in found if m.series == s))
            for s in shown
        ]
        pictures.append(Picture(draw_curves(curves, mode, WIDE), draw_curves(curves, mode, NARROW)))
    return tuple(pictures)


def _curves(title: str, found: Sequence[Mean], names: dict[Series, str]) -> Section:
    places = sorted({(mean.fraction, mean.labels) for mean in found})
    known = {(mean.series, mean.fraction, mean.labels): mean.accuracy for mean in found}
    rows = []
    for series in names:
        cells = [known.get((series, *place)) for place in places]
        draws = sorted({cell.n for cell in cells if cell})
        n = str(draws[0]) if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
        rows.append((_full(series, names), n, *(accuracy(cell) if cell else "" for cell in cells)))
    columns = ("curve", "n", *(f"{labels:,} labels" for _, labels in places))
    return Section(f"{title}: every curve", (), (Table(columns, tuple(rows)),))


def _studies(title: str, group: Sequence[StudyResults]) -> Section:
    rows = []
    for result in group:
        status = Counter(trial.status for trial in result.trials)
        rows.append(
            (
                Link(result.study.name, f"{quote(result.folder)}/report.html"),
                result.study.method,
                result.study.encoder,
                f"{status['completed']} / {status['pruned']} / {status['failed']}",
                f"{result.study.epochs:,}",
                f"{sum(trial.images_seen for trial in result.trials):,}",
                duration(sum(trial.seconds for trial in result.trials)),
                f"{result.study.validation_labels:,}",
            )
        )
    columns = ("study", "method", "encoder", "trials completed / pruned / failed", "epochs a trial", "images seen")
    note = "A comparison is fair at equal compute: look at the images that each search has seen."
    table = Table((*columns, "time of all lanes", "validation labels"), tuple(rows))
    return Section(f"{title}: studies", (note,), (table,))


def _full(series: Series, names: dict[Series, str]) -> str:
    return names[series] if series.mode in _BASELINES else f"{names[series]} {series.mode}"
