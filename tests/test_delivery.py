"""What a store missed is delivered later from the study's own files, nothing twice, and no password is ever shown."""

from __future__ import annotations

import dataclasses
import http.server
import io
import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console
from sqlalchemy.pool import NullPool

from study import report
from study.environment import environment
from study.options import parse
from study.records import Started, Trial, best_trial
from study.storage import files
from study.storage.folder import Folder
from study.storage.tables import write_tables
from study.storage.uses import write_uses
from study.terminal.display import Display
from study.tracking.delivery import identity, later
from study.tracking.optuna_copy import OptunaCopy
from study.tracking.tracker import Tracker
from study.tracking.uri import check_storage, check_uri, hidden, public_uri
from tests import made_up
from tests.postgres import PASSWORD, USER, Postgres
from tests.stores import client, found, points, run_trial, statuses, tracked

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

TRIALS = 9


def made_up_trials(count: int) -> list[Trial]:
    """Within the ranges of the method, which an Optuna storage holds them to."""
    made = made_up.trials(count)
    return [dataclasses.replace(trial, params=trial.params | {"batch_size": 64}) for trial in made]


def write_finished(results: Path, name: str, dataset: str) -> Path:
    """The folder of a study that came to its end."""
    study = dataclasses.replace(made_up.study(name), dataset=dataset, trials=TRIALS)
    folder, trials = results / name, made_up_trials(TRIALS)
    best = best_trial(trials)
    assert best is not None
    fits = [
        dataclasses.replace(fit, trial_id=fit.trial_id and best.trial_id)
        for fit in made_up.fits({"frozen": (0.4, 0.9), "random": (0.3, 0.8)}, draws=2)
    ]
    uses = made_up.uses()
    uses = dataclasses.replace(
        uses, figures=tuple(dataclasses.replace(use, trial_id=best.trial_id) for use in uses.figures)
    )
    files.write_study(folder, study, {"id": name.encode().hex().ljust(16, "0")[:16], "command": []})
    for trial in trials:
        files.write_trial(folder, trial)
    files.write_fits(folder, fits)
    write_uses(folder, uses)
    write_tables(folder, study, trials, fits)
    (folder / "report.md").write_text("# Report")
    return folder


def write_interrupted(results: Path, name: str, dataset: str) -> Path:
    """The folder of a study that was killed with a trial under way."""
    folder = results / name
    study = dataclasses.replace(made_up.study(name), dataset=dataset, trials=TRIALS)
    files.write_study(folder, study, {"id": name.encode().hex().ljust(16, "0")[:16], "command": []})
    trials = made_up_trials(5)
    for trial in (*trials[:2], *trials[3:]):
        files.write_trial(folder, trial)
    files.write_started(folder, Started(2, trials[2].params, trials[2].started_at))
    return folder


def everything(uri: str, dataset: str) -> dict[str, Any]:
    """All that MLflow has of a data set's runs: status and times, params, tags, and every point of every metric."""
    had = {}
    for run in found(uri, dataset):
        metrics = {metric: sorted(points(uri, run, metric).items()) for metric in run.data.metrics}
        study = run.data.tags.get("study.key", run.data.tags.get("mlflow.parentRunId"))
        key = f"{study} {run.info.run_name}"
        assert key not in had, f"{key} twice"
        times = run.info.start_time, run.info.end_time
        had[key] = (run.info.status, times, run.data.params, run.data.tags, metrics)
    return had


def copies(uri: str) -> dict[str, list[optuna.trial.FrozenTrial]]:
    """The trials of every study in an Optuna storage."""
    storage = optuna.storages.RDBStorage(uri.replace("{", "{{").replace("}", "}}"), {"poolclass": NullPool})
    return {
        study.study_name: storage.get_all_trials(study._study_id, deepcopy=False) for study in storage.get_all_studies()
    }


def run_report(*arguments: str) -> tuple[int, str]:
    """Exit status, and all that was printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            status = report.main(arguments)
        except SystemExit as ended:
            status = int(str(ended.code))
    return status, printed.getvalue()


def test_studies_that_no_store_heard_of_are_delivered_from_their_files_and_nothing_twice(
    postgres: Postgres, tmp_path: Path
) -> None:
    name = tmp_path.name.replace("_", "-")[-40:]
    write_finished(tmp_path, "finished", name)
    write_interrupted(tmp_path, "interrupted", name)
    tracking, storage = postgres.database(), postgres.database()
    command = ("--results", str(tmp_path), "--tracking-uri", tracking, "--optuna-storage", storage)
    postgres.stop()
    try:
        status, printed = run_report(*command)
    finally:
        postgres.start()
    assert status == 1
    assert "error: MLflow: finished not recorded in postgresql://***@127.0.0.1" in printed
    assert "error: Optuna: finished not recorded in postgresql://***@127.0.0.1" in printed
    assert (tmp_path / "report.html").exists()

    status, printed = run_report(*command)
    assert status == 0, printed
    first, first_copies = everything(tracking, name), copies(storage)
    counts = Counter(status for status, *_ in first.values())
    assert Counter(status for name, status in statuses(tracking, name) if name == "finished") == {"FINISHED": 1}
    assert Counter(status for name, status in statuses(tracking, name) if name == "interrupted") == {"KILLED": 1}
    assert sum(counts.values()) == 2 + TRIALS + 4
    assert counts["RUNNING"] == 0
    assert all(n == 1 for *_, metrics in first.values() for steps in metrics.values() for _, n in steps)
    parent = next(run for run in found(tracking, name) if run.info.run_name == "finished")
    assert {"accuracy.frozen", "use.random.clustering.ari", "best_objective"} <= parent.data.metrics.keys()
    assert "report.md" in [file.path for file in client(tracking).list_artifacts(parent.info.run_id)]

    assert run_report(*command)[0] == 0
    assert everything(tracking, name) == first
    assert copies(storage) == first_copies
    for folder, waiting in (("finished", 0), ("interrupted", 1)):
        copied = next(trials for study, trials in first_copies.items() if study.startswith(f"{folder}-"))
        stored = files.read_trials(tmp_path / folder)
        assert [trial.user_attrs["trial"] for trial in copied] == [trial.number for trial in copied]
        assert Counter(trial.state.name for trial in copied) == Counter(
            {"completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[trial.status] for trial in stored
        ) + Counter({"WAITING": waiting})
        for trial in stored:
            assert copied[trial.number].params.items() <= trial.params.items()
            assert copied[trial.number].intermediate_values == {e.epoch: e.objective for e in trial.history}


def test_a_study_that_its_patience_ended_has_come_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.delivery.PATIENCE", 60.0)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for name, patience in (("impatient", 1), ("patient", 2)):
        folder = write_finished(tmp_path, name, "patience")
        trials = files.read_trials(folder)
        later_one = dataclasses.replace(trials[0], number=TRIALS, trial_id="later", objective=0.0)
        assert best_trial([*trials, later_one]) == trials[-1]
        study, environment = files.read_study(folder)
        study = dataclasses.replace(study, trials=100, patience=patience)
        files.write_study(folder, study, environment)
        files.write_trial(folder, later_one)
        write_tables(folder, study, [*trials, later_one], files.read_fits(folder))
    assert run_report("--results", str(tmp_path), "--tracking-uri", uri)[0] == 0
    ended = dict(statuses(uri, "patience"))
    assert (ended["impatient"], ended["patient"]) == ("FINISHED", "KILLED")


def test_a_study_recorded_in_part_is_completed(tmp_path: Path) -> None:
    folder = write_finished(tmp_path, "part", "part")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    study, environment = files.read_study(folder)
    trials = files.read_trials(folder)
    tracker = tracked(uri, study, identity(study, environment), tmp_path)
    run_trial(tracker, trials[0])
    tracker.start_trial(1, trials[1].trial_id, trials[1].params)
    tracker.log_epoch(1, trials[1].history[0])
    tracker.close("KILLED")
    assert tracker.problem is None
    status, printed = run_report("--results", str(tmp_path), "--tracking-uri")
    assert status == 0, printed
    ended = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    expected = [("part", "FINISHED"), *((f"trial-{trial.number:03d}", ended[trial.status]) for trial in trials)]
    assert sorted(statuses(uri, "part")) == expected
    had = everything(uri, "part")
    assert all(n == 1 for *_, metrics in had.values() for steps in metrics.values() for _, n in steps)
    for trial in trials:
        run = next(run for run in found(uri, "part") if run.info.run_name == f"trial-{trial.number:03d}")
        assert points(uri, run) == Counter({epoch.epoch: 1 for epoch in trial.history})


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.delivery.PATIENCE", 1.0)


def test_a_study_that_runs_is_left_to_its_driver(tmp_path: Path) -> None:
    write_interrupted(tmp_path, "running", "some")
    write_finished(tmp_path, "ended", "some")
    script = "import sys, time; from pathlib import Path; from study.storage.locks import held\n"
    script += "with held(Path(sys.argv[1]), 'running'): print('held', flush=True); time.sleep(600)"
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        with driver:
            assert driver.stdout is not None
            driver.stdout.readline()
            status, printed = run_report("--results", str(tmp_path), "--optuna-storage", f"sqlite:///{tmp_path}/o.db")
            driver.kill()
    finally:
        driver.kill()
    assert status == 0, printed
    assert f"running is being run by process {driver.pid}" in printed
    assert [name.rpartition("-")[0] for name in copies(f"sqlite:///{tmp_path}/o.db")] == ["ended"]


def test_the_files_of_results_in_an_object_store_stay_there(postgres: Postgres, tmp_path: Path) -> None:
    study = dataclasses.replace(made_up.study(), dataset="remote")
    uri = postgres.database()
    (tmp_path / "report.md").write_text("# Report")
    with Tracker(uri, study, "an-identity", Folder.of("s3://bucket/results")) as tracker:
        tracker.log_files(tmp_path)
        tracker.close(patience=60)
    assert tracker.problem is None
    assert client(uri).get_experiment_by_name("remote").artifact_location == "s3://bucket/results/mlartifacts"


@contextmanager
def broken_server() -> Iterator[int]:
    """The port of a web server that answers everything with 500."""

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500, f"what went wrong at {self.headers.get('Authorization')}")

        do_POST = do_GET  # noqa: N815, for so the server looks it up

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("fault", ["wrong password", "no such database", "connection refused", "http 500"])
def test_a_password_reaches_nothing_that_a_study_prints_or_writes(
    fault: str, postgres: Postgres, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_finished(tmp_path, "secret", "secret")
    closed = f"postgresql://{USER}:marker-word@127.0.0.1:1/x"
    uris = {
        "wrong password": postgres.uri("template1", "marker-word@/?"),
        "no such database": postgres.uri("nowhere"),
        "connection refused": closed,
        "http 500": closed,
    }
    storage = f"{uris[fault]}2"
    caplog.set_level(logging.DEBUG)
    with broken_server() as port:
        uri = f"http://{USER}:marker-word@127.0.0.1:{port}" if fault == "http 500" else uris[fault]
        study, _ = files.read_study(folder)
        printed = io.StringIO()
        display = Display("secret", "rotnet", "secret", TRIALS, None, 9, 2, False, Console(file=printed))
        tracker = tracked(uri, study, "an-identity", tmp_path)
        copy = OptunaCopy(storage, study, "an-identity", [], [])
        for trial in made_up_trials(3):
            run_trial(tracker, trial)
            run_trial(copy, trial)
        tracker.close(patience=0.2)
        copy.close(patience=0.2)
        options = ["--method", "rotnet", "--tracking-uri", uri, f"--optuna-storage={storage}"]
        assert parse(options).tracking_uri == uri
        about = environment(folder, ["python", "-m", "study.run", *options])
        files.write_study(folder, study, about)
        display.note(f"{tracker.problem} {copy.problem} {later(Folder.of(tmp_path), '--tracking-uri', uri)}")
        write_finished(tmp_path / "others", "other", "other")
        status, reported = run_report("--results", str(tmp_path), "--tracking-uri", uri, "--optuna-storage", storage)
    assert status == 1, reported
    assert tracker.problem and copy.problem
    out, err = capfd.readouterr()
    texts = {"printed": printed.getvalue(), "report": reported, "out": out, "err": err, "log": caplog.text}
    texts |= {str(path): path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*.*") if path.is_file()}
    texts["problems"] = f"{tracker.problem} {copy.problem}"
    for where, text in texts.items():
        assert "marker" not in text, f"{where}: {text[:500]}"
        assert f'"{USER}"' not in text and f"{USER}:" not in text, f"{where}: {text[:500]}"
    assert json.loads((folder / files.STUDY).read_text())["environment"]["command"][6] == public_uri(uri)


def test_a_message_loses_user_and_password_however_it_quotes_them() -> None:
    uri = f"postgresql://{USER}:{'a%40b'}@host/db"
    assert hidden('password authentication failed for user "ada"', uri) == (
        'password authentication failed for user "***"'
    )
    assert hidden("the secret is a@b, or a%40b", uri) == "the secret is ***, or ***"
    assert public_uri("postgresql://host/db?user=ada&password=word") == "postgresql://host/db?user=***&password=***"
    assert hidden("no password here", "postgresql://host/db") == "no password here"
    assert PASSWORD not in hidden(f"{PASSWORD}!", f"postgresql://{USER}:{PASSWORD}@host/db")


@pytest.mark.parametrize(
    ("uri", "refusal"),
    [
        ("http://host:5000", "begins with none of sqlite"),
        ("sqlite:///", "names no database file"),
        ("sqlite:///results/mlflow.db", "a database of its own"),
        ("postgresql+psycopg3000://host/db", "is no database that can be reached"),
        ("mysql+pymysql://ada:word@host/db", "needs the Python package pymysql: pip install pymysql"),
        ("postgresql+pg8000://ada:word@host/db", "needs the Python package pg8000: pip install pg8000"),
    ],
)
def test_a_storage_that_can_never_work_is_refused_in_one_line(uri: str, refusal: str) -> None:
    with pytest.raises(ValueError, match="--optuna-storage") as refused:
        check_storage(uri, "sqlite:///results/../results/mlflow.db")
    assert refusal in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "word" not in str(refused.value)


def test_one_database_for_both_stores_is_refused_and_two_of_one_server_are_not() -> None:
    with pytest.raises(ValueError, match="a database of its own"):
        check_storage("postgresql+psycopg://ada@host/db", "postgresql://bob:word@host:5432/db")
    check_storage("postgresql://ada@host/optuna", "postgresql://ada@host/mlflow")
    check_uri("postgresql:///mlflow")  # by the server's own socket


def test_the_stores_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///there.db")
    options = parse(["--method", "rotnet"])
    assert (options.tracking_uri, options.optuna_storage) == ("http://there:5000", "sqlite:///there.db")
    assert parse(["--method", "rotnet", "--tracking-uri", "http://here"]).tracking_uri == "http://here"
