"""Tracking notes: what MLflow is told of a study, as plain data, named as the tables' columns are."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from methods.space import Value
from study.records import Epoch, Status, Study, Trial, Use

Ending = Literal["FINISHED", "KILLED", "FAILED"]
Metric = tuple[str, float, int, int]  # name, value, time, step
Point = tuple[str, int, float, float, float | None, float | None, int]  # mode, labels, fraction, mean, low, high, n

_ENDINGS: Mapping[Status, Ending] = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Note:
    """What happened to one run."""

    trial: int | None  # None is the study's own run
    time: int  # when it happened, milliseconds since 1970
    params: Mapping[str, Value] = field(default_factory=dict)
    tags: Mapping[str, Value] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    files: tuple[Path, ...] = ()
    ending: Ending | None = None


def now() -> int:
    """The time, in milliseconds since 1970."""
    return round(time.time() * 1000)


def settings(study: Study) -> dict[str, str]:
    """The configuration, as the params of a study's run. A thousand class names would be more than MLflow takes."""
    values = dataclasses.asdict(study) | {"classes": len(study.classes)}
    return {name: str(value) for name, value in values.items() if value is not None}


def trial_started(number: int, trial_id: str, params: Mapping[str, Value]) -> Note:
    """A trial begins now."""
    return Note(number, now(), params=params, tags={"trial": number, "trial_id": trial_id})


def epoch_ended(number: int, epoch: Epoch, at: int) -> Note:
    """An epoch's metrics, with the epoch as step."""
    terms = {f"loss.{name}": value for name, value in epoch.terms.items()}
    values = {"loss": epoch.loss, **terms, "objective": epoch.objective, "images_per_second": epoch.images_per_second}
    values |= {f"number.{name}": value for name, value in epoch.numbers.items()}
    return Note(number, at, metrics=tuple((name, value, at, epoch.epoch) for name, value in values.items()))


def trial_begun(trial: Trial) -> int:
    """When its record says that it began, in milliseconds since 1970."""
    return round(datetime.fromisoformat(trial.started_at).timestamp() * 1000)


def trial_ended(trial: Trial) -> int:
    """When its record says that it ended, in milliseconds since 1970."""
    return trial_begun(trial) + round(trial.seconds * 1000)


def trial_finished(trial: Trial, told: Collection[int], ended: int) -> list[Note]:
    """All of a trial that ended at `ended`, but the epochs `told` already."""
    begun = at = trial_begun(trial)
    tags: dict[str, Value] = {"trial": trial.number, "trial_id": trial.trial_id, "seed": trial.seed, "lane": trial.lane}
    tags["status"] = trial.status
    if trial.error:
        tags["error"] = trial.error
    notes = [Note(trial.number, begun, params=trial.params, tags=tags)]
    for epoch in trial.history:
        at += round(epoch.seconds * 1000)
        if epoch.epoch not in told:
            notes.append(epoch_ended(trial.number, epoch, at))
    best = () if trial.objective is None else (("best_objective", trial.objective, ended, trial.epochs),)
    return [*notes, Note(trial.number, ended, metrics=best, ending=_ENDINGS[trial.status])]


def best_found(trial: Trial, at: int) -> Note:
    """The study's best objective so far, with the trial's number as step."""
    metrics = () if trial.objective is None else (("best_objective", trial.objective, at, trial.number),)
    return Note(None, at, metrics=metrics, tags={"best_trial": trial.number})


def curve_measured(points: Iterable[Point]) -> Note:
    """The curve, as the metrics accuracy.<mode>, .low and .high of the study's run, with the labels as step."""
    at = now()
    metrics: list[Metric] = []
    for mode, labels, _, mean, low, high, _ in points:
        values = {mode: mean, f"{mode}.low": low, f"{mode}.high": high}
        metrics += [(f"accuracy.{name}", value, at, labels) for name, value in values.items() if value is not None]
    return Note(None, at, metrics=tuple(metrics))


def uses_measured(figures: Iterable[Use]) -> Note:
    """Other uses, as the metrics use.<encoder>.<use>.<measure> of the study's run, with the labels as step.

    Linear heads name their stage before the measure.
    """
    at = now()
    metrics = []
    for use in figures:
        stage = f"{use.stage}." if use.use == "linear" else ""
        metrics.append((f"use.{use.encoder}.{use.use}.{stage}{use.measure}", use.value, at, use.labels))
    return Note(None, at, metrics=tuple(metrics))
