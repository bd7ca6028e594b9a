"""Splits: which images are trained on, validated on and tested on; stratified, and a pure function of the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.data.images import UNLABELLED, Integers
from study.seeds import derive

TEST_SHARE = 0.2
VALIDATION_SHARE, VALIDATION_LIMIT = 0.1, 1_000  # who has few labels has few for validation too


@dataclass(frozen=True)
class Counts:
    """How many images of each part the source gave. They lie in this order."""

    train: int
    unlabelled: int
    validation: int
    test: int


@dataclass(frozen=True)
class Splits:
    """Places of images. `train` has only labelled images; its labels are what budgets are drawn from."""

    train: Integers
    unlabelled: Integers
    validation: Integers
    test: Integers


def stratified_order(labels: Integers, rng: np.random.Generator) -> Integers:
    """A random order whose every prefix of n has each class's share of n, within one image, and one of each first.

    So prefixes are nested, and a prefix at least as long as there are classes has all of them.
    """
    shuffled = rng.permutation(len(labels))
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]  # class by class, random within
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # place within its class
    share = np.where(rank == 0, 0.0, (rank + 0.5) / np.repeat(sizes, sizes))  # of its class, when this one is taken
    ties = rng.random(len(labels))
    return grouped[np.lexsort((ties, share))]


def rank_in_class(labels: Integers) -> Integers:
    """For each label, how many equal ones stand before it."""
    grouped = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.empty_like(grouped)
    rank[grouped] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank


def split(labels: Integers, counts: Counts, classes: tuple[str, ...], seed: int, pool_images: int | None) -> Splits:
    """Split images that lie in the order of `counts`; parts that the source lacks are held out from `train`.

    An image without a label in `train` joins the unlabelled ones; in validation or test it is of no use and left out.
    Raises ValueError where classes or labels do not suffice, or where `pool_images` is less than one a class.
    """
    sizes = (counts.train, counts.unlabelled, counts.validation, counts.test)
    given, free, validation, test = np.split(np.arange(sum(sizes), dtype=np.int64), np.cumsum(sizes)[:-1])
    train = given[labels[given] != UNLABELLED]
    free = np.concatenate([given[labels[given] == UNLABELLED], free])
    validation = validation[labels[validation] != UNLABELLED]
    test = test[labels[test] != UNLABELLED]

    _check_classes(np.bincount(labels[train], minlength=len(classes)), classes, (len(validation), len(test)))
    if not len(test):
        train, test = _hold_out(train, labels, round(TEST_SHARE * len(train)), derive(seed, "test"))
    if not len(validation):
        held_out = min(VALIDATION_LIMIT, round(VALIDATION_SHARE * len(train)))
        train, validation = _hold_out(train, labels, held_out, derive(seed, "validation"))
    if pool_images is not None and pool_images < len(train) + len(free):
        train, free = _limit(train, free, labels, pool_images, len(classes), derive(seed, "pool"))
    return Splits(train, free, validation, test)


def _check_classes(sizes: Integers, classes: tuple[str, ...], held_out: tuple[int, int]) -> None:
    if len(classes) < 2:
        raise ValueError(f"only one class ({', '.join(classes)}): a classifier needs at least two")
    needed = 1 + held_out.count(0)
    for name, size in zip(classes, sizes, strict=True):
        if size < needed:
            raise ValueError(
                f"class {name!r} has {size} labelled training images, but the splits made from them need {needed}: "
                "add images, or leave the class out"
            )


def _hold_out(train: Integers, labels: Integers, count: int, seed: int) -> tuple[Integers, Integers]:
    """Split `train` in (what stays, what is held out): `count` images, but at least one a class."""
    order = stratified_order(labels[train], np.random.default_rng(seed))
    count = max(count, len(np.unique(labels[train])))
    return np.sort(train[order[count:]]), np.sort(train[order[:count]])


def _limit(
    train: Integers, free: Integers, labels: Integers, images: int, classes: int, seed: int
) -> tuple[Integers, Integers]:
    """Limit the pool to `images`, labelled and unlabelled in proportion, but at least one labelled a class."""
    if images < classes:
        raise ValueError(f"a pool of {images} images is less than one a class: allow at least {classes}")
    rng = np.random.default_rng(seed)
    labelled = max(classes, round(images * len(train) / (len(train) + len(free))))
    train = np.sort(train[stratified_order(labels[train], rng)[:labelled]])
    free = np.sort(rng.permutation(free)[: images - labelled])
    return train, free


def label_subset(
    labels: Integers,
    classes: tuple[str, ...],
    seed: int,
    fraction: float | None,
    labels_per_class: int | None,
) -> Integers:
    """Which of `labels` a budget pays for: a prefix of what every larger one of the same seed and kind pays for."""
    order = stratified_order(labels, np.random.default_rng(seed))
    if labels_per_class is None:
        if fraction is None or not 0 < fraction <= 1:
            raise ValueError(f"a label fraction of {fraction}: it must lie above 0 and at most at 1")
        return order[: max(len(classes), round(fraction * len(labels)))]
    if fraction is not None:
        raise ValueError(f"both fraction={fraction} and labels_per_class={labels_per_class}: give one of them")
    if labels_per_class < 1:
        raise ValueError(f"{labels_per_class} labels a class: it must be at least 1")
    sizes = np.bincount(labels, minlength=len(classes))
    if labels_per_class > sizes.min():
        name = classes[int(sizes.argmin())]
        raise ValueError(
            f"{labels_per_class} labels a class, but {name!r} has {sizes.min()}: ask for at most that many"
        )
    rank = rank_in_class(labels[order])
    in_rounds = np.lexsort((np.arange(len(order)), rank))  # the first of each class, then the second of each, ...
    return order[in_rounds[: labels_per_class * len(classes)]]
