"""Cross-validation inside a label budget."""

from __future__ import annotations

import numpy as np
import pytest

from study.learning.folds import folds, stratified

LABELS = np.repeat(np.arange(4), 25)


@pytest.mark.parametrize(("smallest", "count"), [(1, 0), (2, 2), (3, 3), (5, 5), (9, 5)])
def test_there_are_five_folds_or_as_many_as_the_smallest_class_allows(smallest: int, count: int) -> None:
    subset = np.concatenate([np.arange(smallest), *(np.arange(25 * label, 25 * label + 12) for label in (1, 2, 3))])
    found = folds(subset, LABELS, seed=3)
    assert len(found) == count
    for fold in found:
        assert set(fold.learned) | set(fold.told) == set(subset) and not set(fold.learned) & set(fold.told)
        assert set(LABELS[fold.learned]) == set(LABELS[fold.told]) == {0, 1, 2, 3}
    if found:
        assert sorted(np.concatenate([fold.told for fold in found])) == sorted(subset), "each image is told once"


def test_folds_do_not_depend_on_the_order_of_the_labels() -> None:
    subset = np.random.default_rng(0).permutation(100)
    one, other = folds(subset, LABELS, 1), folds(np.sort(subset), LABELS, 1)
    assert all(np.array_equal(a.told, b.told) for a, b in zip(one, other, strict=True))


def test_a_stratified_part_holds_each_class_by_its_share() -> None:
    uneven = np.repeat([0, 1, 2], [80, 19, 1])
    part = stratified(np.arange(100), uneven, 20, seed=0)
    assert np.bincount(uneven[part]).tolist() == [16, 4, 1]
    assert np.array_equal(stratified(np.arange(100), uneven, 100, seed=0), np.arange(100))
