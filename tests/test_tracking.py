"""MLflow: what a study leaves in the store, and that a store which is down costs the study nothing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from study.tracking.courier import Answers, Courier
from study.tracking.uri import check_uri, public_uri
from tests.stores import PARAMS, STUDY, client, epoch, run_trial, runs, statuses, tracked, trial, wait_until

# MLflow 3.17's own models, read by SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, made once because that takes MLflow seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracked(f"sqlite:///{path}", dataclasses.replace(STUDY, dataset="another")).close()
    assert path.exists()
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_trial_becomes_a_child_run_with_its_params_metrics_and_status(uri: str) -> None:
    with tracked(uri) as tracker:
        run_trial(tracker, trial(0))
        run_trial(tracker, trial(1, "pruned", epochs=1))
        run_trial(tracker, trial(2, "failed", epochs=0, error="the loss is nan"))
    assert tracker.problem is None
    found = runs(uri)
    parent = found[STUDY.name]
    statuses = {name: run.info.status for name, run in found.items()}
    assert statuses == {STUDY.name: "FINISHED", "trial-000": "FINISHED", "trial-001": "KILLED", "trial-002": "FAILED"}
    first = found["trial-000"]
    assert first.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.data.params == {name: str(value) for name, value in PARAMS.items()}
    history = client(uri).get_metric_history(first.info.run_id, "loss.rotation")
    assert [(point.step, point.value) for point in history] == [(1, 0.75), (2, 0.375), (3, 0.25)]
    assert {"loss", "loss.decay", "objective", "images_per_second"} <= first.data.metrics.keys()
    assert found["trial-002"].data.tags["error"] == "the loss is nan"
    assert parent.data.metrics["best_objective"] == pytest.approx(0.51)
    assert parent.data.tags["best_trial"] == "1"
    assert parent.data.params["objective_fraction"] == str(STUDY.objective_fraction)


def test_the_curve_lies_on_the_parent_run_with_the_labels_as_step(uri: str) -> None:
    with tracked(uri) as tracker:
        tracker.log_curve([("frozen", 126, 0.1, 0.6, 0.5, 0.7, 5), ("frozen", 1257, 1.0, 0.8, None, None, 1)])
    parent = runs(uri)[STUDY.name]
    for name, expected in {
        "accuracy.frozen": [(126, 0.6), (1257, 0.8)],
        "accuracy.frozen.low": [(126, 0.5)],
        "accuracy.frozen.high": [(126, 0.7)],
    }.items():
        history = client(uri).get_metric_history(parent.info.run_id, name)
        assert [(point.step, point.value) for point in history] == expected


def test_files_of_a_study_become_artifacts_beside_the_database(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "figures").mkdir()
    (folder / "figures" / "samples.png").write_bytes(b"PNG")
    (folder / "report.md").write_text("# Report")
    (folder / "trials.parquet.tmp").write_text("half")
    (folder / "checkpoints" / "weights").write_text("large")
    with tracked(uri) as tracker:
        tracker.log_files(folder)
    parent = runs(uri)[STUDY.name]
    assert [file.path for file in client(uri).list_artifacts(parent.info.run_id)] == ["figures", "report.md"]
    assert {path.name for path in (tmp_path / "mlartifacts").rglob("*.*")} == {"samples.png", "report.md"}


def test_an_interrupted_study_leaves_nothing_running(uri: str) -> None:
    with pytest.raises(KeyboardInterrupt), tracked(uri) as tracker:
        run_trial(tracker, trial(0))
        tracker.start_trial(1, "t1", PARAMS)
        tracker.log_epoch(1, epoch(1))
        raise KeyboardInterrupt
    statuses = {name: run.info.status for name, run in runs(uri).items()}
    assert statuses == {STUDY.name: "KILLED", "trial-000": "FINISHED", "trial-001": "KILLED"}


def test_a_resumed_study_goes_on_with_its_run_and_lacks_no_trial(uri: str) -> None:
    before = tracked(uri)
    run_trial(before, trial(0))
    before.start_trial(1, "t1", PARAMS)
    wait_until(lambda: len(statuses(uri)) == 3 and "trials" in runs(uri)[STUDY.name].data.params)
    # The session dies here, without `close`. Trial 2 finished while the store did not answer.
    with tracked(uri, dataclasses.replace(STUDY, trials=9)) as after:
        after.finish_trial(trial(0))
        after.finish_trial(trial(2))
    store = client(uri)
    experiment = store.get_experiment_by_name(STUDY.dataset)
    found = store.search_runs([experiment.experiment_id])
    assert sorted((run.info.run_name, run.info.status) for run in found) == [
        (STUDY.name, "FINISHED"),
        ("trial-000", "FINISHED"),
        ("trial-001", "KILLED"),
        ("trial-002", "FINISHED"),
    ]
    parent = next(run for run in found if run.info.run_name == STUDY.name)
    assert (parent.data.params["trials"], parent.data.tags["resumed.trials"]) == ("20", "9")
    late = next(run for run in found if run.info.run_name == "trial-002")
    assert late.info.end_time - late.info.start_time == 60_000
    assert late.info.start_time == round(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp() * 1000)
    before.close(patience=0)


def test_a_study_of_the_same_name_in_another_folder_has_a_run_of_its_own(uri: str) -> None:
    tracked(uri).close()
    tracked(uri, identity="another").close()
    store = client(uri)
    experiment = store.get_experiment_by_name(STUDY.dataset)
    assert len(store.search_runs([experiment.experiment_id])) == 2


def test_a_store_that_is_down_costs_training_milliseconds(closed_port: int) -> None:
    tracker = tracked(f"http://user:secret@127.0.0.1:{closed_port}")
    begun = time.perf_counter()
    for number in range(20):
        run_trial(tracker, trial(number))
    assert time.perf_counter() - begun < 0.1  # seconds, for 100 calls
    tracker.close(patience=0.5)
    assert tracker.problem is not None
    assert "refused" in tracker.problem
    assert "\n" not in tracker.problem
    assert "secret" not in tracker.problem


def test_a_folder_that_cannot_be_written_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tracker = tracked(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    run_trial(tracker, trial(0))
    tracker.close(patience=0.5)
    assert tracker.problem is not None
    assert "not recorded" in tracker.problem


def test_a_store_that_can_be_read_and_not_written_is_given_up(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does SQLite on a full disk: it finds the study's run, and fails at the first metric, again and again."""
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.1)
    monkeypatch.setattr("study.tracking.courier.LAST_RETRY", 0.1)

    def full(*_: object, **__: object) -> None:
        raise OSError("database or disk is full")

    with tracked(uri) as tracker:
        monkeypatch.setattr("mlflow.MlflowClient.log_batch", full)
        run_trial(tracker, trial(0))
        begun = time.perf_counter()
        tracker.close(patience=1.0)
    assert 1.0 < time.perf_counter() - begun < 5.0
    assert tracker.problem is not None and "disk is full" in tracker.problem


class _Slow:
    """A destination whose first attempt fails near its end, and whose second, with less to do, takes its time."""

    uri = "sqlite:///nowhere"
    refusal: str | None = None

    def __init__(self) -> None:
        self.answers, self.left = Answers(), 0

    def add(self, note: int) -> None:
        self.left += note

    def write(self) -> None:
        if self.left > 1:
            for _ in range(self.left):
                self.answers.one()
            self.left = 1
            raise OSError("a connection broke")
        for _ in range(6):
            time.sleep(0.5)
            self.answers.one()
        self.left = 0


def test_a_store_that_works_again_is_waited_for_though_less_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.1)
    slow = _Slow()
    courier = Courier[int]("slow", slow)
    courier.tell(50)
    courier.close(patience=1.5)
    assert slow.left == 0 and courier.problem is None


def test_a_store_that_comes_back_is_told_everything(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.1)
    (tmp_path / "later").symlink_to(tmp_path / "missing" / "folder")
    tracker = tracked(f"sqlite:///{tmp_path / 'later' / 'mlflow.db'}")
    run_trial(tracker, trial(0))
    wait_until(lambda: tracker.problem is not None)
    (tmp_path / "missing" / "folder").mkdir(parents=True)
    (tmp_path / "mlflow.db").rename(tmp_path / "missing" / "folder" / "mlflow.db")
    run_trial(tracker, trial(1))
    tracker.close()
    assert tracker.problem is None
    found = runs(f"sqlite:///{tmp_path / 'missing' / 'folder' / 'mlflow.db'}")
    assert {name: run.info.status for name, run in found.items()} == {
        STUDY.name: "FINISHED",
        "trial-000": "FINISHED",
        "trial-001": "FINISHED",
    }


def _one_trial(uri: str, number: int) -> None:
    with tracked(uri, dataclasses.replace(STUDY, name=f"study-{number}"), f"{number}" * 16) as tracker:
        run_trial(tracker, trial(0))


@pytest.mark.slow
def test_studies_that_begin_at_once_on_a_new_database_are_all_recorded(tmp_path: Path) -> None:
    new = f"sqlite:///{tmp_path / 'mlflow.db'}"
    context = multiprocessing.get_context("spawn")
    studies = [context.Process(target=_one_trial, args=(new, number)) for number in range(3)]
    for process in studies:
        process.start()
    for process in studies:
        process.join()
    assert {run.info.status for run in runs(new).values()} == {"FINISHED"}
    assert {f"study-{number}" for number in range(3)} <= runs(new).keys()


def test_what_the_store_refuses_is_said_and_holds_up_nothing_else(uri: str) -> None:
    with tracked(uri) as tracker:
        tracker.start_trial(0, "t0", {"lr": "a value longer than MLflow takes " * 1000, "%&?": 1})
        run_trial(tracker, trial(1))
    assert tracker.problem is not None
    assert "refused" in tracker.problem
    assert {name: run.info.status for name, run in runs(uri).items()} == {
        STUDY.name: "FINISHED",
        "trial-000": "KILLED",
        "trial-001": "FINISHED",
    }


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "http://", "http://host:port", "ftp://host/"]
)
def test_a_uri_that_can_be_no_store_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(ValueError, match="--tracking-uri") as refusal:
        check_uri(uri)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///results/mlflow.db", "https://host", "http://a:b@host:5000/path", "postgresql+psycopg://a:b@host/c"],
)
def test_a_uri_that_can_be_a_store_is_taken(uri: str) -> None:
    check_uri(uri)


def test_a_password_is_never_shown() -> None:
    assert public_uri("https://ada:se@cr/et@host:5000/x") == "https://***@host:5000/x"
    assert public_uri("no answer from mysql+pymysql://ada:secret@host/x: refused") == (
        "no answer from mysql+pymysql://***@host/x: refused"
    )
    assert public_uri("sqlite:////home/ada@host/mlflow.db") == "sqlite:////home/ada@host/mlflow.db"
    with pytest.raises(ValueError, match="--tracking-uri") as refusal:
        check_uri("ftp://ada:secret@host")
    assert "secret" not in str(refusal.value)
