"""Watchdog: tells the mailbox that a worker lives, and ends a worker whose job makes no progress."""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

_BEAT = 2.0  # seconds between two signs of life
_GRACE = 30.0  # seconds after which a worker that cannot even run a thread is ended from outside Python


class Watchdog:
    """Watches the thread that made it. Every forward pass and every optimizer step counts as progress.

    When no worker of the lane made any for `limit` seconds, each of those at work tells `hung` its traceback and kills
    its process, for there is no other way out of a call that does not return: Ray Train starts another, which goes on
    from the last checkpoint. Where not even this thread gets to run, because C code holds the interpreter,
    faulthandler ends the process. `beat` hears every few seconds for how long this worker has made no progress
    (infinitely long while it has nothing to do), and says the least of all workers.
    """

    def __init__(self, limit: float, beat: Callable[[float], float], hung: Callable[[str], object]) -> None:
        self._limit, self._beat, self._hung = limit, beat, hung
        self._watched = threading.get_ident()
        self._since: float | None = None  # of the last progress; None while there is nothing to do
        register_module_forward_hook(lambda *_: self._progress())
        register_optimizer_step_post_hook(lambda *_: self._progress())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the thread is at work, and not waiting to be told what to do."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _progress(self) -> None:
        if self._since is not None and threading.get_ident() == self._watched:
            self._since = time.monotonic()

    def _watch(self) -> None:
        while True:
            since = self._since
            least = self._beat(math.inf if since is None else time.monotonic() - since)
            faulthandler.dump_traceback_later(self._limit + _GRACE, exit=True)  # unless this line is reached again
            if since is not None and since == self._since and self._limit < least < math.inf:
                self._hung("".join(traceback.format_stack(sys._current_frames().get(self._watched))))
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(min(_BEAT, self._limit / 4))
