"""photo-digits: real digits, no leaks between splits, the same on every machine."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from study.data.images import UNLABELLED, Contents, Part
from study.data.photo_digits import SIZE, STRIP, STRIPS, Rendering, enlarge, open_photo_digits, parse_pool


@pytest.fixture(scope="module")
def contents() -> Contents:
    return open_photo_digits()


def parts(contents: Contents) -> dict[str, Part]:
    assert contents.test is not None and contents.validation is not None and contents.unlabelled is not None
    return {
        "train": contents.train,
        "unlabelled": contents.unlabelled,
        "validation": contents.validation,
        "test": contents.test,
    }


def rendering(part: Part) -> Rendering:
    return cast(Rendering, part.read)


def test_sizes_are_those_documented(contents: Contents) -> None:
    sizes = {name: len(part.labels) for name, part in parts(contents).items()}
    assert sizes == {"train": 1257, "unlabelled": 3771, "validation": 270, "test": 270}


def test_no_digit_is_in_two_of_train_validation_and_test(contents: Contents) -> None:
    digits = {name: set(rendering(part).digit.tolist()) for name, part in parts(contents).items()}
    assert digits["unlabelled"] == digits["train"]
    assert len(digits["train"] | digits["validation"] | digits["test"]) == 1797 == 1257 + 270 + 270


def test_no_pixel_of_a_photograph_is_in_two_of_pool_validation_and_test(contents: Contents) -> None:
    for name, part in parts(contents).items():
        found = rendering(part)
        own = STRIPS["train" if name == "unlabelled" else name]
        assert set((found.left // STRIP).tolist()) == set(own)
        assert np.array_equal(found.left // STRIP, (found.left + SIZE - 1) // STRIP)
    assert sorted(strip for strips in STRIPS.values() for strip in strips) == list(range(8))


def test_every_split_holds_each_class_in_proportion(contents: Contents) -> None:
    for name in ("train", "validation", "test"):
        labels = parts(contents)[name].labels
        share = np.bincount(load_digits().target) * len(labels) / 1797
        assert np.abs(np.bincount(labels, minlength=10) - share).max() <= 1
    assert set(parts(contents)["unlabelled"].labels.tolist()) == {UNLABELLED}


def test_labels_are_those_of_the_digits(contents: Contents) -> None:
    target = load_digits().target
    for name in ("train", "validation", "test"):
        part = parts(contents)[name]
        assert np.array_equal(part.labels, target[rendering(part).digit])


def test_an_image_is_the_absolute_difference_of_patch_and_digit(contents: Contents) -> None:
    found = rendering(contents.train)
    for index in range(50):
        top, left = found.top[index], found.left[index]
        patch = found.photographs[found.photograph[index]][top : top + 32, left : left + 32].astype(int)
        if found.mirrored[index]:
            patch = patch[:, ::-1]
        digit = found.digits[found.digit[index]].astype(int)
        assert np.array_equal(contents.train.read(index), np.abs(patch - digit[:, :, None]))


def test_digits_are_enlarged_bilinearly() -> None:
    scans = load_digits().images[:20]
    expected = interpolate(torch.from_numpy(scans)[:, None], (32, 32), mode="bilinear")[:, 0] * 255 / 16
    assert np.abs(enlarge(scans.astype(np.int64)) - expected.numpy()).max() <= 0.5


def test_a_larger_pool_begins_with_the_smaller_one(contents: Contents) -> None:
    larger = parts(open_photo_digits(9_000))
    for name, part in parts(contents).items():
        for index in (0, 100, len(part.labels) - 1):
            assert np.array_equal(part.read(index), larger[name].read(index))
    assert len(larger["train"].labels) + len(larger["unlabelled"].labels) == 9_000


def test_this_edition_is_the_same_on_every_machine(contents: Contents) -> None:
    found = rendering(contents.train)
    assert found.digit[:5].tolist() == [670, 542, 370, 1084, 683]
    assert found.top[:5].tolist() == [144, 150, 99, 96, 136]
    assert rendering(parts(contents)["test"]).left[:5].tolist() == [245, 127, 127, 242, 247]


@pytest.mark.parametrize("text", ["", "many", "1256", "-5", "1e4"])
def test_a_pool_that_is_too_small_or_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at least 1257"):
        parse_pool(text)
