"""Stores: all that are told of a study while it runs, MLflow and perhaps an Optuna storage, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from methods.space import Value
from study.records import Epoch, Trial, Use
from study.storage import files
from study.storage.folder import Folder
from study.tracking.courier import Recorder
from study.tracking.delivery import identity, later
from study.tracking.notes import Point
from study.tracking.optuna_copy import OptunaCopy
from study.tracking.tracker import Tracker, ending_of


class Stores:
    """The driver's side: every call takes note and returns, whatever becomes of the stores."""

    def __init__(self, folder: Path, results: Folder, tracking_uri: str, optuna_storage: str | None) -> None:
        """Go on with what the stores have of the study in `folder`, and tell them of its finished trials.

        `folder` is, or is a copy of, a folder of `results`.

        Raises ValueError as `check_uri`, and where a file of the study is damaged.
        """
        study, environment = files.read_study(folder)
        trials, name = files.read_trials(folder), identity(study, environment)
        self._folder, self._results = folder, results
        self._tracking_uri, self._optuna_storage = tracking_uri, optuna_storage
        self._tracker = Tracker(tracking_uri, study, name, results)
        self._copy: OptunaCopy | None = None
        if optuna_storage is not None:
            self._copy = OptunaCopy(optuna_storage, study, name, trials, files.read_started(folder))
        self._recorders: list[Recorder] = [self._tracker, *([self._copy] if self._copy else [])]
        for trial in trials:
            self._tracker.finish_trial(trial)

    def start_trial(self, number: int, trial_id: str, params: Mapping[str, Value]) -> None:
        """A trial begins, or goes on."""
        for recorder in self._recorders:
            recorder.start_trial(number, trial_id, params)

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """A trial under way finished an epoch."""
        for recorder in self._recorders:
            recorder.log_epoch(number, epoch)

    def finish_trial(self, trial: Trial) -> None:
        """A trial ended now."""
        for recorder in self._recorders:
            recorder.finish_trial(trial)

    def log_results(self, points: Iterable[Point], figures: Iterable[Use]) -> None:
        """The study came to its end, with this curve and these other uses; its tables and reports are copied."""
        self._tracker.log_uses(figures)
        self._tracker.log_curve(points)
        self._tracker.log_files(self._folder)

    def close(self) -> list[str]:
        """End the study in all stores. Returns a line for each that lacks something: why, and how to deliver it."""
        self._end(None)
        told = [("MLflow", self._tracker.problem, "--tracking-uri", self._tracking_uri)]
        if self._copy and self._optuna_storage:
            told.append(("Optuna", self._copy.problem, "--optuna-storage", self._optuna_storage))
        return [
            f"{store}: {problem}; deliver later with {later(self._results, option, uri)}"
            for store, problem, option, uri in told
            if problem is not None
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(kind)

    def _end(self, kind: type[BaseException] | None) -> None:
        """Both at once, for either may have to be waited for."""
        self._tracker.end(ending_of(kind))
        if self._copy:
            self._copy.close()
        self._tracker.close()
