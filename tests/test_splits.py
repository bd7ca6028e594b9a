"""Splits and label subsets: who may see which image, fairly and reproducibly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from study.data.dataset import Dataset, load, prepare, subset
from study.data.images import UNLABELLED
from study.data.splits import Counts, split
from tests.image_files import classes_of, part_of, toy_source


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return prepare(toy_source(part_of(classes_of(300, 100, 37, 3))), size=8, cache=tmp_path, seed=0)


# Splits.


def test_splits_are_disjoint_and_hold_every_image(dataset: Dataset) -> None:
    together = np.concatenate([dataset.pool, dataset.validation, dataset.test])
    assert np.array_equal(np.sort(together), np.arange(440))


def test_missing_splits_are_held_out_in_proportion(dataset: Dataset) -> None:
    assert len(dataset.test) == 88  # 20 % of 440
    assert len(dataset.validation) == 35  # 10 % of the rest
    sizes = np.array([300, 100, 37, 3])
    assert np.abs(np.bincount(dataset.labels[dataset.test]) - sizes * 0.2).max() <= 1
    for places in (dataset.train, dataset.validation, dataset.test):
        assert np.bincount(dataset.labels[places], minlength=4).min() >= 1


def test_validation_that_is_held_out_has_at_most_1000_images() -> None:
    found = split(classes_of(40_000, 40_000), Counts(80_000, 0, 0, 0), ("a", "b"), seed=0, pool_images=None)
    assert len(found.validation) == 1_000


def test_a_sources_own_splits_are_kept(tmp_path: Path) -> None:
    whole = toy_source(
        part_of(classes_of(1, 1)),
        unlabelled=part_of(np.full(9, UNLABELLED)),
        validation=part_of(classes_of(2, 2)),
        test=part_of(classes_of(3, 3)),
    )
    found = prepare(whole, size=8, cache=tmp_path, seed=0)
    assert found.train.tolist() == [0, 1]
    assert found.unlabelled.tolist() == list(range(2, 11))
    assert found.validation.tolist() == list(range(11, 15))
    assert found.test.tolist() == list(range(15, 21))


def test_training_images_without_a_label_join_the_unlabelled_ones(tmp_path: Path) -> None:
    labels = classes_of(20, 20)
    labels[::4] = UNLABELLED
    found = prepare(toy_source(part_of(labels)), size=8, cache=tmp_path, seed=0)
    assert found.unlabelled.tolist() == list(range(0, 40, 4))
    assert (found.labels[found.train] != UNLABELLED).all()


def test_a_test_split_without_labels_cannot_score_and_is_replaced(tmp_path: Path) -> None:
    hidden = part_of(np.full(10, UNLABELLED))
    found = prepare(toy_source(part_of(classes_of(20, 20)), test=hidden), size=8, cache=tmp_path, seed=0)
    assert len(found.test) == 8 and found.test.max() < 40


def test_splits_depend_on_the_seed_and_pixels_do_not(tmp_path: Path) -> None:
    first, other = (
        prepare(toy_source(part_of(classes_of(50, 50))), size=8, cache=tmp_path, seed=seed) for seed in (0, 1)
    )
    assert first.folder == other.folder
    assert set(first.test) != set(other.test) and set(first.validation) != set(other.validation)


def test_a_limited_pool_keeps_labelled_and_unlabelled_in_proportion(tmp_path: Path) -> None:
    one_each, rest = part_of(classes_of(1, 1, 1)), part_of(np.full(300, UNLABELLED))
    whole = toy_source(part_of(classes_of(60, 39, 1)), unlabelled=rest, validation=one_each, test=one_each)
    found = prepare(whole, size=8, cache=tmp_path, seed=0, pool_images=100)
    assert (len(found.train), len(found.unlabelled), len(found.pool)) == (25, 75, 100)
    assert np.bincount(found.labels[found.train]).min() == 1
    smallest = load(found.folder, seed=0, pool_images=3)
    assert np.bincount(smallest.labels[smallest.train]).tolist() == [1, 1, 1] and not len(smallest.unlabelled)
    assert len(load(found.folder, seed=0, pool_images=1_000).pool) == 400


# Label subsets.


def test_nested_subsets_are_prefixes(dataset: Dataset) -> None:
    fractions = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    nested = [subset(dataset, draw=2, seed=0, fraction=fraction) for fraction in fractions]
    for smaller, larger in pairwise(nested):
        assert np.array_equal(smaller, larger[: len(smaller)])
    assert set(nested[-1]) == set(dataset.train) and len(nested[-1]) == len(dataset.train)


@pytest.mark.parametrize("fraction", [0.001, 0.03, 0.1, 0.37, 0.5, 0.9])
def test_a_fraction_holds_its_share_of_every_class_and_at_least_one(dataset: Dataset, fraction: float) -> None:
    chosen = subset(dataset, draw=0, seed=0, fraction=fraction)
    sizes = np.bincount(dataset.labels[dataset.train])
    found = np.bincount(dataset.labels[chosen], minlength=4)
    assert len(chosen) == max(4, round(fraction * len(dataset.train)))
    assert found.min() >= 1
    assert np.abs(found - fraction * sizes)[:2].max() <= 2  # two small classes may each take one more than their share


def test_labels_per_class_are_exact_and_nested(tmp_path: Path) -> None:
    toy = prepare(toy_source(part_of(classes_of(60, 20, 40))), size=8, cache=tmp_path, seed=0)
    nested = [subset(toy, draw=0, seed=0, labels_per_class=labels) for labels in (1, 2, 4, 8)]
    for labels, chosen in zip((1, 2, 4, 8), nested, strict=True):
        assert np.bincount(toy.labels[chosen]).tolist() == [labels] * 3
        assert np.array_equal(chosen, nested[-1][: len(chosen)])


def test_draws_differ_and_each_is_reproducible(dataset: Dataset) -> None:
    draws = [tuple(subset(dataset, draw=draw, seed=0, fraction=0.1)) for draw in range(5)]
    assert len(set(draws)) == 5
    assert draws[3] == tuple(subset(load(dataset.folder, seed=0), draw=3, seed=0, fraction=0.1))


def test_over_many_draws_every_image_is_labelled_equally_often(tmp_path: Path) -> None:
    toy = prepare(toy_source(part_of(classes_of(60, 60))), size=8, cache=tmp_path, seed=0)
    drawn = np.concatenate([subset(toy, draw=draw, seed=0, fraction=0.25) for draw in range(800)])
    often = np.bincount(drawn)[toy.train]
    assert abs(often.mean() - 200) < 8 and often.min() > 140 and often.max() < 260  # five standard deviations of 12


# What is refused, in one line that says what to do.


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan"), None])
def test_a_fraction_outside_0_to_1_is_refused(dataset: Dataset, fraction: float | None) -> None:
    with pytest.raises(ValueError, match="above 0 and at most"):
        subset(dataset, draw=0, seed=0, fraction=fraction)


def test_more_labels_than_a_class_has_are_refused_with_its_count(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"'d' has 1"):
        subset(dataset, draw=0, seed=0, labels_per_class=2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((10,), "only one class"),
        ((10, 2), r"'b' has 2 .* need 3"),
        ((10, 0, 5), r"'b' has 0"),
    ],
)
def test_classes_that_no_study_can_be_made_of_are_refused(tmp_path: Path, sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(toy_source(part_of(classes_of(*sizes))), size=8, cache=tmp_path, seed=0)


def test_a_pool_smaller_than_the_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow at least 2"):
        prepare(toy_source(part_of(classes_of(5, 5))), size=8, cache=tmp_path, seed=0, pool_images=1)
