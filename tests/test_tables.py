"""The Parquet tables hold what the records hold, in documented columns with types and units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow.parquet as pq
import pytest

from methods.space import Value
from study.records import Use
from study.reporting.comparison_table import comparison_frame
from study.reporting.side_by_side import StudyResults
from study.storage.tables import read_table, write_comparison, write_tables, write_uses_table
from tests import made_up

README = Path(__file__).parents[1] / "results" / "README.md"
TRIALS = (
    "study dataset method trial trial_id status objective epochs seconds images_seen lane started_at error seed "
    "param.batch_size param.lr param.dropout param.augmentation param.label_smoothing param.copies"
)
HISTORY = "trial epoch loss loss.rotation objective seconds images_per_second number.effective_rank"
CURVES = (
    "study dataset method mode fraction labels labels_per_class repeat draw seed split accuracy top5 trial_id seconds"
)


def write(folder: Path) -> None:
    write_tables(folder, made_up.study(), made_up.trials(10), made_up.fits({"frozen": (0.4, 0.9)}))


def test_the_columns_are_those_that_are_documented(tmp_path: Path) -> None:
    write(tmp_path)
    for name, columns in (("trials", TRIALS), ("history", HISTORY), ("curves", CURVES)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").names == columns.split()
    documented = dict(_documented())
    assert set(CURVES.split()) <= documented["curves"] | {"study", "dataset", "method"}
    assert (
        set(HISTORY.replace("loss.rotation", "loss.TERM").replace("effective_rank", "NAME").split())
        == documented["history"]
    )
    own = {column for column in TRIALS.split() if not column.startswith("param.")}
    assert own <= documented["trials"]


def _documented() -> Iterator[tuple[str, set[str]]]:
    for part in README.read_text().split("\n## ")[1:]:
        rows = [line for line in part.splitlines() if line.startswith("| `")]
        cells = [row.split("|")[1] for row in rows]
        yield part.split(".")[0], {name.strip(" `") for cell in cells for name in cell.split(",")}


def test_the_columns_are_typed_and_say_their_unit(tmp_path: Path) -> None:
    write(tmp_path)
    schema = pq.read_schema(tmp_path / "trials.parquet")
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert types["trial"] == types["images_seen"] == types["param.batch_size"] == "int64"
    assert types["objective"] == types["seconds"] == types["param.lr"] == "double"
    assert types["study"] == types["status"] == types["error"] == "string"
    assert types["started_at"] == "timestamp[us, tz=UTC]"
    assert schema.field("seconds").metadata[b"unit"] == b"s"
    assert schema.field("images_seen").metadata[b"unit"] == b"images"


def test_a_row_holds_what_its_trial_holds(tmp_path: Path) -> None:
    write(tmp_path)
    table, trials = read_table(tmp_path / "trials.parquet"), made_up.trials(10)
    assert table["param.lr"].tolist() == [trial.params["lr"] for trial in trials]
    assert table["images_seen"].tolist() == [trial.images_seen for trial in trials]
    assert table["started_at"][3] == pd.Timestamp(trials[3].started_at)
    failed = table[table["status"] == "failed"]
    assert failed["objective"].isna().all()
    assert failed["error"].str.contains("NaN").all()
    assert table.loc[table["status"] != "failed", "error"].isna().all()


def test_the_history_has_a_row_an_epoch_and_a_gap_where_a_term_is_absent(tmp_path: Path) -> None:
    first, second = made_up.trials(2)
    with_term = replace(second, history=tuple(replace(e, terms={"kl": 0.25}) for e in second.history))
    write_tables(tmp_path, made_up.study(), [first, with_term], [])
    table = read_table(tmp_path / "history.parquet")
    assert len(table) == first.epochs + second.epochs
    assert table.loc[table["trial"] == 1, "loss.kl"].tolist() == [0.25] * second.epochs
    assert table.loc[table["trial"] == 0, "loss.kl"].isna().all()


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ((1, 2), "int64"),
        ((1, 0.5), "double"),
        ((True, False), "bool"),
        (("relu", "leaky"), "string"),
        (("relu", 3), "string"),
    ],
)
def test_a_setting_gets_the_narrowest_type_that_holds_it(
    tmp_path: Path, values: tuple[Value, Value], column: str
) -> None:
    trials = [replace(t, params={"own": v}) for t, v in zip(made_up.trials(2), values, strict=True)]
    write_tables(tmp_path, made_up.study(), trials, [])
    assert str(pq.read_schema(tmp_path / "trials.parquet").field("param.own").type) == column


def test_a_study_that_has_finished_nothing_has_tables_with_columns(tmp_path: Path) -> None:
    write_tables(tmp_path, made_up.study(), [], [])
    assert list(read_table(tmp_path / "curves.parquet").columns) == CURVES.split()
    assert len(read_table(tmp_path / "trials.parquet")) == 0


def test_nothing_is_left_beside_the_tables(tmp_path: Path) -> None:
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.parquet", "history.parquet", "trials.parquet"]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curves.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"curves\.parquet cannot be read"):
        read_table(path)


def one_draw(folder: Path) -> None:
    fits = made_up.fits({"frozen": (0.4, 0.9), "random": (0.2, 0.8)}, draws=1)
    write_comparison(folder, comparison_frame([StudyResults("rotnet", made_up.study(), made_up.trials(3), fits)]))


def one_use(folder: Path) -> None:
    use = Use("pretrained", "neighbours", "accuracy", "conv3", 126, 5, 270, 0.75, "5b1f_00000")
    write_uses_table(folder, made_up.study(), [use, replace(use, use="linear", neighbours=None)])


def test_one_draw_leaves_null_bounds_in_the_comparison(tmp_path: Path) -> None:
    one_draw(tmp_path)
    columns = pq.read_table(tmp_path / "comparison.parquet")
    assert all(columns[name].null_count == len(columns) for name in ("low", "high", "area_low", "area_high"))
    assert columns["n"].to_pylist() == [1] * len(columns)
    assert not np.isnan(columns["mean"].to_numpy()).any()


def test_a_baseline_beside_another_method_has_no_cost_and_a_search_has(tmp_path: Path) -> None:
    one_draw(tmp_path)
    rows = read_table(tmp_path / "comparison.parquet").groupby("mode")[["trials", "images_seen", "seconds"]].first()
    trials = made_up.trials(3)
    assert rows.isna().loc["random"].all()
    assert list(rows.loc["frozen"]) == [3, sum(t.images_seen for t in trials), sum(t.seconds for t in trials)]


def test_every_column_of_the_comparison_is_documented_with_its_unit(tmp_path: Path) -> None:
    one_draw(tmp_path)
    assert set(pq.read_schema(tmp_path / "comparison.parquet").names) == dict(_documented())["comparison"]


def test_the_documented_types_and_units_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    one_draw(tmp_path)
    one_use(tmp_path)
    names = {"double": "float64", "timestamp[us, tz=UTC]": "timestamp"}
    checked = 0
    for part in README.read_text().split("\n## ")[1:]:
        schema = pq.read_schema(tmp_path / part.splitlines()[0])
        for row in (line for line in part.splitlines() if line.startswith("| `")):
            columns, kind, unit = (cell.strip() for cell in row.split("|")[1:4])
            for column in (name.strip(" `") for name in columns.split(",")):
                if kind and column in schema.names and kind != "timestamp":
                    field = schema.field(column)
                    assert names.get(str(field.type), str(field.type)) == kind, column
                    assert (field.metadata or {}).get(b"unit", b"").decode() == unit, column
                    checked += 1
    assert checked > 40


@pytest.mark.parametrize("name", ["trials", "history", "curves", "uses", "comparison"])
def test_duckdb_and_polars_read_what_pandas_reads(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    one_draw(tmp_path)
    one_use(tmp_path)
    path = tmp_path / f"{name}.parquet"
    expected = pq.read_table(path).to_pylist()
    frame = read_table(path)
    assert polars.read_parquet(path).to_dicts() == expected
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        columns = [column[0] for column in found.description]
        rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    assert rows == expected
    for column in columns:
        read = [None if pd.isna(value) else value for value in frame[column].tolist()]
        assert read == [row[column] for row in expected]
