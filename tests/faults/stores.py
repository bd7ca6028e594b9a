"""Stores: MLflow that is down, locked or deleted while a study runs."""

from __future__ import annotations

import sqlite3
import time
from random import Random

from tests.faults.bench import Bench, Fault, Tried


def down(bench: Bench, random: Random) -> Tried:
    """Nothing listens where MLflow should be; the next session finds a store."""
    case = bench.case()
    running = case.start("--tracking-uri", "http://127.0.0.1:9", faulty=False)
    case.end(running)
    case.strike(running)
    case.go_on()
    return case.tried()


def locked(bench: Bench, random: Random) -> Tried:
    """Another process holds the database for ten seconds."""
    case = bench.case()
    running = case.start(faulty=False)
    running.until_said("trial 3 ")
    case.strike(running)
    other = sqlite3.connect(case.results / "mlflow.db", isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    time.sleep(10)
    other.execute("ROLLBACK")
    other.close()
    case.end(running)
    return case.tried()


def deleted(bench: Bench, random: Random) -> Tried:
    """The database is deleted in the middle; the study is resumed once it has ended."""
    case = bench.case()
    running = case.start(faulty=False)
    running.until_said("trial 5 ")
    case.strike(running)
    for path in case.results.glob("mlflow.db*"):
        path.unlink()
    case.end(running)
    case.go_on()
    return case.tried()


FAULTS = [
    Fault("mlflow-down", "--tracking-uri where nothing listens, then --resume with a store", down),
    Fault("mlflow-locked", "the database locked by another process for 10 s", locked),
    Fault("mlflow-deleted", "the database deleted after trial 5, then --resume", deleted),
]
