"""Vigil: notices when Ray itself dies, and ends what a dead study left running on this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_LOOK = 2.0  # seconds between two knocks
_REFUSALS = 3  # knocks in a row that nobody answers, after which Ray counts as dead
_MARK = "STUDY_DRIVER"  # in the environment of every process that a study starts: PID-STARTED of its driver


class RayDiedError(BaseException):
    """Ray's own processes are gone. Like KeyboardInterrupt no Exception: no library is to catch it on its way."""


@contextmanager
def vigil(doors: Sequence[tuple[str, int]]) -> Iterator[None]:
    """Raise RayDiedError in the main thread when one of Ray's `doors`, host and port, stays shut.

    Ray would end the process a minute later, or leave calls waiting for ever.
    """
    over = threading.Event()
    fallen: list[str] = []

    def raise_it(signum: int, frame: FrameType | None) -> None:
        raise RayDiedError(f"Ray died: nothing answers at {fallen[0]} any more")

    def watch() -> None:
        shut = dict.fromkeys(doors, 0)
        while not over.wait(_LOOK):
            for door in doors:
                shut[door] = 0 if _opens(door) else shut[door] + 1
                if shut[door] == _REFUSALS:
                    fallen.append("{}:{}".format(*door))
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                    return

    if threading.current_thread() is not threading.main_thread():  # which alone may be interrupted
        yield
        return
    before = signal.signal(signal.SIGUSR1, raise_it)
    threading.Thread(target=watch, name="vigil", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGUSR1, before)


def _opens(door: tuple[str, int]) -> bool:
    try:
        socket.create_connection(door, timeout=5).close()
    except OSError:
        return False
    return True


def mark() -> None:
    """Have every process that this one starts from now on carry its mark."""
    os.environ[_MARK] = f"{os.getpid()}-{_started(os.getpid())}"


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
            driver, _, started = marks[0].partition("-")
            alive = _started(int(driver)) == started
            if (int(driver) == os.getpid() and alive) if ours else not alive:
                os.kill(int(folder.name), signal.SIGKILL)
                found += 1
    if found:
        time.sleep(0.5)  # until they are gone
    return found


def _started(pid: int) -> str:
    """When a process started, in clock ticks: tells it from a later one of the same number. Empty where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
