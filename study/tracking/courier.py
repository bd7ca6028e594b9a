"""Courier: brings notes to a store from one background thread, whatever becomes of the store."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from methods.space import Value
from study.records import Epoch, Trial
from study.tracking.databases import reason
from study.tracking.uri import public_uri

RETRY = 15.0  # seconds between attempts while the study runs
LAST_RETRY = 0.5  # seconds between attempts while `close` waits
N = TypeVar("N")
N_contra = TypeVar("N_contra", contravariant=True)


class Recorder(Protocol):
    """What is told of a search as it goes. Every call takes note and returns."""

    def start_trial(self, number: int, trial_id: str, params: Mapping[str, Value]) -> None:
        """A trial begins, or goes on."""

    def log_epoch(self, number: int, epoch: Epoch) -> None:
        """A trial under way finished an epoch."""

    def finish_trial(self, trial: Trial) -> None:
        """A trial ended, now or in an earlier session."""


@dataclass
class Answers:
    """How often a store has done as told, and when it last did."""

    count: int = 0
    last: float = 0.0  # on the monotonic clock

    def one(self) -> None:
        """It did once more."""
        self.count, self.last = self.count + 1, time.monotonic()


class Destination(Protocol[N_contra]):
    """A store, as the thread sees it."""

    uri: str
    refusal: str | None  # the last thing that it refused for good
    answers: Answers

    @property
    def left(self) -> int:
        """How many runs or trials are still to be written."""

    def add(self, note: N_contra) -> None:
        """Take a note for the next `write`. Cannot fail."""

    def write(self) -> None:
        """Write all notes. Raises where the store fails; it then keeps the notes."""


class Courier(Generic[N]):
    """The thread and its patience. `tell` never waits, `close` a bounded time."""

    def __init__(self, name: str, destination: Destination[N]) -> None:
        self.problem: str | None = None  # why the store lacks what it was told, in one line; None while all is well
        self._destination = destination
        self._notes: queue.SimpleQueue[N | None] = queue.SimpleQueue()
        self._ended = False  # the thread has taken None, the last of the notes
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._closed_at = 0.0  # on the monotonic clock
        self._begun, self._left = 0, 0  # answers before this attempt, and what was left then
        self._furthest, self._further_at = 0, 0.0  # most answers of an attempt that failed, and when it gave them
        # Idle until the first note, for importing MLflow would slow the start of everything else by seconds.
        # A daemon, so that a store that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._deliver, name=name, daemon=True)
        self._thread.start()

    def tell(self, note: N) -> None:
        """Have the store know."""
        self._notes.put(note)

    def end(self) -> None:
        """Say that no note follows. Does not wait: several couriers that are told so at once end at once."""
        if not self._closing.is_set():
            self._notes.put(None)
            self._closed_at = time.monotonic()
            self._closing.set()

    def close(self, patience: float) -> None:
        """Wait for what is still to be written since `end`.

        A failing store is given up when no attempt has got further than those before it for `patience` seconds: one
        on a full disk answers for ever. One that is merely slow has six times as long from answer to answer: `problem`
        then says so.
        """
        self.end()
        while self._thread.is_alive():
            self._thread.join(0.05)
            silence = time.monotonic() - max(self._closed_at, self._advanced())
            if silence > (patience if self.problem else 6 * patience):
                break
        self._given_up.set()
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"not all recorded in {public_uri(self._destination.uri)}: it is too slow"

    def _advanced(self) -> float:
        """When the store last did what it had not done before."""
        answers = self._destination.answers
        return answers.last if answers.count - self._begun > self._furthest else self._further_at

    def _deliver(self) -> None:
        while not self._ended:
            self._take(self._notes.get())
            while not self._attempt():
                # `close` cuts the long pause short; its own attempts follow each other quickly.
                if self._closing.wait(RETRY) and self._given_up.wait(LAST_RETRY):
                    return

    def _take(self, note: N | None) -> None:
        if note is None:
            self._ended = True
        else:
            self._destination.add(note)

    def _attempt(self) -> bool:
        while not self._notes.empty():
            self._take(self._notes.get())
        uri, answers = self._destination.uri, self._destination.answers
        self._begun = answers.count
        if self._destination.left < self._left:  # less to do needs fewer answers
            self._furthest = 0
        self._left = self._destination.left
        try:
            self._destination.write()
        except Exception as error:  # whatever a store raises, the study goes on
            if answers.count - self._begun > self._furthest:
                self._furthest, self._further_at = answers.count - self._begun, answers.last
            self._begun = answers.count
            self.problem = f"not recorded in {public_uri(uri)}: {reason(error, uri)}"
            return False
        self._furthest, self._further_at = 0, time.monotonic()
        refusal = self._destination.refusal
        self.problem = refusal and f"refused by {public_uri(uri)}: {refusal}"
        return True
