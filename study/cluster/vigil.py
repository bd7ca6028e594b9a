"""Vigil: notices when Ray itself dies, and ends what a dead study left running on this machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

_LOOK = 2.0  # seconds between two looks
_PATIENCE = 15.0  # seconds for the main thread to hear of it
_MISSES = 3  # looks in a row without a sign of life, after which Ray counts as dead
_MARK = "STUDY_DRIVER"  # in the environment of every process that a study starts: PID-STARTED-NAMESPACE of its driver
_NAMESPACE = str(Path("/proc/self/ns/pid").stat().st_ino) if sys.platform == "linux" else ""  # where its PID means it


class RayDiedError(BaseException):
    """Ray's own processes are gone. Like KeyboardInterrupt no Exception: no library is to catch it on its way."""


@contextmanager
def vigil(signs: Mapping[str, Callable[[], bool]], stuck: Callable[[str], object] | None = None) -> Iterator[None]:
    """Raise RayDiedError in the main thread when one of the `signs` of life, by what it tells of, stays out.

    Ray itself would end the process a minute later, or leave calls waiting for ever. Where the main thread is in such a
    call, and does not hear of it, `stuck` is called with the reason.
    """
    over = threading.Event()
    dead: list[str] = []

    def raise_it(signum: int, frame: FrameType | None) -> None:
        raise RayDiedError(dead[0])

    def watch() -> None:
        missed = dict.fromkeys(signs, 0)
        while not over.wait(_LOOK):
            for what, lives in signs.items():
                missed[what] = 0 if lives() else missed[what] + 1
                if missed[what] == _MISSES:
                    dead.append(f"Ray died: its {what} is gone")
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
                    if not over.wait(_PATIENCE) and stuck is not None:
                        stuck(dead[0])
                    return

    if threading.current_thread() is not threading.main_thread():  # which alone may be interrupted
        yield
        return
    before = signal.signal(signal.SIGUSR2, raise_it)  # Ray Tune has taken SIGUSR1
    threading.Thread(target=watch, name="vigil", daemon=True).start()
    try:
        yield
    except Exception as error:  # raised within Ray's own code, ours may arrive as another
        if dead:
            raise RayDiedError(dead[0]) from error
        raise
    finally:
        over.set()
        signal.signal(signal.SIGUSR2, before)


def opens(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def children() -> dict[str, Callable[[], bool]]:
    """The processes that this one started, by their names, each with whether it still lives."""
    found: dict[str, Callable[[], bool]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, fields = _stat(int(folder.name))
            if int(fields[1]) == os.getpid():
                found[name] = partial(_lives, int(folder.name), fields[19])
    return found


def _lives(pid: int, started: str) -> bool:
    return _started(pid) == started


def own_mark() -> str:
    """What tells this process from any other, later ones of its number included."""
    return f"{os.getpid()}-{_started(os.getpid())}-{_NAMESPACE}"


def gone(mark: str) -> bool:
    """Whether the process of a mark has ended. False where that cannot be known. Raises ValueError for no mark."""
    driver, started, namespace = mark.split("-")
    return namespace == _NAMESPACE and _started(int(driver)) != started


def mark() -> None:
    """Have every process that this one starts from now on carry its mark."""
    os.environ[_MARK] = own_mark()


def end_orphans(ours: bool = False) -> int:
    """Kill the marked processes whose driver is gone, or with `ours` those that this process started; how many.

    A worker of a driver that was killed may go on for a while: it would write where the resumed study writes. Where
    there is no /proc, as outside Linux, none is found.
    """
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            marks = [each.partition(b"=")[2].decode() for each in variables if each.startswith(f"{_MARK}=".encode())]
            if not marks or int(folder.name) == os.getpid():
                continue
            if (marks[0] == own_mark()) if ours else gone(marks[0]):
                os.kill(int(folder.name), signal.SIGKILL)
                found += 1
    if found:
        time.sleep(0.5)  # until they are gone
    return found


def _started(pid: int) -> str:
    """When a process started, in clock ticks: tells it from a later one of the same number. Empty where it is gone."""
    try:
        _, fields = _stat(pid)
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _stat(pid: int) -> tuple[str, list[str]]:
    """A process's name, and what proc(5) tells of it from its state on."""
    before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return before.partition("(")[2], after.split()
