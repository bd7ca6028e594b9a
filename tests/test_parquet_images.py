"""Parquet images: the Hugging Face layout, as it is published and as it goes wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study.data.dataset import prepare
from study.data.images import UNLABELLED, Pixels, UnreadableImageError
from study.data.sources import open_source
from tests.image_files import labels_of, pixels_of, random_images

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def write(
    file: Path,
    labels: list[int | None],
    *,
    names: tuple[str, ...] = (),
    seed: int = 0,
    shape: tuple[int, ...] = (8, 8, 3),
    replaced: dict[int, bytes | None] | None = None,
    label_type: Any = None,
) -> None:
    encoded: list[bytes | None] = [png(pixels) for pixels in random_images(len(labels), *shape, seed=seed)]
    for row, content in (replaced or {}).items():
        encoded[row] = content
    images = [{"bytes": content, "path": "/etc/hostname"} for content in encoded]
    fields = [pa.field("image", IMAGE), pa.field("label", label_type or pa.int64())]
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    table = pa.table([pa.array(images, IMAGE), pa.array(labels, fields[1].type)], pa.schema(fields, metadata))
    pq.write_table(table, file, row_group_size=3)


def test_a_single_file_is_all_train_and_its_classes_have_the_names_of_its_schema(tmp_path: Path) -> None:
    write(tmp_path / "pets.parquet", [0, 1, 2, 0, 1, 2, 0], names=("cat", "dog", "eel"))
    source = open_source(f"parquet:{tmp_path / 'pets.parquet'}")
    contents = source.open()
    assert (source.name, contents.classes, contents.channels) == ("pets", ("cat", "dog", "eel"), 3)
    assert labels_of(contents.train) == [0, 1, 2, 0, 1, 2, 0]
    assert np.array_equal(pixels_of(contents.train), random_images(7, 8, 8, 3))
    assert contents.test is None and contents.unlabelled is None


def test_a_folder_of_files_keeps_its_splits_in_the_order_of_the_files(tmp_path: Path) -> None:
    write(tmp_path / "train-00001-of-00002.parquet", [1, 1], seed=1)
    write(tmp_path / "train-00000-of-00002.parquet", [0, 0, 0, 0], seed=0)
    write(tmp_path / "test.parquet", [1, 0], seed=2)
    write(tmp_path / "validation.parquet", [0], seed=3)
    write(tmp_path / "unlabelled.parquet", [1, 1, 1], seed=4)
    contents = open_source(f"parquet:{tmp_path}").open()
    assert contents.classes == ("0", "1")
    assert labels_of(contents.train) == [0, 0, 0, 0, 1, 1]
    assert labels_of(contents.test) == [1, 0]
    assert labels_of(contents.validation) == [0]
    assert labels_of(contents.unlabelled) == [UNLABELLED] * 3
    expected = np.concatenate([random_images(4, 8, 8, 3, seed=0), random_images(2, 8, 8, 3, seed=1)])
    assert np.array_equal(pixels_of(contents.train), expected)


def test_a_missing_label_is_minus_one_or_null(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, None, 1, -1])
    assert labels_of(open_source(f"parquet:{tmp_path}").open().train) == [0, UNLABELLED, 1, UNLABELLED]
    write(tmp_path / "train.parquet", [0, None, 1], label_type=pa.uint8())
    assert labels_of(open_source(f"parquet:{tmp_path}").open().train) == [0, UNLABELLED, 1]


def test_grey_images_keep_one_channel(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 0, 1, 0, 1, 0, 1], shape=(8, 8))
    assert open_source(f"parquet:{tmp_path}").open().channels == 1
    write(tmp_path / "test.parquet", [0, 1])
    assert open_source(f"parquet:{tmp_path}").open().channels == 3


def test_prepared_pixels_are_those_of_the_file_in_any_number_of_row_groups(tmp_path: Path) -> None:
    labels: list[int | None] = [row % 2 for row in range(500)]
    write(tmp_path / "train.parquet", labels)
    found = prepare(open_source(f"parquet:{tmp_path}"), size=8, cache=tmp_path / "cache", seed=0)
    assert np.array_equal(found.pixels, random_images(500, 8, 8, 3))


@pytest.mark.parametrize(("content", "reason"), [(None, "never followed"), (b"no image", "it is no image")])
def test_a_bad_image_is_named_by_file_and_row_or_skipped(tmp_path: Path, content: bytes | None, reason: str) -> None:
    write(tmp_path / "train.parquet", [0, 1] * 5, replaced={7: content})
    with pytest.raises(UnreadableImageError, match=rf"train\.parquet, row 7 .*{reason}.*--skip-bad-images"):
        prepare(open_source(f"parquet:{tmp_path}"), size=8, cache=tmp_path / "cache", seed=0)
    source = open_source(f"parquet:{tmp_path}", skip_bad_images=True)
    assert prepare(source, size=8, cache=tmp_path / "cache", seed=0).skipped == 1


def test_files_of_another_shape_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    def refused(message: str, name: str = "train.parquet") -> None:
        with pytest.raises(ValueError, match=message) as caught:
            open_source(f"parquet:{tmp_path / name}").open()
        assert "\n" not in str(caught.value)

    file = tmp_path / "train.parquet"
    refused("there is no", name="nowhere")
    (tmp_path / "notes.txt").write_text("no Parquet")
    refused(r"no train\*\.parquet in .* \(it holds notes\.txt\)", name=".")
    refused("is no Parquet file", name="notes.txt")
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), file)
    refused(r"no column `image` .* text \(string\), label \(int64\)")
    pq.write_table(pa.table({"image": [b"bytes alone"], "label": [0]}), file)
    refused(r"no column `image` .* image \(binary\)")
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"", "path": ""}], IMAGE), "label": ["cat"]}), file)
    refused(r"no column `label` of integers.* label \(string\)")
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"", "path": ""}], IMAGE)}), file)
    refused("no column `label`")
    write(file, [0, 1, 5], names=("cat", "dog"))
    refused("labels from 0 to 5, but there are 2 classes")
    write(file, [0, 1, -2])
    refused("labels from -2 to 1")
    write(file, [])
    refused("no labelled images in")
    write(file, [None, -1])
    refused("no labelled images in")


def test_cifar_as_jpegs_has_its_classes_and_sizes(study_data: Path) -> None:
    contents = open_source(f"parquet:{study_data / 'cifar10-jpeg75'}").open()
    assert contents.classes[:3] == ("airplane", "automobile", "bird") and contents.channels == 3
    assert (len(labels_of(contents.train)), len(labels_of(contents.test))) == (50_000, 10_000)
    assert np.bincount(contents.train.labels).tolist() == [5_000] * 10
    assert contents.train.read(49_999).shape == (32, 32, 3)
