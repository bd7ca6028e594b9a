"""What the tests of stores share: a made-up study that is recorded, and what a store has of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.records import Epoch, Status, Study, Trial
from study.storage.folder import Folder
from study.tracking.courier import Recorder
from study.tracking.tracker import Tracker
from tests import made_up

STUDY = made_up.study()
PARAMS = {"batch_size": 64, "lr": 1e-3, "dropout": 0.3, "augmentation": 0.5, "label_smoothing": 0.1, "copies": 4}


def epoch(number: int, objective: float = 0.5) -> Epoch:
    return Epoch(number, 1 / number, {"rotation": 0.75 / number, "decay": 0.25 / number}, objective, 2.0, 5028, 600.0)


def trial(number: int, status: Status = "completed", epochs: int = 3, error: str | None = None) -> Trial:
    history = tuple(epoch(e + 1, 0.5 + number / 100 + e / 1000) for e in range(epochs))
    objective = max((e.objective for e in history), default=None)
    begun = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat()
    return Trial(number, f"t{number}", status, dict(PARAMS), objective, 60.0, number % 2, begun, 7, error, history)


def run_trial(tracker: Recorder, finished: Trial) -> None:
    tracker.start_trial(finished.number, finished.trial_id, finished.params)
    for one in finished.history:
        tracker.log_epoch(finished.number, one)
    tracker.finish_trial(finished)


def tracked(uri: str, study: Study = STUDY, identity: str = "0123456789abcdef", results: Path = Path()) -> Tracker:
    return Tracker(uri, study, identity, Folder.of(results))


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def runs(uri: str) -> dict[str, Any]:
    """The runs of the data set's experiment by name; a name that repeats keeps its newest run."""
    store = client(uri)
    experiment = store.get_experiment_by_name(STUDY.dataset)
    found = store.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return {run.info.run_name: run for run in found}


def found(uri: str, dataset: str = STUDY.dataset) -> list[Any]:
    """Every run of a data set's experiment."""
    experiment = client(uri).get_experiment_by_name(dataset)
    runs: list[Any] = client(uri).search_runs([experiment.experiment_id], max_results=50_000) if experiment else []
    return runs


def statuses(uri: str, dataset: str = STUDY.dataset) -> list[tuple[str, str]]:
    """Name and status of every run of a data set's experiment."""
    return [(run.info.run_name, run.info.status) for run in found(uri, dataset)]


def children(uri: str, study: str, dataset: str = STUDY.dataset) -> list[Any]:
    """The runs of a study's trials."""
    runs = found(uri, dataset)
    parents = {run.info.run_id for run in runs if run.info.run_name == study}
    return [run for run in runs if run.data.tags.get("mlflow.parentRunId") in parents]


def points(uri: str, run: Any, metric: str = "objective") -> Counter[int]:
    """How many points a metric of a run has at each step."""
    return Counter(point.step for point in client(uri).get_metric_history(run.info.run_id, metric))


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
