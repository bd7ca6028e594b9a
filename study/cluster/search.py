"""Search: Optuna's TPE proposes, Ray Tune runs the trials on the lanes, ASHA stops the poor ones early."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from methods import METHODS
from methods.space import Value, defaults, searched
from study.analysis.importance import distribution
from study.analysis.rungs import REDUCTION
from study.cluster.mailbox import Job, Lane
from study.cluster.trial_actor import TrialOnLane
from study.records import Epoch, Started, Study, Trial
from study.seeds import derive

RANDOM_TRIALS = 10  # before TPE has something to learn from
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


MakeJob = Callable[[int, dict[str, Value]], Job]  # (trial number, its settings) -> a job that yields Epochs


@dataclass
class _Running:
    """A proposed trial while it runs."""

    started: Started
    lane: int
    ask: optuna.Trial
    history: list[Epoch] = field(default_factory=list)


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
        lanes: int,
        finished: Sequence[Trial],
        unfinished: Sequence[Started],
        watch: Watch,
    ) -> None:
        super().__init__(metric="objective", mode="max")
        self._study = study
        self._make_job = make_job
        self._space = {name: distribution(r) for name, r in searched(METHODS[study.method].Config).items()}
        self._optuna = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
        self._watch = watch
        self._free = list(range(lanes))
        self._running: dict[str, _Running] = {}  # by Tune's name of the trial
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
        if enough or late:
            return Searcher.FINISHED
        if not self._free:
            return None
        lane = self._free.pop(0)
        self._proposed += 1
        started, ask = self._again(self._unfinished.pop(0)) if self._unfinished else self._propose()
        self._running[trial_id] = _Running(started, lane, ask)
        self._watch.started(started)
        return {"lane": lane, "job": self._make_job(started.number, started.params).sealed()}

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
        self._watch.epoch(running.lane, running.started.number, epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the trial: completed with all its epochs, pruned with fewer, failed where it says so."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        running = self._running.pop(trial_id, None)
        if running is None:
            return
        reason = (result or {}).get("failure") or ("its Ray Tune actor died again and again" if error else None)
        self._close(running, reason)
        self._free.append(running.lane)
        self._free.sort()

    def _close(self, running: _Running, reason: str | None) -> None:
        history = running.history
        trial = Trial(
            number=running.started.number,
            trial_id=f"{self._study.name}-{running.started.number:03d}",
            status="failed" if reason else "completed" if len(history) == self._study.epochs else "pruned",
            params=running.started.params,
            objective=max((epoch.objective for epoch in history), default=None),
            seconds=sum(epoch.seconds for epoch in history),
            lane=running.lane,
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
        for running in self._running.values():
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
        return optuna.trial.create_trial(
            state=STATES[trial.status],
            value=trial.objective if trial.status == "completed" else None,
            params={name: trial.params[name] for name in self._space},
            distributions=self._space,
            intermediate_values={epoch.epoch: epoch.objective for epoch in trial.history},
        )


def trial_seed(study: Study, number: int) -> int:
    """Where all random numbers of a trial come from."""
    return derive(study.seed, "trial", number)


def search(
    study: Study,
    make_job: MakeJob,
    lanes: list[Lane],
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
    proposals = Proposals(study, make_job, len(lanes), finished, unfinished, watch)
    trainable = tune.with_parameters(TrialOnLane, lanes=lanes, epochs=study.epochs)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 0.01}),  # with none at all, Ray Tune refuses
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            search_alg=proposals,
            scheduler=AsyncHyperBandScheduler(
                time_attr="epoch",
                max_t=study.epochs,
                grace_period=min(study.grace_epochs, study.epochs),
                reduction_factor=REDUCTION,
            ),
            num_samples=-1,  # the searcher says when it is enough
            time_budget_s=study.budget_seconds,
            max_concurrent_trials=None,  # the searcher hands out the lanes
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the workers keep their own
        ),
    )
    tuner.fit()
    proposals.close()
