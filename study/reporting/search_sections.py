"""What a report says of a study's search: its best trials, its space, its cost and its failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from methods import METHODS
from methods.space import Between, Range, searched
from study.records import Fit, Study, Trial
from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Picture, Section, Table
from study.reporting.plots import draw_tuning, tuning_by_time, tuning_by_trials
from study.reporting.wording import duration, number, percent

_BEST = 10


def best_trials(trials: Sequence[Trial]) -> Section | None:
    """The tuning and the ten best trials with their settings; None where no trial reached a value."""
    ranked = ranking(trials)
    if not ranked:
        return None
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        (
            str(t.number),
            t.status,
            percent(t.objective or 0.0),
            str(t.epochs),
            *(number(t.params.get(n, "")) for n in names),
        )
        for t in ranked[:_BEST]
    ]
    pictures = []
    for course in (tuning_by_trials(trials), tuning_by_time(trials)):
        wide, narrow = draw_tuning(course, WIDE), draw_tuning(course, NARROW)
        pictures += [Picture(wide, narrow)] if wide and narrow else []
    table = Table(("trial", "status", "validation accuracy", "epochs", *names), tuple(rows))
    title = f"The best {len(rows)} of {len(trials)} trials" if len(rows) > 1 else "The best trial"
    return Section(title, ("Trial 0 is the published recipe.",), (table,), tuple(pictures))


def ranking(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that reached a value, completed ones first, the best of each first."""
    reached = [trial for trial in trials if trial.objective is not None]
    return sorted(reached, key=lambda trial: (trial.status != "completed", -(trial.objective or 0.0), trial.number))


def space(study: Study, trials: Sequence[Trial]) -> Section | None:
    """Each setting's range, what was tried of it, and the best trial's value; None without trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    if not names:
        return None
    declared = searched(METHODS[study.method].Config) if study.method in METHODS else {}
    best = next(iter(ranking(trials)), None)
    rows = []
    for name in names:
        tried = [trial.params[name] for trial in trials if name in trial.params]
        chosen = number(best.params.get(name, "")) if best else ""
        rows.append((name, _range_text(declared.get(name)), _tried_text(tried), chosen))
    table = Table(("setting", "searched", "tried", "best trial"), tuple(rows))
    return Section("What was searched", (), (table,))


def cost(study: Study, trials: Sequence[Trial], fits: Sequence[Fit]) -> Section:
    """Trials, epochs, images and time."""
    status = Counter(trial.status for trial in trials)
    taken = Counter(trial.taken_from for trial in trials if trial.taken_from)
    epochs = [epoch for trial in trials for epoch in trial.history]
    images = sum(trial.images_seen for trial in trials)
    classifiers = [fit for fit in fits if fit.split == "test"]
    rows = [
        ("trials", f"{status['completed']} completed, {status['pruned']} pruned, {status['failed']} failed"),
        *((f"of them taken from {name}", f"{count:,}") for name, count in taken.items()),
        ("epochs", f"{len(epochs):,}, at most {study.epochs:,} a trial"),
        ("images seen", f"{images:,}"),
        ("lanes", f"{study.lanes} of {study.workers} workers" if study.workers > 1 else str(study.lanes)),
        ("time of all lanes", duration(sum(trial.seconds for trial in trials))),
        ("classifiers of the curve", f"{len(classifiers):,} in {duration(sum(fit.seconds for fit in classifiers))}"),
    ]
    if epochs:
        speed = f"{np.median([epoch.images_per_second for epoch in epochs]):,.0f} (median of epochs)"
        rows.append(("images/s of a lane in training", speed))
    if own := [trial for trial in trials if not trial.taken_from]:  # the others' time passed in an earlier study
        starts = [datetime.fromisoformat(trial.started_at).timestamp() for trial in own]
        passed = max(start + trial.seconds for start, trial in zip(starts, own, strict=True)) - min(starts)
        seen = sum(trial.images_seen for trial in own)
        rows += [
            ("from first start to last end", duration(passed)),
            ("images/s of the search, all told", f"{seen / max(passed, 1e-9):,.0f}"),
        ]
    return Section("What it cost", (), (Table(("quantity", "value"), tuple(rows)),))


def failures(trials: Sequence[Trial]) -> Section | None:
    """Failed trials with their reasons; None without any."""
    rows = [(str(t.number), str(t.epochs), t.error or "no reason was kept") for t in trials if t.status == "failed"]
    return Section("Failed trials", (), (Table(("trial", "epochs", "reason"), tuple(rows)),)) if rows else None


def _range_text(declared: Range | None) -> str:
    if declared is None:
        return "not known to this version"
    if isinstance(declared, Between):
        return f"{declared.low:g} to {declared.high:g}" + (", log scale" if declared.log else "")
    return "one of " + ", ".join(map(str, declared.choices))


def _tried_text(values: Sequence[Any]) -> str:
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if isinstance(distinct[0], float) and len(distinct) > 1:
        return f"{number(distinct[0])} to {number(distinct[-1])}"
    return ", ".join(map(number, distinct))
