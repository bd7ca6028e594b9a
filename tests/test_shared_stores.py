"""Two whole studies at once, in one folder of results, on one MLflow and one Optuna store, both on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pandas as pd
import pytest

from tests.postgres import Postgres
from tests.stores import client

pytestmark = [
    pytest.mark.slow,  # two whole commands, each with its own Ray
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # connections of the clients here
]

TRIALS = 6
COMMAND = [
    *(sys.executable, "-m", "study.run", "--dataset", "photo-digits:1257", "--trials", str(TRIALS), "--lanes", "1"),
    *("--epochs", "4", "--epoch-images", "64", "--fractions", "0.01", "--draws", "2", "--objective-fraction", "0.01"),
    *("--modes", "frozen,random"),
]


def test_two_studies_at_once_are_recorded_whole_in_the_stores_that_they_share(
    postgres: Postgres, tmp_path: Path
) -> None:
    tracking, storage = postgres.database(), postgres.database()
    where = ["--results", str(tmp_path), "--tracking-uri", tracking, "--optuna-storage", storage]
    methods = ("rotnet", "vae")
    running = [
        subprocess.Popen([*COMMAND, "--method", method, *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for method in methods
    ]
    for each in running:
        printed, _ = each.communicate(timeout=800)
        assert each.returncode == 0, printed.decode()
        assert b"deliver later" not in printed, printed.decode()
    store = client(tracking)
    experiment = store.get_experiment_by_name("photo-digits-1257")
    runs = store.search_runs([experiment.experiment_id])
    parents = {run.info.run_id: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert sorted(run.info.run_name for run in parents.values()) == [f"photo-digits-1257-{name}" for name in methods]
    assert {run.info.status for run in parents.values()} == {"FINISHED"}
    children = Counter(run.data.tags["mlflow.parentRunId"] for run in runs if "mlflow.parentRunId" in run.data.tags)
    assert children == dict.fromkeys(parents, TRIALS)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}

    names = optuna.get_all_study_names(storage)
    assert len(names) == len(methods)
    for method in methods:
        (name,) = [each for each in names if each.startswith(f"photo-digits-1257-{method}-")]
        copied = optuna.load_study(study_name=name, storage=storage).trials
        table = pd.read_parquet(tmp_path / f"photo-digits-1257-{method}" / "trials.parquet").sort_values("trial")
        states = {"completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        assert [trial.state.name for trial in copied] == [states[status] for status in table["status"]]
        assert [len(trial.intermediate_values) for trial in copied] == list(table["epochs"])
