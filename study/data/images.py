"""Images as a source gives them: read one by one, at whatever size and with whatever channels they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging

from study.data.room import Room

UNLABELLED = -1  # the label of an image that has none
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})

# Pillow tells kinds by their content and knows forty, of which one hands the file to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_SCANS = 500  # of a progressive JPEG: each takes as long as the whole image, and cameras write ten
# As many pixels as Pillow lets one image have. Decoding takes up to 22 bytes for each: 2 GB, over all threads.
ROOM = Room(89_478_485)
# An image of more than 32 MB is then one piece of memory, which the C library gives back; of smaller pieces each thread
# would keep some for itself, 1.8 GB in all.
_imaging.set_block_size(2**29)

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message names it. `skip_bad_images` leaves such images out."""


@dataclass(frozen=True)
class Part:
    """One split of a source, not yet in memory."""

    read: Callable[[int], Pixels]  # place in the split -> (H, W) or (H, W, 3); must bear being called from threads
    labels: Integers  # (N,), UNLABELLED where there is none


@dataclass(frozen=True)
class Contents:
    """What a source holds. Splits that it lacks are None; they are made from `train` later."""

    classes: tuple[str, ...]
    channels: int  # 1 where every image is grey, else 3
    train: Part
    test: Part | None = None
    validation: Part | None = None
    unlabelled: Part | None = None


def unlabelled(count: int) -> Integers:
    """The labels of `count` images that have none."""
    return np.full(count, UNLABELLED, dtype=np.int64)


def in_memory(pixels: Pixels, labels: Integers) -> Part:
    """A split that lies in memory, (N, H, W) or (N, H, W, 3)."""
    return Part(read=pixels.__getitem__, labels=labels)


def join(first: Part, second: Part) -> Part:
    """Two parts as one, in that order."""
    border = len(first.labels)

    def read(index: int) -> Pixels:
        return first.read(index) if index < border else second.read(index - border)

    return Part(read, np.concatenate([first.labels, second.labels]))


NO_IMAGES = in_memory(np.empty((0, 1, 1), dtype=np.uint8), unlabelled(0))


@dataclass(frozen=True)
class Source:
    """Where images come from. `open` may take seconds and gigabytes, so it waits until nothing prepared is found."""

    name: str  # fit for a file name
    fingerprint: str  # cheap, and another one wherever the images may be others
    size: int | None  # native side in pixels; None where images differ
    skip_bad_images: bool
    open: Callable[[], Contents]


def decode(file: str | IO[bytes], named: str) -> Pixels:
    """Decode an image file: (H, W) where it is grey, else (H, W, 3). Raises UnreadableImageError naming `named`."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            ROOM.take(image.width * image.height)
            if "progressive" in image.info:
                _refuse_scans(file)
            ImageOps.exif_transpose(image, in_place=True)
            return _to_uint8(image)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, warnings and more
        reason = "it is no image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise UnreadableImageError(
            f"cannot read {named} ({reason}): repair or remove it, or pass --skip-bad-images"
        ) from error


def is_grey(file: str | IO[bytes]) -> bool:
    """Whether an image file is grey, from its header alone. An unreadable one counts as grey: reading it will tell."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.mode in GREY_MODES
    except Exception:  # as in decode
        return True


def _refuse_scans(file: str | IO[bytes]) -> None:
    """Raise ValueError for a JPEG of kilobytes that would take minutes. An open file stays where it is."""
    if isinstance(file, str):
        with Path(file).open("rb") as opened:
            return _refuse_scans(opened)
    place = file.tell()
    file.seek(0)
    scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if scans > MOST_SCANS:
        raise ValueError(f"it is drawn in {scans:,} scans")
    return None


def _to_uint8(image: Image.Image) -> Pixels:
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers of unknown range")
    if image.mode.startswith("I"):
        values = np.array(image)
        np.clip(values, 0, 65535, out=values)  # Pillow would clip at 255
        values >>= 8
        return values.astype(np.uint8)
    if image.mode in GREY_MODES:
        return np.asarray(image.convert("L"))
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of a palette's transparency unless it is kept first
    return np.asarray(image.convert("RGB"))


def fit(image: Pixels, size: int, channels: int) -> Pixels:
    """The largest centred square of an image, resampled to (size, size, channels); as it is where it has that size."""
    height, width = image.shape[:2]
    if (height, width) != (size, size):
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        # Cropping before resizing equals "shorter side, then centre crop", and bears an image of 1 x 100,000.
        square = (left, top, left + side, top + side)
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=square))
    if image.ndim == 2:
        image = image[:, :, None]
    return np.broadcast_to(image, (size, size, channels))
