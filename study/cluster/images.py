"""Images on other nodes: a node that lacks the prepared folder fetches it once, from the driver's node.

No torch here: the process that serves them starts in a second and holds a chunk at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.storage.folder import StorageError

CHUNK = 16 << 20  # bytes on their way at a time; of each node that fetches, two chunks are
ABOUT, PIXELS, LABELS = "about.json", "pixels.uint8", "labels.npy"


class Server:
    """The actor on the driver's node that reads the prepared folder for the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sizes(self) -> dict[str, int]:
        """Bytes by file."""
        return {name: (self._folder / name).stat().st_size for name in (ABOUT, PIXELS, LABELS)}

    def read(self, name: str, start: int) -> NDArray[np.uint8]:
        """A chunk of a file; an array, for that travels without being copied."""
        return np.fromfile(self._folder / name, np.uint8, CHUNK, offset=start)


def share(folder: Path) -> Callable[[], Path]:
    """Serve a prepared folder to the cluster. The answer, called on any node, says where the images lie on that node.

    Ray must be running, and `folder` lie on this node; the actor lives as long as the answer.
    """
    server: Any = ray.remote(Server)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    serving = server.options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
    return partial(nearby, folder, str(identity(folder)), serving.remote(folder))


def identity(folder: Path) -> str | None:
    """What tells one prepared folder from another, by its about.json, which holds a digest of the images."""
    try:
        return blake2b((folder / ABOUT).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return None


def nearby(folder: Path, wanted: str, server: Any) -> Path:
    """`folder` where this node has the same one, else its copy in this node's cache, fetched if it is not there yet.

    Processes of a node that want it at the same time wait for the first, and share the copy. Raises StorageError where
    it cannot be written.
    """
    if identity(folder) == wanted:
        return folder
    try:
        copy = _cache() / f"{folder.name}-{wanted}"
        with _alone(copy.with_name(f".{copy.name}.lock")):
            if not copy.exists():
                _fetch(server, folder, copy)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"the images could not be copied to node {socket.gethostname()}: {error}") from error
    return copy


def _cache() -> Path:
    """This user's own cache on this node; the machine's temporary folder is on its own disk, a home may be shared."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    cache = Path(chosen or tempfile.gettempdir()) / f"pretraining-study-{os.getuid()}"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = cache.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            f"{cache} on node {socket.gethostname()} is not a folder of this user alone: delete it, or set "
            "XDG_CACHE_HOME there before ray start"
        )
    return cache


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of the node at a time. The system lets go of the lock of a process that dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(server: Any, folder: Path, copy: Path) -> None:
    """Copy, check, then rename: what is there is whole."""
    for abandoned in copy.parent.glob(f".{copy.name}-*"):  # by processes that were killed
        shutil.rmtree(abandoned)
    sizes: dict[str, int] = ray.get(server.sizes.remote())
    needed, free = sum(sizes.values()), shutil.disk_usage(copy.parent).free
    if needed > free:
        raise StorageError(
            f"the images take {needed / 1e9:.2f} GB, and {copy.parent} on node {socket.gethostname()} has "
            f"{free / 1e9:.2f} GB free: make room there, or set XDG_CACHE_HOME there before ray start"
        )
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix=f".{copy.name}-") as temporary:
        arrived = Path(temporary) / "prepared"
        arrived.mkdir()
        digest = blake2b(digest_size=16)
        for name, size in sizes.items():
            with (arrived / name).open("wb") as file:
                for chunk in _chunks(server, name, size):
                    file.write(chunk.data)
                    if name == PIXELS:
                        digest.update(chunk.data)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut may leave the new name on empty files
        digest.update(np.load(arrived / LABELS).data)
        if digest.hexdigest() != json.loads((arrived / ABOUT).read_bytes())["digest"]:
            raise StorageError(f"{folder} is damaged: its images are not those that it was made with: delete it")
        arrived.rename(copy)


def _chunks(server: Any, name: str, size: int) -> Iterator[NDArray[np.uint8]]:
    """The file's chunks; while one is written, the next is on its way."""
    coming = server.read.remote(name, 0)
    for start in range(0, size, CHUNK):
        chunk: NDArray[np.uint8] = ray.get(coming)
        if start + CHUNK < size:
            coming = server.read.remote(name, start + CHUNK)
        yield chunk
