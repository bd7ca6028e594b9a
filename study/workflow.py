"""One study from its first trial to its report, in the driver: the search, the curve, and what is written of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from methods.space import Value
from study import keeping
from study.cluster.curve import draw_curve
from study.cluster.lanes import Lanes
from study.cluster.messages import Job
from study.cluster.proposals import Watch, trial_seed
from study.cluster.repeats import repeat_best
from study.cluster.search import search
from study.cluster.uses import UsesError, find_uses
from study.data.dataset import Dataset
from study.environment import environment
from study.keeping import Home
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Epoch, Fit, Started, Study, Trial, best_trial
from study.report import write_study_report
from study.storage import files
from study.storage.checkpoints import BEST
from study.storage.folder import Folder
from study.storage.projector import write_projector
from study.storage.tables import write_tables, write_uses_table
from study.storage.uses import Uses, read_uses, write_uses
from study.terminal.display import Display
from study.tracking.courier import Recorder
from study.tracking.delivery import identity, later, points
from study.tracking.optuna_copy import OptunaCopy
from study.tracking.tracker import Tracker
from study.tracking.uri import public_uri


@dataclass(frozen=True)
class Workplace:
    """What the studies of one command share."""

    lanes: Lanes
    dataset: Dataset
    results: Folder
    scratch: Path
    tracking_uri: str
    optuna_storage: str | None
    command: Sequence[str]
    quiet: bool


class NoTrialError(RuntimeError):
    """Not one trial of the search came to an end."""


def run_study(study: Study, place: Workplace, home: Home) -> None:
    """Run what the study still lacks. Whatever is finished when this is interrupted is kept in its folder.

    Raises NoTrialError where every trial failed.
    """
    folder = home.folder
    trials = {trial.number: trial for trial in files.read_trials(folder)}
    about = environment(folder, place.command)
    files.write_study(folder, study, about)
    home.publish()
    name = identity(study, about)
    images = Images(place.dataset.folder.resolve(), study.seed, study.pool_limit)
    limit, length = study.trials, study.budget_seconds
    with (
        Display(
            study.name, study.method, study.dataset, limit, length, study.epochs, study.lanes, place.quiet
        ) as display,
        Tracker(place.tracking_uri, study, name, place.results.path or folder.parent) as tracker,
        ExitStack() as stack,
    ):
        for line in keeping.tidy(study, home, list(trials.values())):
            display.note(line)
        copy = None
        if place.optuna_storage is not None:
            unfinished = files.read_started(folder)
            copy = OptunaCopy(place.optuna_storage, study, name, list(trials.values()), unfinished)
            stack.enter_context(copy)
        for trial in trials.values():
            tracker.finish_trial(trial)
            display.finished(trial)
        _search(study, place, images, home, trials, [tracker] if copy is None else [tracker, copy], display)
        best = best_trial(list(trials.values()))
        if best is None:
            reasons = sorted({trial.error for trial in trials.values() if trial.error})
            raise NoTrialError(f"no trial of {study.name} finished: {'; '.join(reasons) or 'too short a budget'}")
        if study.repeats > 1:
            display.phase(f"{study.name}: repeats")
        encoders = repeat_best(study, images, place.lanes, best, home.checkpoints, display.note)
        fits = _curve(study, place, images, home, best, encoders, display)
        uses = _uses(study, place, images, home, best, display)
        display.phase("writing tables and report")
        write_tables(folder, study, list(trials.values()), fits)
        if uses is not None:
            write_uses_table(folder, study, uses.figures)
            tracker.log_uses(uses.figures)
        write_study_report(folder, study, list(trials.values()), fits, home.checkpoints / BEST)
        home.publish()
        curve = points(study, fits)
        tracker.log_curve(curve)
        tracker.log_files(folder)
        display.phase("closing MLflow")
        tracker.close()
        if tracker.problem:
            again = later(place.results, "--tracking-uri", place.tracking_uri)
            display.note(f"MLflow: {tracker.problem}; deliver later with {again}")
        if copy is not None and place.optuna_storage is not None:
            copy.close()
            if copy.problem:
                again = later(place.results, "--optuna-storage", place.optuna_storage)
                display.note(f"Optuna: {copy.problem}; deliver later with {again}")
        uri = public_uri(place.tracking_uri)
        ui = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
        written = place.results / study.name
        display.summary(curve, best, [f"{written / 'report.html'}", f"{written / 'curves.parquet'}"], ui)


def _search(
    study: Study,
    place: Workplace,
    images: Images,
    home: Home,
    trials: dict[int, Trial],
    recorders: Sequence[Recorder],
    display: Display,
) -> None:
    """Run the trials that are missing; `trials` grows by each that finishes."""

    def started(trial: Started) -> None:
        files.write_started(home.folder, trial)
        home.publish()
        for recorder in recorders:
            recorder.start_trial(trial.number, f"{study.name}-{trial.number:03d}", trial.params)

    def epoch(lane: int, number: int, epoch: Epoch) -> None:
        for recorder in recorders:
            recorder.log_epoch(number, epoch)
        display.epoch(lane, number, epoch)

    def finished(trial: Trial) -> None:
        trials[trial.number] = trial
        if problem := keeping.keep(home, trial, best=best_trial(list(trials.values())) is trial):
            display.note(problem)
        for recorder in recorders:
            recorder.finish_trial(trial)
        display.finished(trial)

    display.phase(f"{study.name}: search")
    search(
        study,
        partial(_pretraining, study, images, home.checkpoints),
        place.lanes,
        list(trials.values()),
        files.read_started(home.folder),
        Watch(started, epoch, finished),
        place.scratch / study.name,
    )


def _pretraining(study: Study, images: Images, kept: Folder, number: int, params: dict[str, Value]) -> Job:
    """A trial, as a lane runs it; its checkpoints lie in `kept`/NNN."""
    seed = trial_seed(study, number)
    plan = Plan(study.method, study.encoder, params, study.epochs, study.epoch_images, seed, study.tap)
    job = Pretraining(images, plan, study.objective_budget, study.draws, kept / f"{number:03d}", study.validation)
    return Job(f"{study.name}-{number:03d}", run_pretraining, job)


def _curve(
    study: Study,
    place: Workplace,
    images: Images,
    home: Home,
    best: Trial,
    encoders: Mapping[int, Folder],
    display: Display,
) -> list[Fit]:
    """Fit what is missing of the curve and return all of it."""
    known = [fit for fit in files.read_fits(home.folder) if fit.repeat in encoders]
    fits = [fit for fit in known if fit.trial_id in (None, best.trial_id)]

    def fitted(done: Sequence[Fit]) -> None:
        files.write_fits(home.folder, done)
        home.publish()
        fits.extend(done)

    display.phase(f"{study.name}: curve")
    draw_curve(study, images, place.lanes, best, encoders, list(fits), fitted, display.fits)
    return fits


def _uses(study: Study, place: Workplace, images: Images, home: Home, best: Trial, display: Display) -> Uses | None:
    """What else the features are good for, kept or measured now; None where it fails, with a note, or may not be."""
    kept = read_uses(home.folder, best.trial_id)
    if kept is not None:
        return kept
    if study.validation == "within-budget":  # they choose penalties and neighbours on held-out labels
        return None
    display.phase(f"{study.name}: other uses of the features")
    try:
        uses = find_uses(study, images, place.dataset, place.lanes, best, home.checkpoints / BEST)
    except UsesError as error:  # the curve is there and is worth its report
        display.note(f"other uses of the features were not measured ({error}); --resume tries again")
        return None
    write_uses(home.folder, uses)
    write_projector(home.folder, uses, study.classes)
    home.publish()
    return uses
