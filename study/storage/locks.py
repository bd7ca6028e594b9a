"""Locks: one living process alone runs a study in a folder of results."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from study.documents import record
from study.storage.folder import Folder, StorageError, storage_error

LOCKS = ".locks"  # folder, below the results
STALE = 180.0  # seconds, after which a lease that is not renewed has ended
_SETTLE = 1.0  # seconds, in which two that take a free lease at once come to see each other


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    host: str
    pid: int
    since: str  # ISO 8601, UTC
    kernel: str | None  # which boot and process namespace `pid` counts in, where that can be known
    token: str  # of this one holding


class Lock:
    """A lock that is held."""

    def __init__(self) -> None:
        self.lost = threading.Event()

    def check(self) -> None:
        """Raise StorageError where another took it, because the store was out of reach for too long."""
        if self.lost.is_set():
            raise StorageError("another process has taken over this study: stop one of them, then go on with --resume")


@contextmanager
def held(results: Folder | Path, name: str, stale: float = STALE) -> Iterator[Lock]:
    """Hold the lock of the study `name` in `results`.

    On a disk the kernel frees it when the process dies, however it dies. In an object store it is a lease, which is
    renewed and ends `stale` seconds after its holder did. Raises ValueError, saying who holds it, where another living
    process does, and StorageError where the folder fails.
    """
    folder = Folder.of(results) / LOCKS
    since = datetime.now(UTC).isoformat(timespec="seconds")
    us = Holder(socket.gethostname(), os.getpid(), since, _kernel(), uuid.uuid4().hex)
    with _lease(folder, name, us, stale) if folder.path is None else _file(folder, folder.path / name, us) as lock:
        yield lock


@contextmanager
def _file(folder: Folder, path: Path, us: Holder) -> Iterator[Lock]:
    """The kernel's lock on a file, which is removed in the end."""
    try:
        handle = _locked(path, _text(us))
    except BlockingIOError:
        raise _refusal(path.name, _holder(folder, path.name)) from None
    except OSError as error:
        raise storage_error(folder, error) from error
    with handle:
        try:
            yield Lock()
        finally:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # stays where other studies run


def _locked(path: Path, text: str) -> TextIO:
    """The file, locked, with `text` in it. Raises BlockingIOError where another process has locked it."""
    while True:
        with suppress(FileNotFoundError):  # a holder that ends removes it, and its folder
            _make(path.parent)
            # A link that somebody else has laid there would have the file that it leads to emptied.
            handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "a+")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                    handle.truncate(0)  # of a holder that was killed
                    handle.write(text)
                    handle.flush()
                    return handle
            except BaseException:
                handle.close()
                raise
            handle.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if folder.is_file():
            raise
        raise FileNotFoundError(folder) from None  # it was there, and is removed since


@contextmanager
def _lease(folder: Folder, name: str, us: Holder, stale: float) -> Iterator[Lock]:
    """An object that its holder writes again and again."""
    _take(folder, name, us, stale)
    lock, ended = Lock(), threading.Event()

    def renew() -> None:
        while not ended.wait(stale / 4):
            with suppress(StorageError):  # the next time, perhaps
                if _holder(folder, name) != us:
                    lock.lost.set()
                    return
                folder.write(name, _text(us).encode())

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join()
        with suppress(StorageError):  # then it ends by itself
            if _holder(folder, name) == us:
                folder.remove(name)


def _take(folder: Folder, name: str, us: Holder, stale: float) -> None:
    """Write the lease, unless another's holds."""
    more = f"; if it is no longer there, its lease ends within {stale:.0f} s"
    there = _holder(folder, name)
    if there is not None and not _ended(folder, name, there, us, stale):
        raise _refusal(name, there, more)
    folder.write(name, _text(us).encode())
    time.sleep(_SETTLE)  # an object store cannot write on condition that nothing is there
    last = _holder(folder, name)
    if last != us:
        raise _refusal(name, last, more)


def _ended(folder: Folder, name: str, there: Holder, us: Holder, stale: float) -> bool:
    """Whether a lease holds no longer, told by the clock of the store, for those of machines differ."""
    if there.kernel == us.kernel is not None and not _lives(there.pid):
        return True
    probe = f"{name}-{us.token}"
    folder.write(probe, b"now")
    try:
        return folder.modified(probe) - folder.modified(name) > stale
    except FileNotFoundError:  # given back meanwhile
        return True
    finally:
        folder.remove(probe)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _holder(folder: Folder, name: str) -> Holder | None:
    """Who wrote a lock last; None where nobody did, or has not come to it yet."""
    try:
        return record(Holder, json.loads(folder.read(name)))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _text(holder: Holder) -> str:
    return json.dumps(asdict(holder))


def _refusal(name: str, holder: Holder | None, more: str = "") -> ValueError:
    who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another process"
    return ValueError(
        f"{name} is being run by {who}: wait for it, stop it, or choose another --name or --results{more}"
    )


def _kernel() -> str | None:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return None
