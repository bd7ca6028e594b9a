"""MLflow: an experiment a data set, a parent run a study, a child run a trial, written by one background thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from methods.space import Value
from study.records import Epoch, Study, Trial, Use
from study.storage.folder import Folder
from study.tracking.courier import Courier
from study.tracking.notes import (
    Ending,
    Note,
    Point,
    best_found,
    curve_measured,
    epoch_ended,
    now,
    trial_ended,
    trial_finished,
    trial_started,
    uses_measured,
)
from study.tracking.store import Store
from study.tracking.uri import PORTS, check_uri, scheme

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120, seven times over, would hold up a study's end
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a run whose creation was not answered would be created again
}
_FIGURES = "figures"  # folder of the images that report.md shows


class Tracker:
    """The driver's side: every call takes note and returns, whatever becomes of the store."""

    def __init__(self, uri: str, study: Study, identity: str, results: Folder, begun: int | None = None) -> None:
        """Go on with the parent run of the study of this `identity`, if there is one; `finish_trial` its trials then.

        Files go below `results` for a database, beside the database for SQLite, and where it likes for a server. Those
        of results in an object store stay there, if the store is a database.
        `begun`, in milliseconds since 1970, is of a study told of after its end: it is not shown as running.
        Raises ValueError as `check_uri`.
        """
        check_uri(uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._epochs: dict[int, set[int]] = {}  # told of each trial under way
        self._best = float("-inf")
        self._ended = False
        self._takes_files = results.path is not None or scheme(uri) not in PORTS
        self._courier: Courier[Note] = Courier("mlflow", Store(uri, study, identity, results, begun))

    @property
    def problem(self) -> str | None:
        """Why the store lacks what it was told, in one line; None while all is well."""
        return self._courier.problem

    def start_trial(self, number: int, trial_id: str, params: Mapping[str, Value]) -> None:
        """Open the trial's child run, or go on with it."""
        self._epochs[number] = set()
        self._courier.tell(trial_started(number, trial_id, params))

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """Add an epoch to the trial's metrics."""
        self._epochs.setdefault(number, set()).add(epoch.epoch)
        self._courier.tell(epoch_ended(number, epoch, now()))

    def finish_trial(self, trial: Trial) -> None:
        """End the trial's child run. One not started here is written whole, unless the study's run has it already."""
        told = self._epochs.pop(trial.number, None)
        ended = trial_ended(trial) if told is None else now()
        for note in trial_finished(trial, told or (), ended):
            self._courier.tell(note)
        if trial.status != "failed" and trial.objective is not None and trial.objective > self._best:
            self._best = trial.objective
            self._courier.tell(best_found(trial, ended))

    def log_curve(self, points: Iterable[Point]) -> None:
        """Put the curve on the parent run."""
        self._courier.tell(curve_measured(points))

    def log_uses(self, figures: Iterable[Use]) -> None:
        """Put what the features are good for beside the curve on the parent run."""
        self._courier.tell(uses_measured(figures))

    def log_files(self, folder: Path) -> None:
        """Copy the tables and reports that lie directly in `folder`, and its folder of figures, to the parent run.

        Links are left out: in somebody else's folder they may lead to anything.
        """
        if not self._takes_files:
            return
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".tmp"]
        figures = folder / _FIGURES
        if not any(path.is_symlink() for path in (figures, *figures.rglob("*"))):
            files.append(figures)
        self._courier.tell(Note(None, now(), files=tuple(path for path in files if not path.is_symlink())))

    def end(self, ending: Ending = "FINISHED", ended: int | None = None) -> None:
        """End the parent run, at `ended` or now, and as KILLED any trial still under way. The first word counts."""
        if not self._ended:
            self._ended = True
            self._courier.tell(Note(None, now() if ended is None else ended, ending=ending))
            self._courier.end()

    def close(self, ending: Ending = "FINISHED", patience: float = 10.0) -> None:
        """As `end`, and wait for it as `Courier.close` does."""
        self.end(ending)
        self._courier.close(patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(ending_of(kind))


def ending_of(kind: type[BaseException] | None) -> Ending:
    """How a study ends that an exception of such a kind ends, or none."""
    return "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
