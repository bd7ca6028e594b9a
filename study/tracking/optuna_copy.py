"""Optuna copy: a study's trials in an Optuna storage too, for optuna-dashboard; written by one background thread.

The search has an Optuna study of its own in memory and never asks this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from methods.space import Value
from study.records import Epoch, Started, Study, Trial
from study.tracking.courier import Courier
from study.tracking.trial_storage import Copied, TrialStorage


class OptunaCopy:
    """The driver's side: every call takes note and returns, whatever becomes of the storage."""

    def __init__(
        self, uri: str, study: Study, identity: str, stored: Sequence[Trial], unfinished: Sequence[Started]
    ) -> None:
        """Bring the copy of the study of this `identity` to the `stored` trials, and to `unfinished` ones that wait.

        A copy that contradicts them, as it has a trial that is gone, is deleted and made again. Call
        `study.tracking.uri.check_storage` first.
        """
        storage = TrialStorage(uri, study, identity)
        for started in unfinished:
            storage.add(Copied(started.number, started.params, "waiting", begun=_local(started.started_at)))
        for trial in stored:
            storage.add(_finished(trial))
        self._courier: Courier[Copied] = Courier("optuna", storage)  # not before the storage knows of all
        self._running: dict[int, Copied] = {}

    @property
    def problem(self) -> str | None:
        """Why the storage lacks what it was told, in one line; None while all is well."""
        return self._courier.problem

    def start_trial(self, number: int, trial_id: str, params: Mapping[str, Value]) -> None:
        """The trial is running, from its first epoch on or again."""
        self._tell(Copied(number, params, "running", begun=datetime.now(), attributes={"trial_id": trial_id}))

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """Add an epoch's objective to a trial that was started."""
        running = self._running[number]
        self._tell(replace(running, values={**running.values, epoch.epoch: epoch.objective}))

    def finish_trial(self, trial: Trial) -> None:
        """The trial is complete at its best value, pruned or failed."""
        self._running.pop(trial.number, None)
        self._courier.tell(_finished(trial))

    def close(self, patience: float = 10.0) -> None:
        """Leave the trials still under way as waiting, for `--resume` goes on with them. Waits as `Courier.close`."""
        for running in self._running.values():
            self._courier.tell(replace(running, state="waiting"))
        self._running.clear()
        self._courier.close(patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, running: Copied) -> None:
        self._running[running.number] = running
        self._courier.tell(running)


def _finished(trial: Trial) -> Copied:
    begun = _local(trial.started_at)
    attributes: dict[str, Value] = {"trial_id": trial.trial_id, "seed": trial.seed, "lane": trial.lane}
    return Copied(
        trial.number,
        trial.params,
        trial.status,
        {epoch.epoch: epoch.objective for epoch in trial.history},
        trial.objective,
        begun,
        begun + timedelta(seconds=trial.seconds),
        attributes | ({"error": trial.error} if trial.error else {}),
    )


def _local(text: str) -> datetime:
    """A time as Optuna keeps it: of this place, without saying so."""
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None)
