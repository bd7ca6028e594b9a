"""Prepared: the folder of the prepared images, as it is found: perhaps damaged, perhaps made by somebody else."""

from __future__ import annotations

import math
import os
import re
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from study.data.images import UNLABELLED, Integers, Pixels
from study.data.splits import Counts
from study.documents import opened, read_bytes, read_json, record

ABOUT, PIXELS, LABELS = "about.json", "pixels.uint8", "labels.npy"
SMALLEST = 8  # pixels a side: below, no encoder has a feature map left
_MOST_HEADER = 256  # bytes before the labels
_HEADER = re.compile(  # as np.save writes it, with how many there are
    rb"\x93NUMPY\x01\x00..\{'descr': '<i8', 'fortran_order': False, 'shape': \((\d{1,15}),\), \} *\n", re.DOTALL
)


@dataclass(frozen=True)
class About:
    """What about.json holds."""

    name: str
    classes: tuple[str, ...]
    counts: Counts
    size: int  # pixels a side
    channels: int
    skipped: int
    digest: str  # of pixels and labels


def read_prepared(folder: Path) -> tuple[About, Integers, Pixels]:
    """What about.json says, the labels (M,), and the pixels (M, S, S, C), which stay on the disk.

    Raises ValueError naming the folder where these are not what they say of each other.
    """
    try:
        about = record(About, read_json(folder / ABOUT, folder))
        labels = _labels(folder, about)
        shape = (len(labels), about.size, about.size, about.channels)
        with opened(folder / PIXELS, folder) as file:
            if (found := os.fstat(file.fileno()).st_size) != math.prod(shape):
                raise ValueError(f"{PIXELS} has {found} bytes")
            return about, labels, np.memmap(file, dtype=np.uint8, mode="r", shape=shape)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder} is damaged ({reason}): delete that folder and start again") from error


def _labels(folder: Path, about: About) -> Integers:
    sizes = astuple(about.counts)
    if min(*sizes, about.skipped) < 0 or about.size < SMALLEST or about.channels not in (1, 3):
        raise ValueError(f"{ABOUT} holds numbers that no data set has")
    count = sum(sizes)
    content = read_bytes(folder / LABELS, folder, _MOST_HEADER + 8 * count)
    # Not np.load, which makes room for as many as the file claims.
    header = _HEADER.match(content)
    if header is None or int(header[1]) != count or len(content) != header.end() + 8 * count:
        raise ValueError(f"{LABELS} does not hold {count} labels")
    labels = np.frombuffer(content, dtype=np.int64, offset=header.end())
    if count and not UNLABELLED <= labels.min() <= labels.max() < len(about.classes):
        raise ValueError(f"{LABELS} holds labels from {labels.min()} to {labels.max()}")
    return labels
