"""Proposals: Optuna's TPE behind Ray Tune's searcher interface, and the book of a study's trials."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from methods import METHODS
from methods.space import Value, defaults, near_defaults, searched
from study.analysis.importance import distribution
from study.cluster.lanes import LOSSES, LaneError
from study.cluster.messages import Failure, Job
from study.cluster.post_office import Lane
from study.cluster.tpe import Tpe
from study.records import Epoch, Started, Study, Trial, stale
from study.seeds import derive
from study.storage.folder import StorageError

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
    origin: str | None = None  # the study whose trial it replays


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

    Ray Tune logs what its searcher raises and goes on. So `trouble` keeps the first error, and a Stopper raises it.
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
        self.trouble: Exception | None = None
        self._study = study
        self._make_job = make_job
        self._space = {name: distribution(r) for name, r in searched(METHODS[study.method].Config).items()}
        self._watch = watch
        self._ready = ready
        self._running: dict[str, _Running] = {}  # by Tune's name of the trial
        self._lost: list[_Running] = []  # their lanes were lost: to be run on others
        self._finished = list(finished)
        self._highest = max((trial.number for trial in finished), default=-1)
        self._optuna = self._history()
        taken = {trial.number for trial in finished}
        self._unfinished = [
            each for each in sorted(unfinished, key=lambda each: each.number) if each.number not in taken
        ]
        self._next = max([*taken, *(each.number for each in self._unfinished)], default=-1) + 1
        self._missing = missing(finished, unfinished)
        self._proposed = len(finished)
        left = budget_left(study, finished)
        self._deadline = None if left is None else time.monotonic() + left

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Ray Tune has no say in the space."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings, None while every lane is at work, or the end of the search."""
        enough = self._study.trials is not None and self._proposed >= self._study.trials
        enough |= not self._unfinished and not self._missing and stale(self._study, self._finished)
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
            started, ask = self._wanted()
            running = _Running(started, free[0], ask)
            self._watch.started(started)
        self._running[trial_id] = running
        job = self._make_job(running.started.number, running.started.params)
        running.origin = job.origin
        return {"lane": running.lane, "job": job.sealed(), "epochs": self._study.epochs}

    def _wanted(self) -> tuple[Started, optuna.Trial]:
        """The next trial: what was under way and what is missing in between, by number, then a new one."""
        if self._unfinished and (not self._missing or self._unfinished[0].number < self._missing[0]):
            return self._again(self._unfinished.pop(0))
        if self._missing:  # proposed as it was, before the later ones were
            number = self._missing.pop(0)
            return self._again(self._propose(number, self._history(before=number))[0])
        self._next += 1
        return self._propose(self._next - 1, self._optuna)

    def _history(self, before: int | None = None) -> optuna.Study:
        """What Optuna knows after the finished trials, or after those of lower numbers."""
        known = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
        for trial in sorted(self._finished, key=lambda trial: trial.number):
            if before is None or trial.number < before:
                known.add_trial(self._as_optuna(trial))
        return known

    def _propose(self, number: int, known: optuna.Study) -> tuple[Started, optuna.Trial]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            known.sampler = Tpe(
                self._space,
                seed=derive(self._study.seed, "proposal", number) % 2**32,
                n_startup_trials=RANDOM_TRIALS,
            )
        first = (defaults(METHODS[self._study.method].Config), *self._study.warm_start)  # the published recipe leads
        if number < len(first):
            known.enqueue_trial(first[number])
        elif number < RANDOM_TRIALS and number % 2:  # the recipe is a good guess, and no more
            random = Random(derive(self._study.seed, "near", number))
            known.enqueue_trial(near_defaults(METHODS[self._study.method].Config, random))
        ask = known.ask(self._space)
        return Started(number, ask.params, datetime.now(UTC).isoformat(timespec="seconds")), ask

    def _again(self, started: Started) -> tuple[Started, optuna.Trial]:
        self._optuna.enqueue_trial(started.params)
        return started, self._optuna.ask(self._space)

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.trouble = self.trouble or error
            raise

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
        with self._noting_trouble():
            self._watch.epoch(running.lane.number, running.started.number, epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the trial: completed with all its epochs, pruned with fewer, failed where it says so."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        running = self._running.pop(trial_id, None)
        if running is None:
            return
        failure: Failure | None = (result or {}).get("failure")
        if error:  # of a trial that is not running yet, Ray Tune says so at once: the lane may well live
            failure = Failure("what Ray Tune ran it with died again and again", "", "lane")
        with self._noting_trouble():
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
            trial_id=self._study.trial_id(running.started.number),
            status="failed" if reason else "completed" if len(history) == self._study.epochs else "pruned",
            params=running.started.params,
            objective=max((epoch.objective for epoch in history), default=None),
            seconds=sum(epoch.seconds for epoch in history),
            lane=running.lane.number,
            started_at=running.started.started_at,
            seed=trial_seed(self._study, running.started.number),
            error=reason,
            history=tuple(history),
            taken_from=running.origin,
        )
        values = trial.objective if trial.status == "completed" else None
        self._optuna.tell(running.ask, values, state=STATES[trial.status])
        self._finished.append(trial)
        self._highest = max(self._highest, trial.number)
        if trial.number < self._highest and not self._running and not self._lost:
            self._optuna = self._history()  # in the order of their numbers, on which TPE depends
        self._watch.finished(trial)

    def close(self) -> None:
        """Account for trials that the time budget cut short: pruned, where they had an epoch.

        Raises LaneError where something else did: Ray Tune ended, and they are to be gone on with.
        """
        if self._running and (self._deadline is None or time.monotonic() < self._deadline):
            raise LaneError(f"Ray Tune ended with {len(self._running)} trials under way")
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

    def _as_optuna(self, trial: Trial) -> FrozenTrial:
        """The trial just as `tell` left it: Optuna gives a pruned one the value of its last epoch."""
        last = trial.history[-1].objective if trial.history else None
        return optuna.trial.create_trial(
            state=STATES[trial.status],
            value={"completed": trial.objective, "pruned": last, "failed": None}[trial.status],
            params={name: trial.params[name] for name in self._space},
            distributions=self._space,
            intermediate_values={epoch.epoch: epoch.objective for epoch in trial.history},
        )


def missing(finished: Sequence[Trial], unfinished: Sequence[Started]) -> list[int]:
    """The numbers below the highest that no trial has: somebody removed its file."""
    there = {trial.number for trial in finished} | {started.number for started in unfinished}
    return sorted(set(range(max(there, default=0))) - there)


def budget_left(study: Study, finished: Sequence[Trial]) -> float | None:
    """Seconds of the study's time budget that its finished trials have left; None where it has none."""
    if study.budget_seconds is None:
        return None
    return max(
        0.0, study.budget_seconds - sum(trial.seconds for trial in finished if not trial.taken_from) / study.lanes
    )


def trial_seed(study: Study, number: int) -> int:
    """Where all random numbers of a trial come from."""
    return derive(study.seed, "trial", number)
