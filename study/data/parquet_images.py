"""Parquet images: the Hugging Face image layout as a source, `image` = {bytes, path} and an integer `label`."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.data.images import (
    UNLABELLED,
    Contents,
    Integers,
    Part,
    Pixels,
    Source,
    UnreadableImageError,
    decode,
    is_grey,
    unlabelled,
)
from study.data.own_images import source_name

PATTERNS = {  # of the files of each split
    "train": ("train*.parquet",),
    "test": ("test*.parquet",),
    "validation": ("val*.parquet",),
    "unlabelled": ("unlabelled*.parquet", "unlabeled*.parquet"),
}
GROUPS_KEPT = 2  # row groups in memory: images are read in order, and threads straddle at most one border


class Rows:
    """The images of some Parquet files, read a row group at a time. `path` columns are never read."""

    def __init__(self, files: list[Path]) -> None:
        """Read the footers alone; raises ValueError where there is no image column."""
        self._groups: list[tuple[Path, int, int]] = []  # (file, row group in the file, rows of the file before it)
        self._starts: list[int] = []  # first row of each group, over all files
        self._read: dict[int, pa.ChunkedArray] = {}
        self._lock = Lock()
        self.count = 0
        for file in files:
            before = 0
            parquet = _open(file)
            _check_image_column(file, parquet.schema_arrow)
            metadata = parquet.metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((file, group, before))
                self._starts.append(self.count)
                before += metadata.row_group(group).num_rows
                self.count += metadata.row_group(group).num_rows

    def read(self, index: int) -> Pixels:
        """Decode the image of a row, counted over all files."""
        encoded, named = self._encoded(index)
        if encoded is None:
            raise UnreadableImageError(
                f"{named} has no image bytes (a `path` is never followed): store the image itself, or pass "
                "--skip-bad-images"
            )
        return decode(io.BytesIO(encoded), named)

    @property
    def grey(self) -> bool:
        """Whether all of them are grey; read up to the first in colour."""
        encoded = (self._encoded(index)[0] for index in range(self.count))
        return all(is_grey(io.BytesIO(image)) for image in encoded if image is not None)

    def _encoded(self, index: int) -> tuple[bytes | None, str]:
        place = bisect_right(self._starts, index) - 1
        file, group, before = self._groups[place]
        row = index - self._starts[place]
        with self._lock:
            if place not in self._read:
                while len(self._read) >= GROUPS_KEPT:
                    del self._read[next(iter(self._read))]
                table = _open(file).read_row_group(group, columns=["image.bytes"])
                self._read[place] = pc.struct_field(table["image"], "bytes")
            column = self._read[place]
        encoded: bytes | None = column[row].as_py()
        return encoded, f"{file}, row {before + row}"


def open_parquet(path: Path, *, skip_bad_images: bool) -> Source:
    """One file, which is all train, or a folder of train*, test*, val* and unlabelled* files."""
    files = _find(path)
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for split in files for file in files[split]]

    def read_files() -> Contents:
        rows = {split: Rows(files[split]) for split in files}
        labels = {split: _labels(files[split]) for split in files if split != "unlabelled"}
        if labels["train"].max(initial=UNLABELLED) == UNLABELLED:
            raise ValueError(f"no labelled images in {path}: its train files need a `label` of 0 and up in some rows")
        classes = _class_names(files["train"][0]) or tuple(str(n) for n in range(int(labels["train"].max()) + 1))
        for split, found in labels.items():
            if len(found) and not UNLABELLED <= found.min() <= found.max() < len(classes):
                raise ValueError(
                    f"{files[split][0]} has labels from {found.min()} to {found.max()}, but there are {len(classes)} "
                    "classes: number them from 0, and use -1 or null where there is none"
                )
        return Contents(
            classes=classes,
            channels=1 if all(split.grey for split in rows.values()) else 3,
            train=Part(rows["train"].read, labels["train"]),
            test=Part(rows["test"].read, labels["test"]) if "test" in rows else None,
            validation=Part(rows["validation"].read, labels["validation"]) if "validation" in rows else None,
            unlabelled=Part(rows["unlabelled"].read, unlabelled(rows["unlabelled"].count))
            if "unlabelled" in rows
            else None,
        )

    return Source(source_name(path), f"Parquet {stamps}", None, skip_bad_images, read_files)


def _find(path: Path) -> dict[str, list[Path]]:
    """The files of each split that there is."""
    if path.is_file():
        return {"train": [path]}
    if not path.is_dir():
        raise ValueError(f"there is no {path}: name a Parquet file, or a folder that holds train*.parquet")
    files = {
        split: sorted(file for each in patterns for file in path.glob(each)) for split, patterns in PATTERNS.items()
    }
    if not files["train"]:
        present = ", ".join(sorted(file.name for file in path.iterdir())[:8])
        raise ValueError(f"no train*.parquet in {path} (it holds {present or 'nothing'}): name the folder that has it")
    return {split: found for split, found in files.items() if found}


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is no Parquet file ({' '.join(str(error).split())}): fetch it again") from error


def _check_image_column(file: Path, schema: pa.Schema) -> None:
    if "image" in schema.names:
        kind = schema.field("image").type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise ValueError(
        f"{file} has no column `image` of {{bytes, path}}: its columns are {columns}; rename or convert the one that "
        "holds the images"
    )


def _labels(files: list[Path]) -> Integers:
    found = [np.empty(0, dtype=np.int64)]
    for file in files:
        parquet = _open(file)
        schema = parquet.schema_arrow
        if "label" not in schema.names or not pa.types.is_integer(schema.field("label").type):
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise ValueError(f"{file} has no column `label` of integers: its columns are {columns}; add or convert it")
        column = parquet.read(columns=["label"])["label"].cast(pa.int64())
        found.append(pc.fill_null(column, UNLABELLED).to_numpy())
    return np.concatenate(found)


def _class_names(file: Path) -> tuple[str, ...]:
    """From the schema's Hugging Face metadata; none where there is no such."""
    metadata = _open(file).schema_arrow.metadata or {}
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return tuple(features.get("label", {}).get("names", ()))
