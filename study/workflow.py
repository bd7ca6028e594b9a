"""One study from its first trial to its report, in the driver: the search, the curve, and what is written of them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from study.environment import code_version, environment
from study.keeping import Home
from study.learning.jobs import Images, Pretraining, Replay, run_pretraining, run_replay
from study.learning.pretrain import Plan
from study.records import Epoch, Fit, Started, Study, Trial, best_trial, stale
from study.report import write_study_report
from study.reuse import Earlier, take_encoder
from study.storage import files
from study.storage.checkpoints import BEST
from study.storage.folder import Folder
from study.storage.projector import write_projector
from study.storage.tables import write_tables, write_uses_table
from study.storage.uses import Uses, read_uses, write_uses
from study.terminal.display import Display
from study.terminal.time_left import duration, trials_left
from study.tracking.delivery import points
from study.tracking.stores import Stores
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
    anew: bool  # run what an earlier study of the results has run
    nearby: Callable[[], Path] | None  # where a machine of the cluster has the images


class NoTrialError(RuntimeError):
    """Not one trial of the search came to an end."""


def run_study(study: Study, place: Workplace, home: Home) -> None:
    """Run what the study still lacks. Whatever is finished when this is interrupted is kept in its folder.

    Raises NoTrialError where every trial failed.
    """
    folder = home.folder
    trials = {trial.number: trial for trial in files.read_trials(folder)}
    files.write_study(folder, study, environment(folder, place.command))
    home.publish()
    images = Images(place.dataset.folder.resolve(), study.seed, study.pool_limit, place.nearby)
    limit, length = study.trials, study.budget_seconds
    with (
        Display(
            study.name, study.method, study.dataset, limit, length, study.epochs, study.lanes, place.quiet
        ) as display,
        Stores(folder, place.results, place.tracking_uri, place.optuna_storage) as stores,
    ):
        for line in keeping.tidy(study, home, list(trials.values())):
            display.note(line)
        for trial in trials.values():
            display.finished(trial)
        _search(study, place, images, home, trials, stores, display)
        best = best_trial(list(trials.values()))
        if best is None:
            reasons = sorted({trial.error for trial in trials.values() if trial.error})
            raise NoTrialError(f"no trial of {study.name} finished: {'; '.join(reasons) or 'too short a budget'}")
        if study.repeats > 1:
            display.phase(f"{study.name}: repeats")
        encoders = repeat_best(
            study, images, place.lanes, best, home.checkpoints, partial(take_encoder, folder, best), display.note
        )
        fits = _curve(study, place, images, home, best, encoders, display)
        uses = _uses(study, place, images, home, best, display)
        display.phase("writing tables and report")
        write_tables(folder, study, list(trials.values()), fits)
        if uses is not None:
            write_uses_table(folder, study, uses.figures)
        write_study_report(folder, study, list(trials.values()), fits, home.checkpoints / BEST)
        home.publish()
        curve = points(study, fits)
        stores.log_results(curve, uses.figures if uses is not None else ())
        display.phase("closing MLflow")
        for line in stores.close():
            display.note(line)
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
    stores: Stores,
    display: Display,
) -> None:
    """Run the trials that are missing; `trials` grows by each that finishes."""

    def started(trial: Started) -> None:
        files.write_started(home.folder, trial)
        home.publish()
        stores.start_trial(trial.number, study.trial_id(trial.number), trial.params)

    def epoch(lane: int, number: int, epoch: Epoch) -> None:
        stores.log_epoch(number, epoch)
        display.epoch(lane, number, epoch)

    def finished(trial: Trial) -> None:
        trials[trial.number] = trial
        if problem := keeping.keep(home, trial, best=best_trial(list(trials.values())) is trial):
            display.note(problem)
        stores.finish_trial(trial)
        display.finished(trial)

    display.phase(f"{study.name}: search")
    earlier = Earlier(study, None if place.anew else place.results.path, code_version())
    search(
        study,
        partial(_pretraining, study, images, home.checkpoints, earlier),
        place.lanes,
        list(trials.values()),
        files.read_started(home.folder),
        Watch(started, epoch, finished),
        place.scratch / study.name,
    )
    for name, count in Counter(trial.taken_from for trial in trials.values() if trial.taken_from).items():
        display.note(f"{count} of {len(trials)} trials are those of {name}: --anew runs them again")
    if (line := _early_end(study, list(trials.values()))) is not None:
        display.note(line)


def _early_end(study: Study, trials: Sequence[Trial]) -> str | None:
    """That the search lost patience, and what it would cost to go on; None where it did not."""
    left = (study.trials or 0) - len(trials)
    if left <= 0 or not stale(study, trials):
        return None
    seconds = trials_left([trial.seconds for trial in trials], [], left, study.lanes)
    return (
        f"no better trial in the last {study.patience}: the search ended after {len(trials)} of {study.trials}; the "
        f"others would take about {duration(seconds or 0.0)}: --resume --patience 0 runs them"
    )


def _pretraining(
    study: Study, images: Images, kept: Folder, earlier: Earlier, number: int, params: dict[str, Value]
) -> Job:
    """A trial, as a lane runs it, or as it was run by an earlier study; its checkpoints lie in `kept`/NNN."""
    plan = Plan.of(study, params, trial_seed(study, number))
    job = Pretraining(images, plan, study.objective_budget, study.draws, kept / f"{number:03d}", study.validation)
    name = study.trial_id(number)
    if (found := earlier.find(number, params)) is not None:
        origin, trial = found
        return Job(name, run_replay, Replay(trial.history, job), origin)
    return Job(name, run_pretraining, job)


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
    fits: dict[object, Fit] = {}

    def add(found: Sequence[Fit]) -> None:
        fits.update(((fit.mode, fit.fraction, fit.repeat, fit.draw, fit.split), fit) for fit in found)

    def fitted(done: Sequence[Fit]) -> None:
        files.write_fits(home.folder, done)
        home.publish()
        add(done)

    add([fit for fit in known if fit.trial_id in (None, best.trial_id)])
    display.phase(f"{study.name}: curve")
    draw_curve(study, images, place.lanes, best, encoders, list(fits.values()), fitted, display.fits)
    return list(fits.values())


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
