"""Data: a source, prepared once into one memory-mapped array of uint8 images, with its splits and label subsets."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from study.data.images import (
    NO_IMAGES,
    ROOM,
    Contents,
    Integers,
    Part,
    Pixels,
    Source,
    UnreadableImageError,
    fit,
)
from study.data.prepared import ABOUT, LABELS, PIXELS, SMALLEST, About, read_prepared
from study.data.splits import Counts, label_subset, split
from study.seeds import derive

LAYOUT = 1  # to be raised with anything that changes what is prepared
BLOCK = 64  # images a thread decodes before it hands them over
THREADS = min(16, os.cpu_count() or 1)  # decoders release the interpreter lock

Progress = Callable[[int, int], None]  # (images done, images in all)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Prepared images and who may see them. Workers get `folder` and `load` it; they share its pages."""

    folder: Path
    name: str
    classes: tuple[str, ...]
    hash: str  # of pixels, labels and test split: results of different hashes are not to be compared
    skipped: int  # unreadable images left out
    pixels: Pixels  # (M, H, W, C), memory-mapped, read-only
    labels: Integers  # (M,), -1 where there is none
    train: Integers  # places in pixels: the labelled images of the pool
    unlabelled: Integers  # the rest of the pool
    validation: Integers
    test: Integers

    @property
    def pool(self) -> Integers:
        """The images to pretrain on, labelled first."""
        return np.concatenate([self.train, self.unlabelled])


def prepare(
    source: Source,
    *,
    size: int,
    cache: Path,
    seed: int,
    pool_images: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Prepare a source at `size` x `size` pixels below `cache`, or find it there; then `load` it.

    Pixels depend on source and size alone; the splits on `seed`. `pool_images` limits the pool to a random part.
    Raises ValueError for images or labels that a study cannot be made of.
    """
    if size < SMALLEST:
        raise ValueError(f"an image size of {size} pixels: it must be at least {SMALLEST}")
    identity = json.dumps([LAYOUT, source.fingerprint, size, source.skip_bad_images])
    folder = cache / f"{source.name}-{size}-{blake2b(identity.encode(), digest_size=6).hexdigest()}"
    if not folder.exists():
        contents = source.open()
        # Refused before an hour of decoding, not after it.
        counts = Counts(*(len(part.labels) for part in _parts(contents)))
        split(_labels(contents), counts, contents.classes, seed, pool_images)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{folder.name}-") as temporary:
            written = Path(temporary) / "prepared"
            written.mkdir()
            _write(contents, written, source, size, progress)
            try:
                written.rename(folder)
            except OSError:  # another process was quicker: what it wrote is the same
                if not folder.exists():
                    raise
    return load(folder, seed=seed, pool_images=pool_images)


def load(folder: Path, *, seed: int, pool_images: int | None = None) -> Dataset:
    """Reopen what `prepare` made, in any process of the machine: milliseconds, and no copy of the pixels."""
    about, labels, pixels = read_prepared(folder)
    try:
        splits = split(labels, about.counts, about.classes, seed, pool_images)
    except ValueError as error:
        raise ValueError(f"{error} (of the images prepared in {folder})") from error
    digest = blake2b(f"{about.digest} {pixels.shape}".encode() + splits.test.tobytes(), digest_size=8)
    return Dataset(
        folder=folder,
        name=about.name,
        classes=about.classes,
        hash=digest.hexdigest(),
        skipped=about.skipped,
        pixels=pixels,
        labels=labels,
        train=splits.train,
        unlabelled=splits.unlabelled,
        validation=splits.validation,
        test=splits.test,
    )


def subset(
    dataset: Dataset, *, draw: int, seed: int, fraction: float | None = None, labels_per_class: int | None = None
) -> Integers:
    """Places in `pixels` of the training images that a budget labels: a `fraction` of them, or so many a class.

    Stratified, at least one a class, the same for every method, and a prefix of every larger budget of the same draw.
    """
    labels = dataset.labels[dataset.train]
    return dataset.train[
        label_subset(labels, dataset.classes, derive(seed, "labels", draw), fraction, labels_per_class)
    ]


def _parts(contents: Contents) -> tuple[Part, ...]:
    """In the order of Counts, which is the order they are written in."""
    parts = (contents.train, contents.unlabelled, contents.validation, contents.test)
    return tuple(NO_IMAGES if part is None else part for part in parts)


def _labels(contents: Contents) -> Integers:
    return np.concatenate([part.labels for part in _parts(contents)])


def _write(contents: Contents, folder: Path, source: Source, size: int, progress: Progress | None) -> None:
    total = len(_labels(contents))
    needed, free = total * size * size * contents.channels, shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{total:,} images of {size} pixels take {needed / 1e9:.1f} GB, but {folder.parent.parent} has "
            f"{free / 1e9:.1f} GB free: make room, or choose a smaller --image-size"
        )
    digest = blake2b(digest_size=16)
    labels: list[Integers] = []
    counts: list[int] = []
    done = skipped = 0
    with (
        (folder / PIXELS).open("wb") as file,
        ThreadPoolExecutor(THREADS) as threads,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # so that such an image is named like a bad one
        for part in _parts(contents):
            counts.append(0)
            for block in _blocks(part, size, contents.channels, source.skip_bad_images, threads):
                file.write(block.pixels.data)
                digest.update(block.pixels.data)
                labels.append(part.labels[block.places])
                counts[-1] += len(block.places)
                skipped += block.skipped
                done += len(block.places) + block.skipped
                if progress is not None:
                    progress(done, total)
    prepared_labels = np.concatenate(labels)
    digest.update(prepared_labels.data)
    np.save(folder / LABELS, prepared_labels)
    about = About(source.name, contents.classes, Counts(*counts), size, contents.channels, skipped, digest.hexdigest())
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Block:
    pixels: Pixels  # (N, S, S, C)
    places: Integers  # (N,) in the part
    skipped: int


def _blocks(part: Part, size: int, channels: int, skip: bool, threads: ThreadPoolExecutor) -> Iterator[_Block]:
    """Decode a part in order. Only so many blocks are under way that those waiting to be written stay few."""

    def decode_block(start: int) -> _Block:
        images: list[Pixels] = []
        places: list[int] = []
        stop = min(start + BLOCK, len(part.labels))
        for place in range(start, stop):
            try:
                with ROOM.one_image():
                    images.append(fit(part.read(place), size, channels))
            except UnreadableImageError:
                if not skip:
                    raise
            else:
                places.append(place)
        pixels = np.stack(images) if images else np.empty((0, size, size, channels), dtype=np.uint8)
        return _Block(pixels, np.array(places, dtype=np.int64), stop - start - len(places))

    at_once = 4 * THREADS * BLOCK
    for first in range(0, len(part.labels), at_once):
        yield from threads.map(decode_block, range(first, min(first + at_once, len(part.labels)), BLOCK))
