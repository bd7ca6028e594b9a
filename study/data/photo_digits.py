"""photo-digits: scanned digits blended over patches of photographs, as MNIST-M was made, but from embedded data alone.

After Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation" (2015), whose MNIST-M is |patch - digit|
in each channel, over BSDS500. Here the digits are scikit-learn's 1,797 scans, the photographs its two samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.data.images import Contents, Integers, Part, Pixels, unlabelled
from study.data.splits import stratified_order
from study.seeds import derive

SIZE = 32  # pixels a side
DEFAULT_POOL = 5_028  # four renderings of each training digit
MOST_POOL = 10_000_000  # they take 30 GB
HELD_OUT = 270  # digits for validation, and as many for test: 15 % each
TRAIN_DIGITS = 1_797 - 2 * HELD_OUT
FINGERPRINT = "photo-digits, first edition"  # to be changed with anything that changes a pixel
SEED = derive("photo-digits")  # the data set's own: it is the same in every study

# Halved, a patch spans a tenth of a photograph's width. At full size most patches are plain (median standard deviation
# of 15 grey levels), so that digits stand out as if on paper; halved it is 31, and strokes must be told from structure.
SHRINK = 2
# Strips of columns, 40 pixels each, chosen so that each split sees building, sky, leaves and flower, and that the mean
# standard deviation of a patch is alike: 28 grey levels for train, 29 for validation and for test.
STRIP = 40
STRIPS = {"train": (0, 2, 4, 7), "validation": (1, 5), "test": (3, 6)}


@dataclass(frozen=True)
class Rendering:
    """Which digit lies over which patch; the image itself is made when it is read."""

    digits: Pixels  # (D, 32, 32), the scans, shared by all renderings
    photographs: Pixels  # (2, H, W, 3), halved, shared likewise
    digit: Integers  # (N,)
    photograph: Integers  # (N,)
    top: Integers  # (N,)
    left: Integers  # (N,)
    mirrored: NDArray[np.bool_]  # (N,) the patch alone: mirrored digits are other signs

    def __call__(self, index: int) -> Pixels:
        """Blend one image, (32, 32, 3)."""
        top, left = self.top[index], self.left[index]
        patch = self.photographs[self.photograph[index], top : top + SIZE, left : left + SIZE]
        if self.mirrored[index]:
            patch = patch[:, ::-1]
        digit = self.digits[self.digit[index], :, :, None]
        return np.maximum(patch, digit) - np.minimum(patch, digit)  # |patch - digit| without leaving uint8


def open_photo_digits(pool_images: int = DEFAULT_POOL) -> Contents:
    """Lay out the data set; its first `pool_images` are the same however many are asked for.

    Train is one rendering of each training digit, unlabelled are further ones of the same digits. Validation and test
    have one rendering of each of their digits, over strips of the photographs that no other split sees.
    """
    assert pool_images >= TRAIN_DIGITS
    from sklearn.datasets import load_digits, load_sample_images  # here: only a first study reads them

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    digits = enlarge(scans.images.astype(np.int64))
    photographs = np.stack([halve(image) for image in load_sample_images().images])
    order = stratified_order(labels, np.random.default_rng(SEED))
    validation, test, train = np.split(order, (HELD_OUT, 2 * HELD_OUT))

    def render(chosen: Integers, strips: str, stream: str) -> Rendering:
        return _over_patches(digits, photographs, chosen, STRIPS[strips], np.random.default_rng(derive(SEED, stream)))

    further = np.resize(train, pool_images - len(train))  # round after round of the same digits
    return Contents(
        classes=tuple(str(digit) for digit in range(10)),
        channels=3,
        train=Part(render(train, "train", "train"), labels[train]),
        test=Part(render(test, "test", "test"), labels[test]),
        validation=Part(render(validation, "validation", "validation"), labels[validation]),
        unlabelled=Part(render(further, "train", "unlabelled"), unlabelled(len(further))),
    )


def parse_pool(text: str) -> int:
    """The N of `photo-digits:N`. Raises ValueError where it is no number, or less than the labelled images."""
    if not text.isdecimal() or len(text) > 9 or not TRAIN_DIGITS <= int(text) <= MOST_POOL:
        raise ValueError(
            f"photo-digits:{text}: after the colon goes a number of images, at least {TRAIN_DIGITS} and at most "
            f"{MOST_POOL}"
        )
    return int(text)


def _over_patches(
    digits: Pixels, photographs: Pixels, chosen: Integers, strips: tuple[int, ...], rng: np.random.Generator
) -> Rendering:
    bounds = (len(strips), len(photographs), photographs.shape[1] - SIZE + 1, STRIP - SIZE + 1, 2)
    # A row an image, so that fewer images are a prefix of more.
    strip, photograph, top, left, mirrored = np.floor(rng.random((len(chosen), 5)) * bounds).astype(np.int64).T
    return Rendering(
        digits=digits,
        photographs=photographs,
        digit=chosen,
        photograph=photograph,
        top=top,
        left=np.asarray(strips)[strip] * STRIP + left,
        mirrored=mirrored == 1,
    )


def enlarge(scans: NDArray[np.int64]) -> Pixels:
    """Scans (D, 8, 8) of 0 to 16 -> (D, 32, 32) of 0 to 255, bilinear; in integers, so alike on every machine."""
    weight = np.zeros((SIZE, 8), dtype=np.int64)  # eighths of each of the 8 pixels
    for pixel in range(SIZE):
        centre = min(max(2 * pixel - 3, 0), 56)  # in eighths of a scan's pixel; edges are held
        before = min(centre // 8, 6)
        weight[pixel, before + 1] = centre - 8 * before
        weight[pixel, before] = 8 - weight[pixel, before + 1]
    sixteenths = weight @ scans @ weight.T  # (D, 32, 32) of 0 to 16 x 64
    return ((sixteenths * 255 + 512) // 1024).astype(np.uint8)


def halve(photograph: Pixels) -> Pixels:
    """The mean of each SHRINK x SHRINK block of a photograph (H, W, 3)."""
    return np.asarray(Image.fromarray(photograph).reduce(SHRINK))
