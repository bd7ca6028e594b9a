"""Search: Optuna's TPE proposes, Ray Tune runs the trials on the lanes, ASHA stops the poor ones early."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from study.analysis.rungs import REDUCTION
from study.cluster.lanes import Lanes
from study.cluster.proposals import MakeJob, Proposals, Watch, budget_left, missing
from study.cluster.trainable import TrialOnLane
from study.cluster.tuner import trials_in
from study.records import Started, Study, Trial


class _Trouble(tune.Stopper):
    """Raises what ended the study: Ray Tune asks several times a second whether to stop."""

    def __init__(self, lanes: Lanes, proposals: Proposals) -> None:
        self._lanes, self._proposals = lanes, proposals

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for its results here."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop: no, or an exception."""
        trouble = self._lanes.trouble or self._proposals.trouble
        if trouble is not None:
            raise trouble
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for Ray Tune pickles it


class Asha(AsyncHyperBandScheduler):
    """ASHA that knows trials by their own names, so that each counts once however often Ray Tune had to run it."""

    def __init__(self, study: Study) -> None:
        super().__init__(
            metric="objective",
            mode="max",
            time_attr="epoch",
            max_t=study.epochs,
            grace_period=min(study.grace_epochs, study.epochs),
            reduction_factor=REDUCTION,
        )
        self.before: dict[str, Asha] = {}  # by trial, in the order of numbers: what decides for it, as it once stood

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        decision: str = super().on_trial_result(tune_controller, self._named(result, trial), result)
        for place, before in enumerate(self._before(result)):
            judged = before.on_trial_result(tune_controller, trial, result)
            decision = decision if place else judged
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last epoch counts too."""
        super().on_trial_complete(tune_controller, self._named(result, trial), result)
        for before in self._before(result):
            before.on_trial_complete(tune_controller, trial, result)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None before others: Ray Tune starts all that wait, and this would go through all that there were."""

    def _before(self, result: dict[str, Any]) -> Iterator[Asha]:
        """What decides for this trial, and for those after it, where it has something of its own."""
        names = list(self.before)
        if result.get("name") in names:
            yield from (self.before[name] for name in names[names.index(result["name"]) :])

    def _named(self, result: dict[str, Any], trial: Any) -> Any:
        named: Any = SimpleNamespace(trial_id=result.get("name", trial.trial_id))
        if named.trial_id not in self._trial_info:
            nobody: Any = None
            self.on_trial_add(nobody, named)
        return named


def asha(study: Study, finished: Sequence[Trial], again: Sequence[int] = ()) -> Asha:
    """ASHA as it stands after the finished trials: a resumed search prunes as if it had never stopped.

    What a rung decides depends on what was recorded there, not on its order. Trials that are run `again`, though later
    ones have finished, are judged beside those of lower numbers.
    """
    scheduler = Asha(study)
    for trial in finished:
        for epoch in trial.history:
            result = {"epoch": epoch.epoch, "objective": epoch.objective}
            told = scheduler.on_trial_result if epoch.epoch < study.epochs else scheduler.on_trial_complete
            told(None, trial, result)
    for number in sorted(again):
        earlier = [trial for trial in finished if trial.number < number]
        scheduler.before[study.trial_id(number)] = asha(study, earlier)
    return scheduler


def _late(study: Study, finished: Sequence[Trial], unfinished: Sequence[Started]) -> list[int]:
    """Trials under way that are run again though later ones have finished: with several lanes that is no sign of it."""
    last = max((trial.number for trial in finished), default=-1)
    return [started.number for started in unfinished if started.number < last and study.lanes == 1]


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
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1000"  # the searcher knows how many lanes are free
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is the command's to handle
    left = budget_left(study, finished)
    if left == 0:
        return
    proposals = Proposals(study, make_job, lanes.ready, finished, unfinished, watch)
    tuner = tune.Tuner(
        TrialOnLane,
        tune_config=tune.TuneConfig(
            search_alg=proposals,
            scheduler=asha(study, finished, [*missing(finished, unfinished), *_late(study, finished, unfinished)]),
            num_samples=-1,  # the searcher says when it is enough
            time_budget_s=left,
            max_concurrent_trials=None,  # the searcher hands out the lanes
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            stop=_Trouble(lanes, proposals),
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the workers keep their own
        ),
    )
    with trials_in(lanes.office):
        tuner.fit()
    proposals.close()
