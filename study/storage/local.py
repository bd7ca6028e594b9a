"""Files of this machine, or of a disk that machines share: written whole or not at all, and safe from a power cut."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.documents import opened

_PART = ".part"  # what a process that died while it wrote leaves behind: nobody reads it


@dataclass(frozen=True)
class Local:
    """A folder by its path. Raises OSError as the system does."""

    path: Path

    def read(self, name: str) -> bytes:
        """The content of a file. Raises ValueError where it is no plain file, or a link that leads elsewhere."""
        with opened(self.path / name, self.path) as file:
            try:
                return file.read()
            except MemoryError as error:
                raise OSError(errno.ENOMEM, f"{name} does not fit into memory") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that a reader, or a crash, finds the old one or the new one and never a part."""
        target = self.path / name
        _make(target.parent)
        # A name of its own: a worker that was given up may still write the same file from another machine.
        part = target.with_name(f".{target.name}-{uuid.uuid4().hex}{_PART}")
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut may leave the new name on an empty file
            part.replace(target)
        except BaseException:
            with suppress(OSError):  # the first error tells more
                part.unlink(missing_ok=True)
            raise
        _settle(target.parent)

    def names(self) -> list[str]:
        """What lies directly in the folder; nothing where there is none."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in self.path.iterdir() if path.suffix != _PART)
        return []

    def sizes(self) -> dict[str, int]:
        """All files in the folder and below, by their path from it, in bytes."""
        found = {}
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # removed since
                if path.is_file() and path.suffix != _PART:
                    found[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return found

    def modified(self, name: str) -> float:
        """When a file was written, in seconds by the clock of the disk."""
        return (self.path / name).stat().st_mtime

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.path / name).exists()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove the folder and all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _settle(folder.parent)


def _settle(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot, and need not
            raise
    finally:
        os.close(handle)
