"""The verdict on a study that survived a fault: what it lost, what it has twice, and whether it found the same."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.equality import digests
from tests.faults.command import NAME, TRIALS


@dataclass(frozen=True)
class Kept:
    """The files of a study that were finished at some moment."""

    trials: dict[str, bytes]
    fits: dict[str, bytes]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a study at its end; all empty where nothing is."""

    trials_lost: int  # numbers missing at the end
    trials_doubled: int  # numbers in two rows, beyond the wanted, or written anew though they were finished
    fits_lost: int  # missing at the end, or written anew though they were finished
    runs_open: int  # MLflow runs that are RUNNING
    runs_doubled: int  # MLflow runs of one trial, or of one study, beyond the first
    runs_lost: int  # trials that MLflow has no run of
    unequal: tuple[str, ...]  # tables that differ from the uninterrupted study's


def keep(results: Path) -> Kept:
    """What is finished now."""
    return Kept(_read(results / NAME / "trials"), _read(results / NAME / "fits"))


def judge(results: Path, kept: Kept, reference: Path) -> Verdict:
    """Compare a study at its end with what had been `kept`, and with the uninterrupted one in `reference`."""
    folder, now, whole = results / NAME, keep(results), keep(reference)
    rows: Counter[int] = Counter()
    if (folder / "trials.parquet").exists():
        rows.update(pd.read_parquet(folder / "trials.parquet")["trial"].tolist())
    again = sum(now.trials.get(name, content) != content for name, content in kept.trials.items())
    ours, theirs = digests(folder), digests(reference / NAME)
    return Verdict(
        sum(number not in rows for number in range(TRIALS)),
        sum(count - 1 for count in rows.values()) + sum(number >= TRIALS for number in rows) + again,
        len(whole.fits.keys() - now.fits.keys())
        + sum(now.fits.get(name, content) != content for name, content in kept.fits.items()),
        *_runs(results / "mlflow.db"),
        tuple(name for name in theirs if ours.get(name) != theirs[name]),
    )


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def _runs(store: Path) -> tuple[int, int, int]:
    """MLflow runs of the study that are open, doubled and missing, read from its database as it is."""
    if not store.exists():
        return 0, 0, TRIALS
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        status = dict(connection.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'"))
        tags = [each for each in connection.execute("SELECT run_uuid, key, value FROM tags") if each[0] in status]
    connection.close()
    children = {run for run, key, _ in tags if key == "mlflow.parentRunId"}
    studies = Counter(value for run, key, value in tags if key == "study.key" and run not in children)
    trials = Counter(value for run, key, value in tags if key == "trial" and run in children)
    doubled = sum(count - 1 for count in (*studies.values(), *trials.values()))
    return (
        sum(each == "RUNNING" for each in status.values()),
        doubled,
        sum(str(number) not in trials for number in range(TRIALS)),
    )
