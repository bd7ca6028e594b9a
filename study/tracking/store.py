"""Tracking store: what MLflow has of a study and what is still to be written. The only module that imports MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from study.records import Study
from study.storage.folder import Folder
from study.tracking.courier import Answers
from study.tracking.databases import opened, reason
from study.tracking.notes import Ending, Metric, Note, now, settings
from study.tracking.uri import scheme, sqlite_path, whole_uri

# What a store says to a request that can never succeed. After anything else it is asked again.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
_PERHAPS = "BAD_REQUEST"  # of a value that no database takes, but also of a connection that broke
_WEB = ("http", "https")  # servers that say where their files go
_FILES = "mlartifacts"  # folder
_ALL = 50_000  # runs, the most that MLflow takes for a number


class _Run:
    """A run that is open, and what it had when it was found."""

    def __init__(self, run: Any, client: Any) -> None:
        self.id: str = run.info.run_id
        self.status: str = run.info.status
        self.params: set[str] = set(run.data.params)  # MLflow never changes a param
        self._points: dict[tuple[str, int], float] = {}  # the newest value by metric and step
        for metric in run.data.metrics:
            points = sorted(client.get_metric_history(self.id, metric), key=lambda point: point.timestamp)
            self._points |= {(metric, point.step): point.value for point in points}

    def lacks(self, metric: Metric, newer: bool) -> bool:
        """Whether it has no such step of the metric or, where a `newer` value counts, another."""
        name, value, _, step = metric
        had = self._points.get((name, step))
        return had is None or (newer and had != value)


class Store:
    """The thread's side: what MLflow has, and what is still to be written.

    After a failure it reads again what MLflow has, for what was asked then may have been done. Writing a point again
    does no harm: MLflow keeps one of two that are equal.
    """

    def __init__(self, uri: str, study: Study, identity: str, results: Folder, begun: int | None) -> None:
        self.uri = whole_uri(uri)
        self.refusal: str | None = None  # the last thing that MLflow refused for good
        self.answers = Answers()
        self._study, self._key, self._results = study, identity, results
        self._live, self._begun = begun is None, now() if begun is None else begun
        self._client: Any = None
        self._sure = False  # that what follows is what MLflow has
        self._experiment = ""
        self._found: dict[int | None, Any] = {}  # MLflow's runs that are not finished, as they were found
        self._runs: dict[int | None, _Run] = {}  # those of them that were written to
        self._recorded: set[int] = set()  # trials that MLflow has whole
        self._notes: dict[int | None, list[Note]] = {}  # not yet written

    def add(self, note: Note) -> None:
        """Take a note for the next `write`. Cannot fail."""
        if note.trial not in self._recorded:
            self._notes.setdefault(note.trial, []).append(note)

    @property
    def left(self) -> int:
        """How many runs are still to be written."""
        return len(self._notes)

    def write(self) -> None:
        """Write all notes. Raises where the store fails; it then keeps the notes."""
        if not self._sure:
            self._open()
        self._sure = False
        for trial in sorted(self._notes, key=lambda trial: (trial is None, trial)):  # the parent last: it may end
            self._write_run(trial)
        self._sure = True

    def _open(self) -> None:
        """Find or make the experiment and the parent run, and find its children."""
        from mlflow import MlflowClient  # here, because it takes seconds

        client = self._client = opened(self.uri, lambda uri: MlflowClient(uri, uri))
        self._experiment = self._find_experiment()
        key = {"study.key": self._key, "study.method": self._study.method}
        found = client.search_runs([self._experiment], f"tags.`study.key` = '{self._key}'", max_results=1)
        parent = found[0] if found else client.create_run(self._experiment, self._begun, key, self._study.name)
        self.answers.one()
        self._found, self._runs, self._recorded = {None: parent}, {}, set()
        for child in self._children(parent.info.run_id):
            trial = child.data.tags.get("trial", "")
            if trial.isdigit() and "status" in child.data.tags and child.info.status != "RUNNING":
                self._recorded.add(int(trial))
            elif trial.isdigit():
                self._found.setdefault(int(trial), child)
        self._notes = {trial: notes for trial, notes in self._notes.items() if trial not in self._recorded}
        texts, had = settings(self._study), parent.data.params
        changed = {f"resumed.{name}": text for name, text in texts.items() if had.get(name, text) != text}
        self._notes.setdefault(None, []).insert(0, Note(None, self._begun, texts, changed))

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name, path = self._study.dataset, sqlite_path(self.uri)
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        # MLflow itself would put the files of a database into the working directory.
        folder = Folder.of(path.parent) if path else self._results
        files = folder.path.joinpath(_FILES).as_uri() if folder.path else str(folder / _FILES)
        try:
            return str(self._client.create_experiment(name, None if scheme(self.uri) in _WEB else files))
        except MlflowException:
            if found := self._client.get_experiment_by_name(name):  # another study was faster
                return str(found.experiment_id)
            raise

    def _run(self, trial: int | None, begun: int) -> _Run:
        if trial not in self._runs:
            if trial not in self._found:
                tags = {"mlflow.parentRunId": self._found[None].info.run_id, "trial": str(trial)}
                self._found[trial] = self._client.create_run(self._experiment, begun, tags, f"trial-{trial:03d}")
                self.answers.one()
            self._runs[trial] = _Run(self._found[trial], self._client)
        return self._runs[trial]

    def _write_run(self, trial: int | None) -> None:
        notes = self._notes[trial]
        run = self._run(trial, notes[0].time)
        end = next((note for note in notes if note.ending), None)
        if self._live and end is None and run.status != "RUNNING":
            self._ask(self._client.update_run, run.id, "RUNNING")
            run.status = "RUNNING"
        self._log(run, notes, newer=trial is None)
        if end and end.ending:
            if trial is None:
                self._end_children(run.id, end.time)
            self._end(run, end.ending, end.time)
        # Files come last, for their store may fail where the database does not.
        for path in (path for note in notes for path in note.files if path.exists()):
            self._ask(self._client.log_artifact, run.id, str(path))
        if end and trial is not None:
            del self._found[trial], self._runs[trial]
            self._recorded.add(trial)
        del self._notes[trial]

    def _log(self, run: _Run, notes: Iterable[Note], newer: bool) -> None:
        """Write what the run lacks. Epochs that a trial trained again, as its first session died, count once."""
        from mlflow.entities import Metric, Param, RunTag

        params = {name: Param(name, _text(value)) for note in notes for name, value in note.params.items()}
        params = {name: param for name, param in params.items() if name not in run.params}
        tags = [RunTag(name, _text(value)) for note in notes for name, value in note.tags.items()]
        metrics = [Metric(*metric) for note in notes for metric in note.metrics if run.lacks(metric, newer)]
        if params or tags or metrics:
            self._ask(self._client.log_batch, run.id, metrics, list(params.values()), tags)
        run.params |= params.keys()

    def _end(self, run: _Run, ending: Ending, time_: int) -> None:
        """End a run. One that is told of late has ended already, and knows better why it was cut short."""
        right = {ending, "FAILED"} if ending == "KILLED" else {ending}
        if self._live or run.status not in right:
            self._ask(self._client.set_terminated, run.id, ending, time_)
            run.status = ending

    def _end_children(self, parent: str, time_: int) -> None:
        """Kill the child runs that nobody will end, whichever session began them."""
        for child in self._children(parent, "attributes.status = 'RUNNING' and "):
            self._ask(self._client.set_terminated, child.info.run_id, "KILLED", time_)

    def _children(self, parent: str, which: str = "") -> Iterable[Any]:
        found: Iterable[Any] = self._client.search_runs(
            [self._experiment], f"{which}tags.`mlflow.parentRunId` = '{parent}'", max_results=_ALL
        )
        return found

    def _ask(self, request: Callable[..., Any], *arguments: Any) -> None:
        """Make a request; one that is refused for good is remembered and left."""
        from mlflow.exceptions import MlflowException

        for last in (False, True):
            try:
                request(*arguments)
            except MlflowException as error:
                if error.error_code == _PERHAPS and not last:
                    continue  # where a connection broke, the next one tells
                if error.error_code not in (*_REFUSALS, _PERHAPS):
                    raise
                self.refusal = reason(error, self.uri)
            break
        self.answers.one()


def _text(value: object) -> str:
    """As every database takes it: PostgreSQL has no character 0, and none has half a surrogate."""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
