"""Tracking store: what MLflow has of a study and what is still to be written. The only module that imports MLflow."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.records import Study
from study.tracking.notes import Note, now, settings
from study.tracking.uri import probe, public_uri, sqlite_path

# What a store says to a request that can never succeed. After anything else it is asked again.
_REFUSALS = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")


class Store:
    """The thread's side: what MLflow has, and what is still to be written.

    Writing again what a failure left in doubt does no harm: MLflow keeps one of two equal points.
    """

    def __init__(self, uri: str, study: Study, resume: bool) -> None:
        path = sqlite_path(uri)
        self.uri = f"sqlite:///{path.absolute()}" if path else uri
        self.closed = False
        self.refusal: str | None = None  # the last thing that MLflow refused for good
        self.answered = 0.0  # when MLflow last did as told, on the monotonic clock
        self._study, self._begun = study, now()
        self._client: Any = None
        self._experiment = ""
        self._ids: dict[int | None, str] = {}  # of the runs that are open
        self._notes: dict[int | None, list[Note]] = {}  # not yet written
        self._recorded: set[str] = set()  # finished trials that the resumed run has
        # The key finds an earlier session's run, the session one whose creation was never answered.
        identity = repr((study.name, study.dataset, study.method, study.data_hash, study.seed))
        key, session = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest(), uuid.uuid4().hex
        self._tags = {"study.key": key, "study.session": session, "study.method": study.method}
        self._sought = f"tags.`study.key` = '{key}'" if resume else f"tags.`study.session` = '{session}'"

    def add(self, note: Note) -> None:
        """Take a note for the next `write`. Cannot fail."""
        if str(note.trial) not in self._recorded:
            self._notes.setdefault(note.trial, []).append(note)

    def write(self) -> None:
        """Write all notes. Raises where the store fails; it then keeps the notes."""
        if None not in self._ids:
            self._open()
        for trial in sorted(self._notes, key=lambda trial: trial is None):  # the parent last, for it may end
            self._write_run(trial)

    def _open(self) -> None:
        """Find or make the experiment and the parent run. Raises where the store fails; begin again then."""
        from mlflow import MlflowClient  # here, because it takes seconds

        for name in ("mlflow", "alembic", "urllib3"):  # they would write across the display
            logging.getLogger(name).setLevel(logging.CRITICAL)
        path = sqlite_path(self.uri)
        if path and not path.exists():
            _create_database(path)
        probe(self.uri)
        client = self._client = MlflowClient(self.uri, self.uri)
        experiment = client.get_experiment_by_name(self._study.dataset)
        # MLflow itself would put the files of a database into the working directory.
        folder = (path.parent / "mlartifacts").as_uri() if path else None
        name = self._study.dataset
        self._experiment = experiment.experiment_id if experiment else client.create_experiment(name, folder)
        found = client.search_runs([self._experiment], self._sought, max_results=1)  # the newest
        if found:
            client.update_run(found[0].info.run_id, "RUNNING")
        run = found[0] if found else client.create_run(self._experiment, self._begun, self._tags, self._study.name)
        self._recorded = self._end_children(run.info.run_id, self._begun)
        self._notes = {trial: notes for trial, notes in self._notes.items() if str(trial) not in self._recorded}
        texts = settings(self._study)
        had = run.data.params  # MLflow never changes a param
        changed = {f"resumed.{name}": text for name, text in texts.items() if had.get(name, text) != text}
        self.add(Note(None, self._begun, {name: text for name, text in texts.items() if name not in had}, changed))
        self._ids[None] = run.info.run_id

    def _write_run(self, trial: int | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        notes = self._notes[trial]
        if trial not in self._ids:
            parent = {"mlflow.parentRunId": self._ids[None]}
            created = self._client.create_run(self._experiment, notes[0].time, parent, f"trial-{trial:03d}")
            self._ids[trial] = created.info.run_id
        run = self._ids[trial]
        params = {name: Param(name, str(value)) for note in notes for name, value in note.params.items()}
        tags = [RunTag(name, str(value)) for note in notes for name, value in note.tags.items()]
        metrics = [Metric(*metric) for note in notes for metric in note.metrics]
        self._ask(self._client.log_batch, run, metrics, list(params.values()), tags)
        end = next((note for note in notes if note.ending), None)
        if end:
            if trial is None:
                self._end_children(run, end.time)
            self._ask(self._client.set_terminated, run, end.ending, end.time)
        # Files come last, for their store may fail where the database does not.
        for path in (path for note in notes for path in note.files if path.exists()):
            self._ask(self._client.log_artifact, run, str(path))
        if end:
            del self._ids[trial]
            self.closed = trial is None
        del self._notes[trial]

    def _end_children(self, parent: str, time_: int) -> set[str]:
        """Kill the child runs that nobody will end, whichever session began them. Returns the finished trials."""
        children = self._client.search_runs(
            [self._experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=50_000
        )
        for child in children:
            if child.info.status == "RUNNING":
                self._ask(self._client.set_terminated, child.info.run_id, "KILLED", time_)
        return {child.data.tags["trial"] for child in children if child.data.tags.keys() >= {"trial", "status"}}

    def _ask(self, request: Callable[..., Any], *arguments: Any) -> None:
        """Make a request; one that is refused for good is remembered and left."""
        from mlflow.exceptions import MlflowException

        try:
            request(*arguments)
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            self.refusal = f"refused by {public_uri(self.uri)}: {reason(error)}"
        self.answered = time.monotonic()


def _create_database(path: Path) -> None:
    """Make an MLflow database under another name and link it into place.

    MLflow takes seconds for it, and two studies that begin at once, or one cut short, leave a file that never works.
    """
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made.unlink(missing_ok=True)
    try:
        probe(f"sqlite:///{made}")
        MlflowClient(f"sqlite:///{made}", f"sqlite:///{made}")
        with suppress(FileExistsError):  # another study was faster
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)


def reason(error: BaseException) -> str:
    """What lies at the bottom of an error, in one line fit to be shown."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return public_uri(str(error).strip().partition("\n")[0])[:200] or type(error).__name__
