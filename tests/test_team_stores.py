"""A store that a team shares: MLflow over PostgreSQL, alone and behind a server, whole and in faults."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from study.tracking import courier
from study.tracking.tracker import Tracker
from tests.cut_connection import cut_connection
from tests.postgres import Postgres
from tests.stores import STUDY, children, client, epoch, found, points, run_trial, statuses, tracked, trial, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

TRIALS = 6


@pytest.fixture(scope="module")
def store(postgres: Postgres) -> str:
    """A database whose tables are made by the drivers that first come to it."""
    return postgres.database()


@pytest.fixture(scope="module")
def server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server over the same database."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tracked(store, dataclasses.replace(STUDY, dataset="another")).close()  # or both would make the tables
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    what = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "files")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where, *what],
            cwd=folder,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        uri = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(f"{uri}/health"), seconds=120)
        yield uri
        os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _whole_studies(uris: list[str], name: str, folder: Path, at_once: Any) -> None:
    courier.RETRY = courier.LAST_RETRY = 600.0  # neither may get in the other's way even once
    study = dataclasses.replace(STUDY, name=name, dataset=folder.name)
    (folder / name).mkdir()
    (folder / name / "report.md").write_text(name)
    for uri in uris:
        at_once.wait()
        with tracked(uri, study, name, folder) as tracker:
            for number in range(TRIALS):
                run_trial(tracker, trial(number))
            tracker.log_files(folder / name)
            tracker.close(patience=60)
        assert tracker.problem is None, tracker.problem


def test_two_drivers_at_once_are_recorded_whole_by_an_empty_postgresql_and_by_a_server(
    postgres: Postgres, server: str, tmp_path: Path
) -> None:
    uris = [postgres.database(), server]
    context = multiprocessing.get_context("spawn")
    at_once = context.Barrier(2)
    names = ("one", "other")
    drivers = [context.Process(target=_whole_studies, args=(uris, name, tmp_path, at_once)) for name in names]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0, 0]
    for uri in uris:
        runs = statuses(uri, tmp_path.name)
        assert sorted(run for run in runs if not run[0].startswith("trial")) == [(n, "FINISHED") for n in names]
        for name in names:
            found = children(uri, name, tmp_path.name)
            assert sorted(run.info.run_name for run in found) == [f"trial-{number:03d}" for number in range(TRIALS)]
            assert {run.info.status for run in found} == {"FINISHED"}
            for run in found:
                assert points(uri, run) == Counter({1: 1, 2: 1, 3: 1})
    # Two reports lie below the results for the database alone; those of the server lie where it keeps them.
    assert sorted(path.read_text() for path in (tmp_path / "mlartifacts").rglob("*.md")) == ["one", "other"]


@pytest.mark.parametrize("way", ["store", "server"])
def test_a_database_killed_and_restarted_in_mid_study_is_told_everything_once(
    way: str, postgres: Postgres, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri: str = request.getfixturevalue(way)
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.2)
    study = dataclasses.replace(STUDY, dataset=tmp_path.name)
    slowest = 0.0
    with tracked(uri, study, tmp_path.name, tmp_path) as tracker:
        for number in range(12):
            if number == 4:
                wait_until(lambda: len(statuses(uri, study.dataset)) > 2)
                postgres.stop()
            begun = time.perf_counter()
            run_trial(tracker, trial(number))
            slowest = max(slowest, time.perf_counter() - begun)
            if number == 8:
                wait_until(lambda: tracker.problem is not None)
                postgres.start()
    assert tracker.problem is None, tracker.problem
    assert slowest < 0.1  # seconds, for five calls
    names = Counter(name for name, _ in statuses(uri, study.dataset))
    assert names == Counter([STUDY.name, *(f"trial-{number:03d}" for number in range(12))])
    assert {status for _, status in statuses(uri, study.dataset)} == {"FINISHED"}
    for run in children(uri, STUDY.name, study.dataset):
        assert points(uri, run) == Counter({1: 1, 2: 1, 3: 1})


def test_a_database_that_hangs_delays_no_call_and_the_end_by_its_patience(
    postgres: Postgres, store: str, tmp_path: Path
) -> None:
    tracker = tracked(store, dataclasses.replace(STUDY, dataset=tmp_path.name), tmp_path.name, tmp_path)
    tracker.start_trial(0, "t0", {})
    wait_until(lambda: len(statuses(store, tmp_path.name)) == 2)
    postgres.freeze()
    try:
        begun = time.perf_counter()
        for number in range(1, 20):
            run_trial(tracker, trial(number))
        assert time.perf_counter() - begun < 0.1
        tracker.close(patience=0.3)
        assert time.perf_counter() - begun < 5
    finally:
        postgres.freeze(False)
    assert tracker.problem is not None
    assert "too slow" in tracker.problem


def _die_in_the_middle(uris: list[str], folder: Path) -> None:
    """Two trials are finished, the third is at its second epoch and the fourth at none."""
    for uri in uris:
        tracker = tracked(uri, dataclasses.replace(STUDY, dataset=folder.name), folder.name, folder)
        for number in range(2):
            run_trial(tracker, trial(number))
        tracker.start_trial(2, "t2", trial(2).params)
        tracker.log_epoch(2, epoch(1))
        tracker.log_epoch(2, epoch(2))
        tracker.start_trial(3, "t3", trial(3).params)
    time.sleep(600)


def test_a_study_resumed_after_kill_9_has_one_run_a_trial_with_its_whole_history(store: str, tmp_path: Path) -> None:
    uris = [f"sqlite:///{tmp_path / 'mlflow.db'}", store]
    driver = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(uris, tmp_path))
    driver.start()
    wait_until(lambda: (tmp_path / "mlflow.db").exists(), seconds=60)
    for uri in uris:
        wait_until(partial(_has_runs, uri, tmp_path.name, 5), seconds=60)
    assert driver.pid is not None
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    for uri in uris:
        assert Counter(status for _, status in statuses(uri, tmp_path.name)) == {"RUNNING": 3, "FINISHED": 2}
        _resume(uri, tmp_path)


def _has_runs(uri: str, dataset: str, count: int) -> bool:
    return len(statuses(uri, dataset)) == count


def _resume(uri: str, tmp_path: Path) -> None:
    with tracked(uri, dataclasses.replace(STUDY, dataset=tmp_path.name), tmp_path.name, tmp_path) as tracker:
        tracker.finish_trial(trial(0))
        tracker.finish_trial(trial(1))
        third = trial(2)
        tracker.start_trial(2, third.trial_id, third.params)
        for again in third.history:  # from its first epoch on, as no checkpoint was left
            tracker.log_epoch(2, again)
        tracker.finish_trial(third)
        run_trial(tracker, trial(3))
    assert tracker.problem is None, tracker.problem
    assert sorted(statuses(uri, tmp_path.name)) == [
        (STUDY.name, "FINISHED"),
        *((f"trial-{number:03d}", "FINISHED") for number in range(4)),
    ]
    for run in children(uri, STUDY.name, tmp_path.name):
        for metric in ("loss", "objective", "images_per_second", "loss.rotation"):
            assert points(uri, run, metric) == Counter({1: 1, 2: 1, 3: 1}), run.info.run_name
        assert points(uri, run, "best_objective") == Counter({3: 1})
    parent = client(uri).get_run(children(uri, STUDY.name, tmp_path.name)[0].data.tags["mlflow.parentRunId"])
    assert max(points(uri, parent, "best_objective").values()) == 1


def test_a_connection_that_is_cut_after_any_commit_leaves_nothing_twice_in_mlflow(
    postgres: Postgres, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.05)
    monkeypatch.setattr("study.tracking.courier.LAST_RETRY", 0.05)
    for at in range(100):
        study = dataclasses.replace(STUDY, dataset=f"{tmp_path.name}-{at}")
        with cut_connection(postgres.port, at) as cut:
            uri = store.replace(f":{postgres.port}/", f":{cut.port}/")
            with tracked(uri, study, study.dataset, tmp_path) as tracker:
                tracker.start_trial(0, "t0", trial(0).params)
                wait_until(partial(_has_runs, store, study.dataset, 2))
                run_trial(tracker, trial(1, epochs=1))
                tracker.finish_trial(trial(0, epochs=1))
        assert tracker.problem is None
        names = (STUDY.name, "trial-000", "trial-001")
        assert sorted(statuses(store, study.dataset)) == [(name, "FINISHED") for name in names], at
        for run in found(store, study.dataset):
            assert all(points(store, run, metric).most_common(1)[0][1] == 1 for metric in run.data.metrics), at
        if not cut.made:
            break
    assert at > 5  # commits of a study of two trials


def test_a_tracker_may_be_closed_twice(tmp_path: Path) -> None:
    tracker: Tracker = tracked(f"sqlite:///{tmp_path / 'no' / 'such' / 'mlflow.db'}")
    tracker.close(patience=0)
    tracker.close(patience=0)
