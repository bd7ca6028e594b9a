"""Search: Optuna's TPE proposes, Ray Tune runs the trials on the lanes, ASHA stops the poor ones early."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import ray
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from methods import METHODS
from methods.space import Value, defaults, searched
from study.analysis.importance import distribution
from study.analysis.rungs import REDUCTION
from study.cluster.lanes import LOSSES, Lanes
from study.cluster.mailbox import Failure, Job, Lane
from study.cluster.trial_actor import TrialOnLane
from study.records import Epoch, Started, Study, Trial
from study.seeds import derive
from study.storage.files import StorageError

RANDOM_TRIALS = 10  # before TPE has something to learn from
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


MakeJob = Callable[[int, dict[str, Value]], Job]  # (trial number, its settings) -> a job that yields Epochs


@dataclass
class _Running:
    """A proposed trial while it runs."""

    started: Started
    lane: Lane
    ask: optuna.Trial
    history: list[Epoch] = field(default_factory=list)
    losses: int = 0  # of its lane


@dataclass(frozen=True)
class Watch:
    """Who is told what happens, in the driver's thread."""

    started: Callable[[Started], None]
    epoch: Callable[[int, int, Epoch], None]  # (lane, trial number, epoch)
    finished: Callable[[Trial], None]


class Proposals(Searcher):
    """Optuna behind Ray Tune's searcher interface, and the book of this study's trials.

    Ray's own OptunaSearch tells Optuna that a pruned trial is complete and leaves a failed one running for ever; here a
    pruned trial is told as pruned with its epochs, a failed one as failed. Trial n's proposal depends on the study's
    seed, n and the results before it, and on nothing else.
    """

    def __init__(
        self,
        study: Study,
        make_job: MakeJob,
        ready: Callable[[], Sequence[Lane]],
        finished: Sequence[Trial],
        unfinished: Sequence[Started],
        watch: Watch,
    ) -> None:
        """`ready` says which lanes live; those that run a trial of ours are not free."""
        super().__init__(metric="objective", mode="max")
        self._study = study
        self._make_job = make_job
        self._space = {name: distribution(r) for name, r in searched(METHODS[study.method].Config).items()}
        self._optuna = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
        self._watch = watch
        self._ready = ready
        self._running: dict[str, _Running] = {}  # by Tune's name of the trial
        self._lost: list[_Running] = []  # their lanes were lost: to be run on others
        for trial in sorted(finished, key=lambda trial: trial.number):
            self._optuna.add_trial(self._as_optuna(trial))
        taken = {trial.number for trial in finished}
        self._unfinished = [each for each in unfinished if each.number not in taken]
        self._next = max([*taken, *(each.number for each in self._unfinished)], default=-1) + 1
        self._proposed = len(finished)
        self._deadline = None if study.budget_seconds is None else time.monotonic() + study.budget_seconds

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Ray Tune has no say in the space."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings, None while every lane is at work, or the end of the search."""
        enough = self._study.trials is not None and self._proposed >= self._study.trials
        late = self._deadline is not None and time.monotonic() >= self._deadline
        if (enough and not self._lost and not self._running) or late:
            return Searcher.FINISHED
        taken = {running.lane.number for running in self._running.values()}
        free = [lane for lane in self._ready() if lane.number not in taken]
        if not free or (enough and not self._lost):
            return None
        if self._lost:
            running = self._lost.pop(0)
            running.lane = free[0]
        else:
            self._proposed += 1
            started, ask = self._again(self._unfinished.pop(0)) if self._unfinished else self._propose()
            running = _Running(started, free[0], ask)
            self._watch.started(started)
        self._running[trial_id] = running
        job = self._make_job(running.started.number, running.started.params)
        return {"lane": running.lane, "job": job.sealed()}

    def _propose(self) -> tuple[Started, optuna.Trial]:
        number = self._next
        self._next += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._optuna.sampler = optuna.samplers.TPESampler(
                seed=derive(self._study.seed, "proposal", number) % 2**32,
                n_startup_trials=RANDOM_TRIALS,
                multivariate=True,
                constant_liar=True,
            )
        if number == 0:  # the published recipe
            self._optuna.enqueue_trial(defaults(METHODS[self._study.method].Config))
        ask = self._optuna.ask(self._space)
        return Started(number, ask.params, datetime.now(UTC).isoformat(timespec="seconds")), ask

    def _again(self, started: Started) -> tuple[Started, optuna.Trial]:
        self._optuna.enqueue_trial(started.params)
        return started, self._optuna.ask(self._space)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note an epoch. A trial that lost its actor replays its epochs: those are known already."""
        running = self._running.get(trial_id)
        if running is None or "record" not in result:
            return
        epoch: Epoch = result["record"]
        if epoch.epoch <= len(running.history):
            return
        running.history.append(epoch)
        running.ask.report(epoch.objective, epoch.epoch)
        self._watch.epoch(running.lane.number, running.started.number, epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the trial: completed with all its epochs, pruned with fewer, failed where it says so."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        running = self._running.pop(trial_id, None)
        if running is None:
            return
        failure: Failure | None = (result or {}).get("failure")
        if error:
            failure = Failure("its Ray Tune actor died again and again", "", "job")
        if failure is not None and failure.fault == "storage":
            raise StorageError(failure.reason)
        if failure is not None and failure.fault == "lane":
            running.losses += 1
            if running.losses < LOSSES:
                self._lost.append(running)
                return
        self._close(running, failure.reason if failure else None)

    def _close(self, running: _Running, reason: str | None) -> None:
        history = running.history
        trial = Trial(
            number=running.started.number,
            trial_id=f"{self._study.name}-{running.started.number:03d}",
            status="failed" if reason else "completed" if len(history) == self._study.epochs else "pruned",
            params=running.started.params,
            objective=max((epoch.objective for epoch in history), default=None),
            seconds=sum(epoch.seconds for epoch in history),
            lane=running.lane.number,
            started_at=running.started.started_at,
            seed=trial_seed(self._study, running.started.number),
            error=reason,
            history=tuple(history),
        )
        values = trial.objective if trial.status == "completed" else None
        self._optuna.tell(running.ask, values, state=STATES[trial.status])
        self._watch.finished(trial)

    def close(self) -> None:
        """Account for trials that the time budget cut short: pruned, where they had an epoch."""
        for running in [*self._running.values(), *self._lost]:
            if running.history:
                self._close(running, None)
        self._running.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune pickles its searcher to restore it one day: see `save`

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' own files are what a study is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def _as_optuna(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """The trial just as `tell` left it: Optuna gives a pruned one the value of its last epoch."""
        last = trial.history[-1].objective if trial.history else None
        return optuna.trial.create_trial(
            state=STATES[trial.status],
            value={"completed": trial.objective, "pruned": last, "failed": None}[trial.status],
            params={name: trial.params[name] for name in self._space},
            distributions=self._space,
            intermediate_values={epoch.epoch: epoch.objective for epoch in trial.history},
        )


class _Trouble(tune.Stopper):
    """Raises what ended the study: Ray Tune asks several times a second whether to stop."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for its results here."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop: no, or an exception."""
        if self._lanes.trouble is not None:
            raise self._lanes.trouble
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for Ray Tune pickles it


class Asha(AsyncHyperBandScheduler):
    """ASHA that knows trials by their own names, so that each counts once however often Ray Tune had to run it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        decision: str = super().on_trial_result(tune_controller, self._named(result, trial), result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last epoch counts too."""
        super().on_trial_complete(tune_controller, self._named(result, trial), result)

    def _named(self, result: dict[str, Any], trial: Any) -> Any:
        named: Any = SimpleNamespace(trial_id=result.get("name", trial.trial_id))
        if named.trial_id not in self._trial_info:
            nobody: Any = None
            self.on_trial_add(nobody, named)
        return named


def asha(study: Study, finished: Sequence[Trial]) -> Asha:
    """ASHA as it stands after the finished trials: a resumed search prunes as if it had never stopped.

    What a rung decides depends on what was recorded there, not on its order.
    """
    scheduler = Asha(
        metric="objective",
        mode="max",
        time_attr="epoch",
        max_t=study.epochs,
        grace_period=min(study.grace_epochs, study.epochs),
        reduction_factor=REDUCTION,
    )
    for trial in finished:
        for epoch in trial.history:
            result = {"epoch": epoch.epoch, "objective": epoch.objective}
            told = scheduler.on_trial_result if epoch.epoch < study.epochs else scheduler.on_trial_complete
            told(None, trial, result)
    return scheduler


def trial_seed(study: Study, number: int) -> int:
    """Where all random numbers of a trial come from."""
    return derive(study.seed, "trial", number)


def search(
    study: Study,
    make_job: MakeJob,
    lanes: Lanes,
    finished: Sequence[Trial],
    unfinished: Sequence[Started],
    watch: Watch,
    scratch: Path,
) -> None:
    """Run the trials that the study still wants. `watch` hears of every epoch and of every finished trial.

    `make_job` turns a trial's number and settings into what a lane runs; Ray Tune keeps its own notes in `scratch`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a failed trial has no objective
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints tables at any verbosity
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is the command's to handle
    proposals = Proposals(study, make_job, lanes.ready, finished, unfinished, watch)
    trainable = tune.with_parameters(TrialOnLane, epochs=study.epochs)
    tuner = tune.Tuner(
        # Ray Tune wants some resource, and this one keeps its actors beside the driver, whatever the workers hold.
        tune.with_resources(trainable, {f"node:{ray.util.get_node_ip_address()}": 0.001}),
        tune_config=tune.TuneConfig(
            search_alg=proposals,
            scheduler=asha(study, finished),
            num_samples=-1,  # the searcher says when it is enough
            time_budget_s=study.budget_seconds,
            max_concurrent_trials=None,  # the searcher hands out the lanes
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            stop=_Trouble(lanes),
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the workers keep their own
        ),
    )
    tuner.fit()
    proposals.close()
