"""Parquet images: the Hugging Face image layout as a source, `image` = {bytes, path} and an integer `label`."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
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
from study.documents import checked

PATTERNS = {  # of the files of each split
    "train": ("train*.parquet",),
    "test": ("test*.parquet",),
    "validation": ("val*.parquet",),
    "unlabelled": ("unlabelled*.parquet", "unlabeled*.parquet"),
}
GROUP_BYTES = 2**31 - 1  # of images in a row group; Arrow keeps no more in one array of bytes
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
            _check_sizes(file, metadata)
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
                with _damage_told(file):
                    # Kept as a dictionary where it is stored as one: else a file of 2 kB grows to terabytes.
                    parquet = pq.ParquetFile(file, read_dictionary=["image.bytes"])
                    table = parquet.read_row_group(group, columns=["image.bytes"])
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
        highest = int(labels["train"].max())
        classes = _class_names(files["train"][0])
        if not classes and highest >= len(labels["train"]):
            raise ValueError(
                f"{path} has the label {highest}, but fewer rows than so many classes: number the classes from 0"
            )
        classes = classes or tuple(str(n) for n in range(highest + 1))
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
    for file in (file for found in files.values() for file in found):
        if not file.is_file():  # a pipe would be waited for
            raise ValueError(f"{file} is no plain file: remove it")
    return {split: found for split, found in files.items() if found}


def _open(file: Path) -> pq.ParquetFile:
    with _damage_told(file):
        return pq.ParquetFile(file)


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:  # also names that are no text
        raise ValueError(f"{file} is no Parquet file ({' '.join(str(error).split())}): fetch it again") from error


def _check_sizes(file: Path, metadata: pq.FileMetaData) -> None:
    """Refuse what would fill the memory."""
    if metadata.num_rows > file.stat().st_size:
        raise ValueError(f"{file} is damaged: it is too small for the {metadata.num_rows:,} rows that it claims")
    for group in (metadata.row_group(place) for place in range(metadata.num_row_groups)):
        columns = (group.column(place) for place in range(group.num_columns))
        size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "image.bytes")
        if size > GROUP_BYTES:
            raise ValueError(
                f"{file} holds a row group of {size / 1e9:.1f} GB, and more than {GROUP_BYTES / 1e9:.1f} GB are not "
                "read at a time: write it with smaller ones, such as row_group_size=1000"
            )


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
        with _damage_told(file):
            column = parquet.read(columns=["label"])["label"].cast(pa.int64())
            found.append(pc.fill_null(column, UNLABELLED).to_numpy())
    return np.concatenate(found)


def _class_names(file: Path) -> tuple[str, ...]:
    """From the schema's Hugging Face metadata; none where there is no such."""
    metadata = _open(file).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = checked(tuple[str, ...], features.get("label", {}).get("names", ()), "its class names")
        if len(set(names)) < len(names) or not all(name.isprintable() for name in names):
            raise ValueError("two classes have one name, or one has a name that cannot be printed")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} names no classes as Hugging Face does ({error}): mend its metadata") from error
    return tuple(names)
