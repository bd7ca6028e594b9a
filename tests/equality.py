"""Equality of studies: one hash of all that a study found, without what it cost and where it ran."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

TABLES = ("trials", "history", "curves", "uses")
_COSTS = ["seconds", "started_at", "images_per_second", "lane"]


def digests(folder: Path) -> dict[str, str]:
    """A hash of each table of the study in `folder`; where a table is missing, so is its hash."""
    return {name: _hash(path) for name in TABLES if (path := folder / f"{name}.parquet").exists()}


def digest(folder: Path) -> str:
    """One hash of all four tables: equal where two studies found the same, to the last bit of every figure."""
    found = digests(folder)
    assert len(found) == len(TABLES), f"{folder} has {', '.join(found) or 'no tables'}, and should have all of {TABLES}"
    return hashlib.sha256("".join(found.values()).encode()).hexdigest()[:16]


def _hash(path: Path) -> str:
    frame = pd.read_parquet(path).drop(columns=_COSTS, errors="ignore")
    # A table's rows may stand in any order, and history's columns in that of the first trial to end.
    lines = frame[sorted(frame.columns)].to_csv(index=False).splitlines()
    return hashlib.sha256("\n".join([lines[0], *sorted(lines[1:])]).encode()).hexdigest()[:16]
