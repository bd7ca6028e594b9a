"""Prepared data: what is in the array, what identifies it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from study.data.dataset import Dataset, load, prepare
from study.data.images import UNLABELLED, Contents, Integers, Part, Pixels, UnreadableImageError, in_memory
from tests.image_files import classes_of, part_of, random_images, toy_source


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path, seed=0)


# What is prepared.


def test_images_of_the_asked_size_are_kept_bit_for_bit(tmp_path: Path) -> None:
    pixels = random_images(60, 12, 12, 3)
    found = prepare(toy_source(in_memory(pixels, classes_of(30, 30)), channels=3), size=12, cache=tmp_path, seed=0)
    assert found.pixels.shape == (60, 12, 12, 3)
    assert np.array_equal(found.pixels, pixels)
    assert not found.pixels.flags.writeable


@pytest.mark.parametrize("shape", [(64, 40, 3), (40, 64, 3), (16, 16, 3), (9, 31, 3)])
def test_other_images_are_resized_by_their_shorter_side_and_cropped_in_the_centre(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    gradient = np.linspace(0, 200, shape[0])[:, None, None] + np.linspace(0, 50, shape[1])[None, :, None]
    pixels = np.repeat(np.broadcast_to(gradient, shape)[None].astype(np.uint8), 20, axis=0)
    found = prepare(toy_source(in_memory(pixels, classes_of(10, 10)), channels=3), size=16, cache=tmp_path, seed=0)
    scale = 16 / min(shape[:2])
    width, height = round(shape[1] * scale), round(shape[0] * scale)
    whole = np.asarray(Image.fromarray(pixels[0]).resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    top, left = (height - 16) // 2, (width - 16) // 2
    expected = whole[top : top + 16, left : left + 16]
    assert np.abs(found.pixels[0] - expected).mean() < 6  # half a pixel apart where the margin is odd


def test_grey_images_among_coloured_ones_get_three_equal_channels(tmp_path: Path) -> None:
    grey, coloured = part_of(classes_of(10, 10)), part_of(np.full(4, UNLABELLED), 8, 8, 3)
    found = prepare(toy_source(grey, channels=3, unlabelled=coloured), size=8, cache=tmp_path, seed=0)
    assert np.array_equal(found.pixels[:20], np.repeat(random_images(20, 8, 8)[..., None], 3, axis=3))
    assert np.array_equal(found.pixels[20:], random_images(4, 8, 8, 3))


def test_a_prepared_source_is_not_read_again(tmp_path: Path) -> None:
    first = prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path, seed=0)

    def open_again() -> Contents:
        raise AssertionError("opened again")

    again = prepare(replace(toy_source(part_of(classes_of(20, 20))), open=open_again), size=8, cache=tmp_path, seed=0)
    assert again.hash == first.hash and again.folder == first.folder


def test_a_worker_loads_what_the_driver_prepared(tmp_path: Path) -> None:
    prepared = prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path, seed=3, pool_images=20)
    loaded = load(prepared.folder, seed=3, pool_images=20)
    assert np.array_equal(loaded.pixels, prepared.pixels)
    assert np.array_equal(loaded.pool, prepared.pool) and np.array_equal(loaded.test, prepared.test)
    assert (loaded.hash, loaded.classes, loaded.name) == (prepared.hash, ("a", "b"), "toy")


def test_two_processes_that_prepare_the_same_at_once_both_end_well(tmp_path: Path) -> None:
    whole = part_of(classes_of(20, 20))
    others: list[Dataset] = []

    def read(index: int) -> Pixels:
        if index == 5 and not others:  # another process starts and finishes while this one is under way
            others.append(prepare(toy_source(whole), size=8, cache=tmp_path, seed=0))
        return whole.read(index)

    mine = prepare(toy_source(Part(read, whole.labels)), size=8, cache=tmp_path, seed=0)
    assert mine.folder == others[0].folder and mine.hash == others[0].hash
    assert [folder.name for folder in tmp_path.iterdir()] == [mine.folder.name]


def test_what_a_killed_preparation_left_behind_does_no_harm(tmp_path: Path) -> None:
    name = prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path / "elsewhere", seed=0).folder.name
    left = tmp_path / f".{name}-killed" / "prepared"
    left.mkdir(parents=True)
    (left / "pixels.uint8").write_bytes(b"half")
    assert len(prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path, seed=0).labels) == 40


def test_progress_is_told_up_to_the_last_image(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    prepare(
        toy_source(part_of(classes_of(100, 100))), size=8, cache=tmp_path, seed=0, progress=lambda *at: told.append(at)
    )
    assert told[-1] == (200, 200) and told == sorted(told) and len(told) > 1


def broken(whole: Part, places: set[int]) -> Part:
    def read(index: int) -> Pixels:
        if index in places:
            raise UnreadableImageError(f"cannot read image-{index}.png: pass --skip-bad-images")
        return whole.read(index)

    return Part(read, whole.labels)


def test_an_unreadable_image_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image-7\.png.*--skip-bad-images"):
        prepare(toy_source(broken(part_of(classes_of(20, 20)), {7})), size=8, cache=tmp_path, seed=0)
    assert not list(tmp_path.iterdir())


def test_skipped_images_are_counted_and_take_their_labels_along(tmp_path: Path) -> None:
    whole, test = part_of(classes_of(100, 100)), part_of(classes_of(5, 5), seed=1)
    bad = {0, 7, 64, 65, *range(128, 192)}  # a whole block among them
    found = prepare(toy_source(broken(whole, bad), skip=True, test=test), size=8, cache=tmp_path, seed=0)
    kept = [index for index in range(200) if index not in bad]
    assert found.skipped == len(bad)
    assert np.array_equal(found.pixels[: len(kept), :, :, 0], random_images(200, 8, 8)[kept])
    assert np.array_equal(found.labels[: len(kept)], whole.labels[kept])
    assert np.array_equal(found.labels[found.test], test.labels)


# The hash.


def test_results_are_comparable_only_on_equal_pixels_labels_and_test_split(tmp_path: Path) -> None:
    def hash_of(pixels: Pixels, labels: Integers, seed: int = 0, folder: str = "a", pool: int | None = None) -> str:
        toy = toy_source(in_memory(pixels, labels), validation=part_of(classes_of(2, 2)))
        return prepare(toy, size=8, cache=tmp_path / folder, seed=seed, pool_images=pool).hash

    pixels, labels = random_images(40, 8, 8), classes_of(20, 20)
    changed, swapped = pixels.copy(), labels.copy()
    changed[3, 0, 0] ^= 1
    swapped[[0, 39]] = [1, 0]
    same = hash_of(pixels, labels)
    assert hash_of(pixels, labels, folder="again") == same
    assert hash_of(pixels, labels, pool=10) == same
    assert len({same, hash_of(changed, labels, folder="b"), hash_of(pixels, swapped, folder="c")}) == 3
    assert hash_of(pixels, labels, seed=1) != same


# What is refused, in one line that says what to do.


def test_an_image_size_without_a_feature_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 pixels: it must be at least 8"):
        prepare(toy_source(part_of(classes_of(5, 5))), size=7, cache=tmp_path, seed=0)


def test_images_that_do_not_fit_the_disk_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match="--image-size"):
        prepare(toy_source(part_of(classes_of(20, 20))), size=8, cache=tmp_path, seed=0)


def test_a_damaged_preparation_is_named(dataset: Dataset) -> None:
    (dataset.folder / "pixels.uint8").write_bytes(b"cut")
    with pytest.raises(ValueError, match="delete that folder"):
        load(dataset.folder, seed=0)


@pytest.mark.parametrize("images", [2**40, 2**62])
def test_a_preparation_that_claims_more_images_than_there_are_is_named(dataset: Dataset, images: int) -> None:
    about = json.loads((dataset.folder / "about.json").read_text())
    about["counts"]["train"] = images
    (dataset.folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"does not hold .* labels.*delete that folder"):
        load(dataset.folder, seed=0)
