"""Room: how many pixels of images of full size may lie in memory at a time, however many threads decode."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SMALL = 1_000_000  # pixels: images below take no room, for they come by the million


class Room:
    """Room for so many pixels. An image that alone has more waits until it is the only one."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._taken = pixels, 0
        self._free = threading.Condition()
        self._own = threading.local()  # .taken: what this thread has taken, where it is within `one_image`

    @contextmanager
    def one_image(self) -> Iterator[None]:
        """What this thread takes within it is given back at the end, when the image has become a small one."""
        self._own.taken = 0
        try:
            yield
        finally:
            with self._free:
                self._taken -= self._own.taken
                self._free.notify_all()
            del self._own.taken

    def take(self, pixels: int) -> None:
        """Wait for room. Outside `one_image` nobody gives it back, and nothing is taken."""
        if pixels < SMALL or not hasattr(self._own, "taken"):
            return
        with self._free:
            self._free.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
            self._own.taken += pixels
