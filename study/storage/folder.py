"""A folder, on this machine or in an object store: what is written there is there whole, or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from study.storage.local import Local
from study.storage.remote import Remote, opened, public

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


class StorageError(OSError):
    """A folder cannot be written to or read: a full disk, a lost network. One line that says what to do."""


@dataclass(frozen=True, repr=False)
class Folder:
    """A folder by its path, or by its address: s3://bucket/prefix?endpoint_override=HOST:PORT&scheme=http, gs://...

    It need not exist; writing makes it. Errors of the storage itself are raised as StorageError, and a file that is
    asked for and missing as FileNotFoundError.
    """

    location: str

    @classmethod
    def of(cls, place: Folder | Path | str) -> Folder:
        """A folder by its path, address or itself. Raises ValueError for an address that is none."""
        if isinstance(place, Folder):
            return place
        text = str(place)
        if isinstance(place, Path) or "://" not in text:
            return cls(str(Path(place).absolute()))
        if text.startswith("file://"):
            return cls(unquote(urlsplit(text).path))
        return cls(text)

    @property
    def path(self) -> Path | None:
        """Where it lies on this machine; None in an object store."""
        return None if "://" in self.location else Path(self.location)

    def __truediv__(self, name: str) -> Folder:
        if "://" not in self.location:
            return Folder(str(Path(self.location) / name))
        parts = urlsplit(self.location)
        return Folder(parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())

    def __str__(self) -> str:
        """For people: without keys."""
        return self.location if "://" not in self.location else public(self.location)

    __repr__ = __str__

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError where there is none."""
        with self._told():
            return self._store().read(name)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        try:
            self._store().write(name, content)
        except OSError as error:  # also a bucket that is missing
            raise storage_error(self, error) from error

    def names(self) -> list[str]:
        """The files and folders that lie directly in it, sorted; none where it is missing."""
        with self._told():
            return self._store().names()

    def sizes(self) -> dict[str, int]:
        """All files in it and below, by their path from it, in bytes."""
        with self._told():
            return self._store().sizes()

    def modified(self, name: str) -> float:
        """When a file was written, in seconds by the clock of the storage. Raises FileNotFoundError."""
        with self._told():
            return self._store().modified(name)

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder in it."""
        with self._told():
            return self._store().exists(name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._told():
            self._store().remove(name)

    def remove_all(self) -> None:
        """Remove the folder itself, with all that is in it, if it is there."""
        with self._told():
            self._store().remove_all()

    def _store(self) -> Local | Remote:
        return Local(Path(self.location)) if "://" not in self.location else opened(self.location)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(self, error) from error


def storage_error(folder: Folder, error: OSError) -> StorageError:
    """What is told of an error of the system or of an object store."""
    reason = " ".join((error.strerror or str(error)).split())
    if error.errno in _FULL:
        remedy = "make room there"
    elif error.errno in _CLOSED:
        remedy = "make it writable"
    else:
        remedy = "see that it can be reached and written to"
    return StorageError(f"{folder} fails ({reason}): {remedy}, then go on with --resume")
