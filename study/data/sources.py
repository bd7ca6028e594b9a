"""Sources: a data set by its name, found but not yet read."""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path

import numpy as np

from study.data.images import Contents, Source, in_memory
from study.data.own_images import add_unlabelled, open_folder
from study.data.parquet_images import open_parquet
from study.data.photo_digits import DEFAULT_POOL, FINGERPRINT, SIZE, open_photo_digits, parse_pool

EMBEDDED = ("photo-digits", "digits")
PUBLIC = (  # the names of study.data.public_sets, which imports torchvision: a second and a half that few commands need
    *("svhn", "cifar10", "cifar100", "stl10", "mnist", "fashion-mnist", "kmnist", "emnist-letters", "eurosat"),
    "imagenet",
)
SOURCES = (*EMBEDDED, *PUBLIC, "photo-digits:IMAGES", "folder:PATH", "parquet:PATH")  # for --help


def open_source(
    name: str,
    *,
    data_dir: Path | None = None,
    unlabelled: Path | None = None,
    download: bool = False,
    skip_bad_images: bool = False,
) -> Source:
    """Find a data set; images are read when it is prepared. `unlabelled` is a folder of further images.

    Raises ValueError, one line with what to do, for an unknown name, missing files and folders of another shape.
    """
    try:
        source = _open(name, data_dir, download, skip_bad_images)
        return source if unlabelled is None else add_unlabelled(source, unlabelled.expanduser())
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror}): mend or remove it") from error


def _open(name: str, data_dir: Path | None, download: bool, skip_bad_images: bool) -> Source:
    kind, _, argument = name.partition(":")
    match kind:
        case "folder" if argument:
            return open_folder(Path(argument).expanduser(), skip_bad_images=skip_bad_images)
        case "parquet" if argument:
            return open_parquet(Path(argument).expanduser(), skip_bad_images=skip_bad_images)
        case "photo-digits":
            images = DEFAULT_POOL if name == kind else parse_pool(argument)
            read = partial(open_photo_digits, images)
            return Source(name.replace(":", "-"), f"{FINGERPRINT}, {images}", SIZE, skip_bad_images, read)
        case "digits" if name == kind:
            return Source(name, name, 8, skip_bad_images, _open_digits)
        case _ if name in PUBLIC:
            from study.data.public_sets import open_public

            folder = None if data_dir is None else data_dir.expanduser()
            return open_public(name, folder, download=download, skip_bad_images=skip_bad_images)
    forms = {known.partition(":")[0]: known for known in reversed(SOURCES)}
    nearest = difflib.get_close_matches(kind.lower(), forms, n=1, cutoff=0.0)[0]
    raise ValueError(f"no data set {name!r}: did you mean {forms[nearest]}? There are {', '.join(SOURCES)}")


def _open_digits() -> Contents:
    from sklearn.datasets import load_digits  # here, as wherever scikit-learn is: it takes a command a second

    scans = load_digits()
    pixels = np.round(scans.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    return Contents(tuple("0123456789"), channels=1, train=in_memory(pixels, scans.target.astype(np.int64)))
