"""Own images: folders of image files, one folder a class, as a source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from study.data.images import Contents, Integers, Part, Pixels, Source, decode, is_grey, join, unlabelled

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MOST_NAME = 80  # bytes of a source's name, with which other names begin; a file's may have 255
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")


@dataclass(frozen=True)
class Layout:
    """Which folder holds which split. All but `unlabelled` hold a folder a class."""

    root: Path  # links out of it are refused
    train: Path
    test: Path | None = None
    validation: Path | None = None
    unlabelled: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The image files of one split, in a fixed order."""

    files: tuple[str, ...]
    labels: Integers  # (N,)
    fingerprint: str  # of paths, sizes and times of change

    @property
    def grey(self) -> bool:
        """Whether all of them are grey; only headers are read, and only up to the first in colour."""
        return all(is_grey(file) for file in self.files)

    def read(self, index: int) -> Pixels:
        """Decode one of them."""
        return decode(self.files[index], named=self.files[index])

    def part(self) -> Part:
        """As a split of a source."""
        return Part(self.read, self.labels)


def open_folder(folder: Path, *, skip_bad_images: bool) -> Source:
    """Class folders, or `train/` and perhaps `test/` and `val*/` that hold them; `unlabelled/` beside either."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: name one that holds a folder of images for each class")
    return open_layout(source_name(folder), find_layout(folder), size=None, skip_bad_images=skip_bad_images)


def open_layout(name: str, layout: Layout, *, size: int | None, skip_bad_images: bool) -> Source:
    """Open folders whose roles are known. Files are listed now and read later."""
    root = layout.root.resolve()
    classes = _classes(layout.train)
    train = _list_classes(layout.train, classes, root)
    test = None if layout.test is None else _list_classes(layout.test, classes, root)
    validation = None if layout.validation is None else _list_classes(layout.validation, classes, root)
    rest = None if layout.unlabelled is None else _list_unlabelled(layout.unlabelled, root)
    listings = [train, *(listing for listing in (test, validation, rest) if listing is not None)]
    if not train.files:
        raise ValueError(f"no images below {layout.train}: its class folders need files of {', '.join(SUFFIXES)}")

    def read_listings() -> Contents:
        return Contents(
            classes=classes,
            channels=1 if all(listing.grey for listing in listings) else 3,
            train=train.part(),
            test=None if test is None else test.part(),
            validation=None if validation is None else validation.part(),
            unlabelled=None if rest is None else rest.part(),
        )

    fingerprint = f"{layout} {[listing.fingerprint for listing in listings]}"
    return Source(name, fingerprint, size, skip_bad_images, read_listings)


def add_unlabelled(source: Source, folder: Path) -> Source:
    """The source with all images below `folder` as further unlabelled ones."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: --unlabelled names one that holds images, at any depth")
    listing = _list_unlabelled(folder, folder.resolve())
    if not listing.files:
        raise ValueError(f"no images below {folder}: --unlabelled needs files of {', '.join(SUFFIXES)}")

    def read_both() -> Contents:
        contents = source.open()
        part = listing.part() if contents.unlabelled is None else join(contents.unlabelled, listing.part())
        return replace(contents, unlabelled=part, channels=1 if contents.channels == 1 and listing.grey else 3)

    return replace(source, fingerprint=f"{source.fingerprint} and {listing.fingerprint}", open=read_both)


def source_name(path: Path) -> str:
    """A short name, fit for a file name, for a source that is known by its path."""
    name = re.sub(r"[^\w.-]+", "-", path.resolve().stem)
    return name.encode()[:MOST_NAME].decode(errors="ignore").strip("-.") or "images"


def find_layout(folder: Path) -> Layout:
    """Tell from the folders below `folder` which holds which split.

    `train/` is a split where it holds folders; where it holds images itself, it is a class of that name.
    """
    below = _subfolders(folder)
    rest = next((below[name] for name in UNLABELLED_FOLDERS if name in below), None)
    if "train" not in below or not _subfolders(below["train"]):
        return Layout(root=folder, train=folder, unlabelled=rest)
    validation = next((name for name in below if name.startswith("val")), None)
    if unknown := sorted(set(below) - {"train", "test", validation, *UNLABELLED_FOLDERS}):
        raise ValueError(
            f"{folder} holds a split train/ but also {', '.join(unknown)}: beside it only test/, one val*/ and "
            "unlabelled/ are known; rename or move the others"
        )
    return Layout(folder, below["train"], below.get("test"), below[validation] if validation else None, rest)


def _subfolders(folder: Path) -> dict[str, Path]:
    """By name, sorted; without hidden ones and what archives and editors leave (`__MACOSX`, `.ipynb_checkpoints`)."""
    found = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith((".", "__")):
            _refuse_link(entry)
            if not entry.name.isprintable():  # nor then text of no encoding
                raise ValueError(f"{folder} holds the folder {entry.name!r}: rename it, for it names a class")
            found[entry.name] = Path(entry.path)
    return found


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(name for name in _subfolders(folder) if name not in UNLABELLED_FOLDERS)
    if not classes:
        raise ValueError(f"{folder} holds no class folders: put the images of each class into a folder of its name")
    return classes


def _list_classes(folder: Path, classes: tuple[str, ...], root: Path) -> Listing:
    if unknown := sorted(set(_classes(folder)) - set(classes)):
        raise ValueError(f"{folder} has the class {unknown[0]!r}, which train has not: rename or remove that folder")
    files = [list(_images(folder / name, root)) if (folder / name).is_dir() else [] for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(of_class) for of_class in files])
    return _listing([entry for of_class in files for entry in of_class], labels)


def _list_unlabelled(folder: Path, root: Path) -> Listing:
    files = list(_images(folder, root))
    return _listing(files, unlabelled(len(files)))


def _listing(files: list[os.DirEntry[str]], labels: Integers) -> Listing:
    digest = blake2b(labels.data, digest_size=16)
    for file in files:
        found = file.stat()
        digest.update(f"{file.path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return Listing(tuple(file.path for file in files), labels, digest.hexdigest())


def _images(folder: Path | str, root: Path) -> Iterator[os.DirEntry[str]]:
    """The image files below `folder` at any depth, sorted. Other files are passed over."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_dir():
            _refuse_link(entry)
            yield from _images(entry.path, root)
        elif entry.name.lower().endswith(SUFFIXES):
            if entry.is_symlink() and not _leads_to_file_below(root, Path(entry.path).resolve()):
                raise ValueError(
                    f"{entry.path} is a link that leads to no file below {root}: copy the file, or remove it"
                )
            if not entry.is_file():  # a pipe or a device would be waited for
                raise ValueError(f"{entry.path} is no plain file: remove it")
            yield entry


def _leads_to_file_below(root: Path, target: Path) -> bool:
    return target.is_relative_to(root) and target.is_file()


def _refuse_link(folder: os.DirEntry[str]) -> None:
    if folder.is_symlink():
        raise ValueError(
            f"{folder.path} is a link to a folder, and those are not followed: put the folder itself there"
        )
