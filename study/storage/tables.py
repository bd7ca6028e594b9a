"""Tables: Parquet in and out. All are made again from a study's JSON files whenever it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from methods.space import Value
from study.documents import opened
from study.records import Fit, Study, Trial, Use
from study.storage.files import damaged, write_whole

TRIALS, HISTORY, CURVES, COMPARISON = "trials.parquet", "history.parquet", "curves.parquet", "comparison.parquet"
USES = "uses.parquet"
_UNITS = {
    "accuracy": "fraction",
    "area": "fraction",
    "area_high": "fraction",
    "area_low": "fraction",
    "fraction": "fraction",
    "high": "fraction",
    "images": "images",
    "image_size": "pixels",
    "images_per_second": "images/s",
    "images_seen": "images",
    "labels": "labels",
    "labels_per_class": "labels/class",
    "low": "fraction",
    "mean": "fraction",
    "n": "draws",
    "objective": "fraction",
    "repeats": "pretrainings",
    "seconds": "s",
    "neighbours": "images",
    "top5": "fraction",
    "value": "fraction",
}
_TEXT, _WHOLE, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")
_WHOSE = {"study": _TEXT, "dataset": _TEXT, "method": _TEXT}
_TRIAL_COLUMNS = _WHOSE | {
    "trial": _WHOLE,
    "trial_id": _TEXT,
    "status": _TEXT,
    "objective": _REAL,
    "epochs": _WHOLE,
    "seconds": _REAL,
    "images_seen": _WHOLE,
    "lane": _WHOLE,
    "started_at": _TIME,
    "error": _TEXT,
    "seed": _WHOLE,
}
_CURVE_COLUMNS = _WHOSE | {
    "mode": _TEXT,
    "fraction": _REAL,
    "labels": _WHOLE,
    "labels_per_class": _REAL,
    "repeat": _WHOLE,
    "draw": _WHOLE,
    "seed": _WHOLE,
    "split": _TEXT,
    "accuracy": _REAL,
    "top5": _REAL,
    "trial_id": _TEXT,
    "seconds": _REAL,
}
_USE_COLUMNS = _WHOSE | {
    "encoder": _TEXT,
    "use": _TEXT,
    "measure": _TEXT,
    "stage": _TEXT,
    "labels": _WHOLE,
    "neighbours": _WHOLE,
    "images": _WHOLE,
    "value": _REAL,
    "trial_id": _TEXT,
}
_COMPARISON_COLUMNS = _WHOSE | {
    "data_hash": _TEXT,
    "seed": _WHOLE,
    "encoder": _TEXT,
    "image_size": _WHOLE,
    "mode": _TEXT,
    "fraction": _REAL,
    "labels": _WHOLE,
    "mean": _REAL,
    "low": _REAL,
    "high": _REAL,
    "n": _WHOLE,
    "repeats": _WHOLE,
    "area": _REAL,
    "area_low": _REAL,
    "area_high": _REAL,
    "trials": _WHOLE,
    "images_seen": _WHOLE,
    "seconds": _REAL,
}


def write_tables(folder: Path, study: Study, trials: Sequence[Trial], fits: Sequence[Fit]) -> None:
    """Write trials.parquet, history.parquet and curves.parquet: results/README.md documents their columns."""
    _write(folder / TRIALS, _trials_table(study, trials))
    _write(folder / HISTORY, _history_table(trials))
    _write(folder / CURVES, _curves_table(study, fits))


def write_uses_table(folder: Path, study: Study, figures: Sequence[Use]) -> None:
    """Write uses.parquet."""
    whose = {"study": study.name, "dataset": study.dataset, "method": study.method}
    rows = [vars(use) | whose for use in figures]
    _write(folder / USES, _table({name: [row[name] for row in rows] for name in _USE_COLUMNS}, _USE_COLUMNS))


def write_comparison(results: Path, summary: pd.DataFrame) -> None:
    """Write comparison.parquet: a column each of those that results/README.md documents."""
    # an absent bound is null, not NaN: with one draw there is no interval
    columns = {name: [None if pd.isna(value) else value for value in summary[name]] for name in _COMPARISON_COLUMNS}
    _write(results / COMPARISON, _table(columns, _COMPARISON_COLUMNS))


def read_table(path: Path) -> pd.DataFrame:
    """One of the tables. Raises ValueError naming a file that cannot be read."""
    try:
        with opened(path, path.parent) as file:
            frame: pd.DataFrame = pq.read_table(file).to_pandas(ignore_metadata=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    return frame


def curves_frame(study: Study, fits: Sequence[Fit]) -> pd.DataFrame:
    """The fits as curves.parquet holds them, without a file."""
    frame: pd.DataFrame = _curves_table(study, fits).to_pandas()
    return frame


def _trials_table(study: Study, trials: Sequence[Trial]) -> pa.Table:
    rows = [
        vars(trial)
        | {"study": study.name, "dataset": study.dataset, "method": study.method, "trial": trial.number}
        | {"epochs": trial.epochs, "images_seen": trial.images_seen}
        | {"started_at": datetime.fromisoformat(trial.started_at)}
        for trial in trials
    ]
    columns = {name: [row[name] for row in rows] for name in _TRIAL_COLUMNS}
    types = dict(_TRIAL_COLUMNS)
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        types[f"param.{name}"], columns[f"param.{name}"] = _typed([trial.params.get(name) for trial in trials])
    return _table(columns, types)


def _history_table(trials: Sequence[Trial]) -> pa.Table:
    rows = [(trial, epoch) for trial in trials for epoch in trial.history]
    terms = {f"loss.{term}": term for term in dict.fromkeys(term for _, epoch in rows for term in epoch.terms)}
    types = {"trial": _WHOLE, "epoch": _WHOLE, "loss": _REAL} | dict.fromkeys(terms, _REAL)
    types |= {"objective": _REAL, "seconds": _REAL, "images_per_second": _REAL}
    columns: dict[str, list[Any]] = {
        name: [epoch.terms.get(terms[name]) if name in terms else getattr(epoch, name) for _, epoch in rows]
        for name in types
        if name != "trial"
    }
    for number in dict.fromkeys(number for _, epoch in rows for number in epoch.numbers):
        types[f"number.{number}"] = _REAL
        columns[f"number.{number}"] = [epoch.numbers.get(number) for _, epoch in rows]
    return _table(columns | {"trial": [trial.number for trial, _ in rows]}, types)


def _curves_table(study: Study, fits: Sequence[Fit]) -> pa.Table:
    whose = {"study": study.name, "dataset": study.dataset, "method": study.method}
    in_order = sorted(fits, key=lambda fit: (fit.mode, fit.fraction, fit.repeat, fit.draw, fit.split))
    rows = [vars(fit) | whose for fit in in_order]
    return _table({name: [row[name] for row in rows] for name in _CURVE_COLUMNS}, _CURVE_COLUMNS)


def _table(columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    fields = []
    for name, kind in types.items():
        unit = _UNITS.get(name)
        fields.append(pa.field(name, kind, metadata={"unit": unit} if unit else None))
    return pa.Table.from_arrays([pa.array(columns[f.name], f.type) for f in fields], schema=pa.schema(fields))


def _typed(values: Sequence[Value | None]) -> tuple[pa.DataType, list[Value | None]]:
    """The narrowest column type that holds all values, and the values in it."""
    kinds = {type(value) for value in values if value is not None}
    for column, held in ((pa.bool_(), {bool}), (_WHOLE, {int}), (_REAL, {int, float})):
        if kinds <= held:
            return column, list(values)
    return _TEXT, [None if value is None else str(value) for value in values]


def _write(path: Path, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    write_whole(path, buffer.getvalue().to_pybytes())
