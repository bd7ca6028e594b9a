"""Images that tests make up: in memory or as files, and what a source reads of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from study.data.images import Contents, Integers, Part, Pixels, Source, in_memory

Array = np.ndarray[Any, np.dtype[Any]]


def random_images(count: int, *shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def pixels_of(part: Part | None) -> Pixels:
    assert part is not None
    return np.stack([part.read(index) for index in range(len(part.labels))])


def labels_of(part: Part | None) -> list[int]:
    assert part is not None
    labels: list[int] = part.labels.tolist()
    return labels


def write_png(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_classes(folder: Path, *names: str, each: int = 4, shape: tuple[int, ...] = (10, 12, 3)) -> None:
    for seed, name in enumerate(names):
        for index, pixels in enumerate(random_images(each, *shape, seed=seed)):
            write_png(folder / name / f"{index}.png", pixels)


def classes_of(*sizes: int) -> Integers:
    """Labels 0, 0, ..., 1, 1, ...: so many of each class."""
    return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)


def part_of(labels: Integers, *shape: int, seed: int = 0) -> Part:
    return in_memory(random_images(len(labels), *(shape or (8, 8)), seed=seed), labels)


def toy_source(
    train: Part,
    *,
    test: Part | None = None,
    validation: Part | None = None,
    unlabelled: Part | None = None,
    channels: int = 1,
    skip: bool = False,
) -> Source:
    classes = tuple("abcdefghijklmnopqrstuvwxyz"[: int(train.labels.max()) + 1])
    contents = Contents(classes, channels, train, test, validation, unlabelled)
    return Source("toy", f"toy {len(train.labels)}", 8, skip, lambda: contents)
