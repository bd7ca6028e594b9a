"""A study in an object store, and the copy on this machine that its driver works on.

Checkpoints are not copied: workers write them straight to the store.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from study.storage.checkpoints import CHECKPOINTS
from study.storage.files import STUDY
from study.storage.folder import Folder
from study.storage.local import Local

_AT_ONCE = 16  # files fetched together: a store answers many as fast as one


def of_a_study(name: str) -> bool:
    """Whether a file of a study's folder belongs to the copy."""
    return PurePosixPath(name).parts[0] != CHECKPOINTS


def for_comparison(name: str) -> bool:
    """Whether a file of the folder of all results is what the comparison of studies reads."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and (parts[1:] == (STUDY,) or (parts[1] in ("trials", "fits") and name.endswith(".json")))


def for_delivery(name: str) -> bool:
    """Whether a file of the folder of all results is what MLflow and Optuna are told of."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and of_a_study("/".join(parts[1:]))


class Mirror:
    """The copy of a remote folder: `fetch` once, then `publish` whenever something was written."""

    def __init__(self, local: Path, remote: Folder, wanted: Callable[[str], bool] = of_a_study) -> None:
        """`wanted` says, by its path, whether a file is to be fetched."""
        self._local = Local(local)
        self._remote = remote
        self._wanted = wanted
        self._published: dict[str, tuple[int, int, int]] = {}

    def fetch(self) -> None:
        """Write to the local folder, which is empty, what lies remote.

        Raises StorageError, and ValueError for a name that leads outside.
        """
        names = [name for name in self._remote.sizes() if self._wanted(name)]
        for name in names:
            if not set(PurePosixPath(name).parts).isdisjoint(("..", "/")):
                raise ValueError(f"{self._remote} has a file named {name!r}, which leads outside: remove it")
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(self._fetch, names))

    def _fetch(self, name: str) -> None:
        with suppress(FileNotFoundError):  # removed since
            self._local.write(name, self._remote.read(name))
            self._published[name] = self._version(name)

    def publish(self) -> None:
        """Write what has changed to the remote folder, in the order of its writing, then remove what is gone.

        Raises StorageError; called again, it goes on where it failed.
        """
        there = {}
        for name in filter(of_a_study, self._local.sizes()):
            with suppress(FileNotFoundError):  # removed since
                there[name] = self._version(name)
        for name, version in sorted(there.items(), key=lambda item: (item[1], item[0])):
            if self._published.get(name) != version:
                with suppress(FileNotFoundError):  # removed since
                    self._remote.write(name, self._local.read(name))
                    self._published[name] = version
        for name in sorted(self._published.keys() - there.keys()):
            self._remote.remove(name)
            del self._published[name]

    def _version(self, name: str) -> tuple[int, int, int]:
        """What tells one writing of a file from another: each has a file of its own, renamed."""
        found = (self._local.path / name).stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
