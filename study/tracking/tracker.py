"""MLflow: an experiment a data set, a parent run a study, a child run a trial, written by one background thread."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from methods.space import Value
from study.records import Epoch, Study, Trial, Use
from study.tracking.notes import (
    Ending,
    Note,
    Point,
    best_found,
    curve_measured,
    epoch_ended,
    now,
    trial_finished,
    trial_started,
    uses_measured,
)
from study.tracking.store import Store, reason
from study.tracking.uri import check_uri, public_uri

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120, seven times over, would hold up a study's end
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
_FIGURES = "figures"  # folder of the images that report.md shows
_RETRY = 15.0  # seconds between attempts while the study runs
_LAST_RETRY = 0.5  # seconds between attempts while `close` waits


class Tracker:
    """The driver's side: every call takes note and returns, whatever becomes of the store."""

    def __init__(self, uri: str, study: Study, resume: bool = False) -> None:
        """`resume` goes on with the study's newest parent run, if there is one; `finish_trial` the stored trials then.

        Raises ValueError as `check_uri`.
        """
        check_uri(uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.problem: str | None = None  # why the store lacks what it was told, in one line; None while all is well
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._epochs: dict[int, set[int]] = {}  # told of each trial under way
        self._best = float("-inf")
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._store = Store(uri, study, resume)
        # Idle until the first trial begins, for importing MLflow would slow the start of everything else by seconds.
        # A daemon, so that a store that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._write, name="mlflow", daemon=True)
        self._thread.start()

    def start_trial(self, number: int, trial_id: str, params: Mapping[str, Value]) -> None:
        """Open the trial's child run."""
        self._epochs[number] = set()
        self._notes.put(trial_started(number, trial_id, params))

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """Add an epoch to the trial's metrics."""
        self._epochs.setdefault(number, set()).add(epoch.epoch)
        self._notes.put(epoch_ended(number, epoch, now()))

    def finish_trial(self, trial: Trial) -> None:
        """End the trial's child run. One not started here is written whole, unless the resumed run has it already."""
        for note in trial_finished(trial, self._epochs.pop(trial.number, None)):
            self._notes.put(note)
        if trial.status != "failed" and trial.objective is not None and trial.objective > self._best:
            self._best = trial.objective
            self._notes.put(best_found(trial))

    def log_curve(self, points: Iterable[Point]) -> None:
        """Put the curve on the parent run."""
        self._notes.put(curve_measured(points))

    def log_uses(self, figures: Iterable[Use]) -> None:
        """Put what the features are good for beside the curve on the parent run."""
        self._notes.put(uses_measured(figures))

    def log_files(self, folder: Path) -> None:
        """Copy the tables and reports that lie directly in `folder`, and its folder of figures, to the parent run."""
        files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".tmp")
        self._notes.put(Note(None, now(), files=(*files, folder / _FIGURES)))

    def close(self, ending: Ending = "FINISHED", patience: float = 10.0) -> None:
        """End the parent run, and as KILLED any trial still under way.

        A failing store is given up `patience` seconds after it last did as told, and one that is merely slow after
        six times as long: `problem` then says so.
        """
        if self._closing.is_set():
            return
        self._notes.put(Note(None, now(), ending=ending))
        self._closing.set()
        begun = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.05)
            silence = time.monotonic() - max(begun, self._store.answered)
            if silence > (patience if self.problem else 6 * patience):
                break
        self._given_up.set()
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"not all recorded in {public_uri(self._store.uri)}: it is too slow"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close("FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED")

    def _write(self) -> None:
        while not self._store.closed:
            self._store.add(self._notes.get())
            while not self._attempt():
                # `close` cuts the long pause short; its own attempts follow each other quickly.
                if self._closing.wait(_RETRY) and self._given_up.wait(_LAST_RETRY):
                    return

    def _attempt(self) -> bool:
        while not self._notes.empty():
            self._store.add(self._notes.get())
        try:
            self._store.write()
        except Exception as error:  # whatever MLflow raises, the study goes on
            self.problem = f"not recorded in {public_uri(self._store.uri)}: {reason(error)}"
            return False
        self.problem = self._store.refusal
        return True
