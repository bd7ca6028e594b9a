"""Delivery: a study's own files told to the stores after the fact, as far as these lack it; nothing twice."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.analysis.statistics import Mean, means
from study.records import Fit, Study, Trial, best_trial, stale
from study.storage import files, tables
from study.storage.folder import Folder
from study.storage.uses import read_uses
from study.tracking.notes import Ending, Point, now, trial_begun, trial_ended
from study.tracking.optuna_copy import OptunaCopy
from study.tracking.tracker import Tracker
from study.tracking.uri import public_uri

PATIENCE = 10.0  # seconds without an answer after which a store is given up


def identity(study: Study, environment: Mapping[str, Any]) -> str:
    """What tells the study from another of its name: the random id in study.json.

    Of studies from before there was one: what makes their trials what they are.
    """
    former = repr((study.name, study.dataset, study.method, study.data_hash, study.seed))
    return str(environment.get("id") or hashlib.blake2b(former.encode(), digest_size=8).hexdigest())


def points(study: Study, fits: Sequence[Fit]) -> list[Point]:
    """The curve as plain figures."""
    return [_point(mean) for mean in means(tables.curves_frame(study, fits))]


def deliver_runs(folder: Path, results: Folder, uri: str) -> str | None:
    """Tell MLflow what it lacks of the study in `folder`, which is one of `results` or a copy of one.

    Returns why that failed, in one line.

    Raises ValueError where a file of the study is damaged, and as `check_uri`.
    """
    study, environment = files.read_study(folder)
    trials = files.read_trials(folder)
    begun = min(map(trial_begun, trials), default=now())
    tracker = Tracker(uri, study, identity(study, environment), results, begun)
    for trial in trials:
        tracker.finish_trial(trial)
    best = best_trial(trials)
    fits = _fits(folder, study, trials)
    ending, ended = _cut_short(study, trials), max(map(trial_ended, trials), default=begun)
    if best and fits:
        uses = read_uses(folder, best.trial_id)
        if uses is not None:
            tracker.log_uses(uses.figures)
        tracker.log_curve(points(study, fits))
        tracker.log_files(folder)
        ending, ended = "FINISHED", round((folder / tables.TRIALS).stat().st_mtime * 1000)
    tracker.end(ending, ended)
    tracker.close(patience=PATIENCE)
    return tracker.problem


def deliver_trials(folder: Path, results: Folder, uri: str) -> str | None:
    """Bring the Optuna copy of the study in `folder`, one of `results`, to its trials. Returns as `deliver_runs`.

    Raises ValueError where a file of the study is damaged.
    """
    study, environment = files.read_study(folder)
    copy = OptunaCopy(uri, study, identity(study, environment), files.read_trials(folder), files.read_started(folder))
    copy.close(PATIENCE)
    return copy.problem


def later(results: Folder, option: str, uri: str) -> str:
    """The command that tells the store what it lacks, without the password."""
    shown = public_uri(uri)
    words = ["python", "-m", "study.report", "--results", str(results), option, *([shown] if shown == uri else [])]
    return shlex.join(words)


def _fits(folder: Path, study: Study, trials: Sequence[Trial]) -> list[Fit]:
    """The curve of a study that came to its end with these trials; nothing where it did not, or went on since."""
    written = folder / tables.TRIALS, folder / tables.CURVES
    best = best_trial(trials)
    if best is None or not _whole(study, trials) or not all(path.exists() for path in written):
        return []
    fits = [fit for fit in files.read_fits(folder) if fit.trial_id in (None, best.trial_id)]
    told, curve = (tables.read_table(path) for path in written)
    whole = set(told["trial"]) == {trial.number for trial in trials} and len(curve) == len(fits)
    return fits if whole and len({fit.repeat for fit in fits}) == study.repeats else []


def _cut_short(study: Study, trials: Sequence[Trial]) -> Ending:
    """How a study ended that has no curve: where every trial failed, it failed."""
    return "FAILED" if trials and best_trial(trials) is None and _whole(study, trials) else "KILLED"


def _whole(study: Study, trials: Sequence[Trial]) -> bool:
    return len(trials) >= (study.trials or 0) or stale(study, trials)


def _point(mean: Mean) -> Point:
    found = mean.accuracy
    return mean.series.mode, mean.labels, mean.fraction, found.mean, found.low, found.high, found.n
