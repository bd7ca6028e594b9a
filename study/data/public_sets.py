"""Public data sets by name, in torchvision's own layout; what is not plain image files is read by its own classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from study.data.images import Contents, Part, Source, in_memory, unlabelled
from study.data.own_images import Layout, open_layout

Kind = Any  # a data set class of torchvision, which ships no types
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class ArraySet:
    """A data set that torchvision keeps in a few files and reads into memory."""

    size: int  # pixels a side
    files: tuple[str, ...]  # below --data-dir; it is there where all of them are
    read: Callable[[Path], Contents]
    download: Callable[[Path], object]
    optional: tuple[str, ...] = ()  # read where they are there, never downloaded


@dataclass(frozen=True)
class FolderSet:
    """A data set of image files in class folders."""

    size: int | None  # None where images differ
    roots: tuple[str, ...]  # below --data-dir: the first that is there is taken
    train: str  # below the root
    test: str | None = None
    download: Callable[[Path], object] | None = None  # None where its owners want a form signed

    def layout(self, data_dir: Path) -> Layout | None:
        """Where its folders are; None where it is not there."""
        for root in (data_dir / root for root in self.roots):
            layout = Layout(root, root / self.train, None if self.test is None else root / self.test)
            if all(folder is None or folder.is_dir() for folder in (layout.train, layout.test)):
                return layout
        return None


def open_public(name: str, data_dir: Path | None, *, download: bool, skip_bad_images: bool) -> Source:
    """Find one of PUBLIC_SETS below `data_dir`, or download it there when told and when it is missing."""
    if data_dir is None:
        raise ValueError(f"{name} needs --data-dir, the folder where torchvision keeps it (or set STUDY_DATA)")
    known = PUBLIC_SETS[name]
    if _missing(known, data_dir) and download:
        _download(name, known, data_dir)
    if missing := _missing(known, data_dir):
        remedy = "another --data-dir" if known.download is None else "--download, or another --data-dir"
        raise ValueError(f"no {name} in {data_dir} (there is no {missing}): pass {remedy}")
    if isinstance(known, FolderSet):
        layout = known.layout(data_dir)
        assert layout is not None
        return open_layout(name, layout, size=known.size, skip_bad_images=skip_bad_images)
    present = [data_dir / file for file in known.files + known.optional if (data_dir / file).exists()]
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in present]
    return Source(name, f"{name} {stamps}", known.size, skip_bad_images, partial(_read, name, known, data_dir))


def _missing(known: ArraySet | FolderSet, data_dir: Path) -> str | None:
    """The first thing that it lacks."""
    if isinstance(known, FolderSet):
        return None if known.layout(data_dir) else str(Path(known.roots[0]) / known.train)
    return next((file for file in known.files if not (data_dir / file).exists()), None)


def _download(name: str, known: ArraySet | FolderSet, data_dir: Path) -> None:
    if known.download is None:
        raise ValueError(f"{name} cannot be downloaded by itself: get it from its owners and pass --data-dir")
    try:
        known.download(data_dir)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"cannot download {name} ({_line(error)}): try again, or put it into {data_dir}") from error


def _read(name: str, known: ArraySet, data_dir: Path) -> Contents:
    try:
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 complain to whoever reads what NumPy 1 pickled, as it did CIFAR.
            warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
            return known.read(data_dir)
    except (AssertionError, EOFError, RuntimeError, ValueError) as error:
        raise ValueError(f"{name} in {data_dir} is damaged ({_line(error)}): delete it and pass --download") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _part(images: Any, labels: Any) -> Part:
    return in_memory(np.asarray(images), np.asarray(labels).astype(np.int64))


def _idx(kind: Kind, folder: Path) -> Contents:
    train, test = kind(folder, train=True), kind(folder, train=False)
    return Contents(tuple(kind.classes), 1, _part(train.data, train.targets), _part(test.data, test.targets))


def _idx_files(kind: Kind) -> tuple[str, ...]:
    return tuple(f"{kind.__name__}/raw/{Path(archive).stem}" for archive, _ in kind.resources)


def _emnist_letters(folder: Path) -> Contents:
    train, test = (datasets.EMNIST(folder, split="letters", train=of_train) for of_train in (True, False))
    # Its labels count from 1, and torchvision names a class 0 of which there is no image.
    parts = [_part(part.data, part.targets - 1) for part in (train, test)]
    return Contents(tuple(train.classes[1:]), 1, *parts)


def _cifar(kind: Kind, folder: Path) -> Contents:
    train, test = kind(folder, train=True), kind(folder, train=False)
    return Contents(tuple(train.classes), 3, _part(train.data, train.targets), _part(test.data, test.targets))


def _cifar_files(kind: Kind) -> tuple[str, ...]:
    names = [name for name, _ in kind.train_list + kind.test_list] + [kind.meta["filename"]]
    return tuple(f"{kind.base_folder}/{name}" for name in names)


def _svhn(folder: Path) -> Contents:
    def part(split: str) -> Part:
        found = datasets.SVHN(folder, split=split)
        return _part(found.data.transpose(0, 2, 3, 1), found.labels)

    extra = part("extra") if (folder / SVHN_EXTRA).exists() else None
    rest = None if extra is None else Part(extra.read, unlabelled(len(extra.labels)))
    return Contents(DIGITS, 3, part("train"), part("test"), unlabelled=rest)


def _stl10(folder: Path) -> Contents:
    train, test, rest = (datasets.STL10(folder, split=split) for split in ("train", "test", "unlabeled"))
    parts = [_part(part.data.transpose(0, 2, 3, 1), part.labels) for part in (train, test, rest)]
    return Contents(tuple(train.classes), 3, parts[0], parts[1], unlabelled=parts[2])


def _download_svhn(folder: Path) -> None:
    for split in ("train", "test"):
        datasets.SVHN(folder, split=split, download=True)


def _idx_set(kind: Kind) -> ArraySet:
    return ArraySet(28, _idx_files(kind), partial(_idx, kind), partial(kind, download=True))


def _cifar_set(kind: Kind) -> ArraySet:
    return ArraySet(32, _cifar_files(kind), partial(_cifar, kind), partial(kind, download=True))


SVHN_EXTRA = "extra_32x32.mat"
_STL10 = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin", "class_names.txt")
_IDX = ("images-idx3-ubyte", "labels-idx1-ubyte")

PUBLIC_SETS: dict[str, ArraySet | FolderSet] = {
    # Its 531,131 extra images are far easier than the others and take 1.3 GB: they are used where they are there.
    "svhn": ArraySet(32, ("train_32x32.mat", "test_32x32.mat"), _svhn, _download_svhn, (SVHN_EXTRA,)),
    "cifar10": _cifar_set(datasets.CIFAR10),
    "cifar100": _cifar_set(datasets.CIFAR100),
    "stl10": ArraySet(
        96,
        tuple(f"stl10_binary/{file}" for file in _STL10),
        _stl10,
        partial(datasets.STL10, download=True),
    ),
    "mnist": _idx_set(datasets.MNIST),
    "fashion-mnist": _idx_set(datasets.FashionMNIST),
    "kmnist": _idx_set(datasets.KMNIST),
    "emnist-letters": ArraySet(
        28,
        tuple(f"EMNIST/raw/emnist-letters-{split}-{kind}" for split in ("train", "test") for kind in _IDX),
        _emnist_letters,
        partial(datasets.EMNIST, split="letters", download=True),
    ),
    "eurosat": FolderSet(64, ("eurosat/2750",), train=".", download=partial(datasets.EuroSAT, download=True)),
    "imagenet": FolderSet(None, ("imagenet", "."), train="train", test="val"),  # its test labels were never published
}
