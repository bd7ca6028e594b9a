"""Folds: cross-validation inside a label budget, for whoever has no labels but those of the budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

MOST_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """One part of a label subset, told by a classifier that learned from the others."""

    learned: Places
    told: Places


def folds(subset: Places, labels: NDArray[np.int64], seed: int) -> list[Fold]:
    """Split the images at `subset` into stratified folds: five, or as many as the smallest class has images.

    Empty where a class has one image only: no fold could be told by what was learned of the others. `labels` are those
    of all images; the order of `subset` changes nothing.
    """
    ordered = np.sort(subset)
    own = labels[ordered]
    count = min(MOST_FOLDS, int(np.unique(own, return_counts=True)[1].min()))
    if count < 2:
        return []
    from sklearn.model_selection import StratifiedKFold  # here, for it takes every process a second

    parts = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32).split(ordered, own)
    return [Fold(ordered[learned], ordered[told]) for learned, told in parts]


def stratified(places: Places, labels: NDArray[np.int64], most: int, seed: int) -> Places:
    """About `most` of the images at `places`: of each class its share, rounded, but one at least."""
    if len(places) <= most:
        return places
    order = np.random.default_rng(seed).permutation(np.sort(places))
    own = labels[order]
    share = most / len(order)
    kept = [order[own == label][: max(1, round(share * int((own == label).sum())))] for label in np.unique(own)]
    return np.sort(np.concatenate(kept))
