"""Mailbox: between a lane's workers and whoever uses the lane: a job in, its items out, leave to go on. No Ray.

A mailbox only passes jobs and items on. It holds them pickled, so that its process need not import torch, which takes
seconds and half a gigabyte.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from study.cluster.messages import Failure, Letter

ATTEMPTS = 3  # how often a job may lose its workers before it counts as failed
HANGS = 2  # how often it may hang before it counts as failed: each costs the whole time limit
SILENCE = 60.0  # seconds without a sign of life after which a lane counts as lost: a restart of its workers takes ten

_REPLACED = Failure("the job was replaced by another", "", "lane")
_LOST = Failure("the lane was lost", "", "lane")


@dataclass
class _Run:
    """The mailbox's notes on one job."""

    number: int  # counts the jobs of this mailbox
    job: Letter
    items: list[bytes] = field(default_factory=list)  # pickled
    granted: int = 1  # how many items the workers may compute: the first needs no leave
    ended: Failure | bool = False
    stopped: bool = False
    attempts: int = 0
    hangs: int = 0


class Mailbox:
    """Between a lane's workers and whoever uses the lane. All methods are coroutines of one event loop.

    Its workers beat while they live. A lane that fell silent is lost until they beat again: whoever waits for its job
    hears so. A mailbox that died and came back knows of no job, so it says the same.
    """

    def __init__(self, silence: float = SILENCE) -> None:
        self._silence = silence
        self._changed = asyncio.Condition()
        self._run: _Run | None = None
        self._runs = time.time_ns()  # higher than any number that a mailbox before this one gave
        self._beaten = time.monotonic()  # when a worker last beat; this mailbox's beginning counts as well
        self._idle: dict[int, tuple[float, float]] = {}  # by rank: when it beat, and what it said
        self._guard: asyncio.Task[None] | None = None
        self._granted: dict[int, int] = {}  # of runs that were replaced: what one worker was told, all are told
        self._taken: tuple[str, _Run] | None = None  # the worker group, and what its rank 0 runs
        self._broken: Failure | None = None
        self._closed = False
        self._ready = 0

    async def start(self, job: Letter) -> None:
        """Make `job` the wanted one; the one before is stopped. A name that was not stopped goes on with its items."""
        async with self._changed:
            if self._run is None or self._run.job.name != job.name or self._run.stopped:
                self._stop()
                self._runs += 1
                self._run = _Run(self._runs, job, ended=self._broken or False)
            self._changed.notify_all()
            if self._guard is None:
                self._guard = asyncio.create_task(self._watch())

    async def receive(self, name: str, index: int) -> Any:
        """Item `index`, pickled in a 1-tuple, leave to compute it included; True at the job's end, or a Failure."""
        async with self._changed:
            run = self._run
            if run is None or run.job.name != name:
                return _REPLACED
            run.granted = max(run.granted, index + 1)
            self._changed.notify_all()
            # No time-out here: cancelling a wait for a condition can leave its lock held for ever.
            await self._changed.wait_for(lambda: len(run.items) > index or run.ended or run.stopped)
            if len(run.items) > index:
                return (run.items[index],)
            return run.ended or Failure("the job was stopped", "", "lane")

    async def stop(self, name: str) -> None:
        """Have the job end before its next item."""
        async with self._changed:
            if self._run is not None and self._run.job.name == name:
                self._stop()
            self._changed.notify_all()

    async def close(self) -> None:
        """Have the workers leave."""
        async with self._changed:
            self._closed = True
            self._stop()
            self._changed.notify_all()

    async def give_up(self, reason: str) -> None:
        """No worker will come any more: the job and all later ones fail."""
        async with self._changed:
            self._broken = Failure(reason, "", "lane")
            if self._run is not None and not self._run.ended:
                self._run.ended = self._broken
            self._changed.notify_all()

    async def beat(self, rank: int, idle: float) -> float:
        """Called by a worker now and then: it lives, and has made no progress for `idle` seconds. The least of all."""
        self._beaten = now = time.monotonic()
        self._idle[rank] = (now, idle)
        return min(idle for at, idle in self._idle.values() if now - at < self._silence)

    async def alive(self) -> bool:
        """Whether the lane can be given a job."""
        return self._ready > 0 and self._broken is None and not self._silent()

    def _silent(self) -> bool:
        return time.monotonic() - self._beaten > self._silence

    async def _watch(self) -> None:
        """End the job of a lane that has fallen silent."""
        while not self._closed:
            await asyncio.sleep(self._silence / 10)
            run = self._run
            if run is not None and not run.ended and not run.stopped and self._silent():
                async with self._changed:
                    run.ended = run.ended or _LOST
                    self._changed.notify_all()

    async def hung(self, done: int, rank: int, where: str) -> None:
        """Called by a worker that makes no progress with the job after `done` and is about to be killed.

        `where` is its traceback.
        """
        async with self._changed:
            run = self._run
            if run is not None and run.number > done and not run.ended:
                run.hangs += rank == 0  # all workers of a lane hang together
                if rank == 0 and run.hangs == HANGS:
                    *_, line = where.strip().splitlines()
                    run.ended = Failure(f"it made no progress, {HANGS} times: {line.strip()}", where)
            self._changed.notify_all()

    async def ready(self) -> None:
        """Return when the workers have come up."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready > 0)

    async def take(self, group: str, rank: int, done: int) -> tuple[int, Letter] | None:
        """Called by a worker: the next job and its number, one after `done`; None when the lane closes.

        Rank 0 takes what is wanted, and the others of its `group` take the same even if it is no longer wanted: rank 0
        would wait for them in a collective call.
        """

        def next_run() -> _Run | None:
            if rank > 0:
                taken, run = self._taken or ("", None)
                return run if run is not None and taken == group and run.number > done and not run.ended else None
            run = self._run
            return run if run is not None and run.number > done and not run.ended and not run.stopped else None

        async with self._changed:
            self._ready += rank == 0
            self._changed.notify_all()
            while True:
                await self._changed.wait_for(lambda: next_run() is not None or self._closed)
                if (run := next_run()) is None:
                    return None
                if rank > 0:
                    return run.number, run.job
                run.attempts += 1
                if run.attempts <= ATTEMPTS:
                    self._taken = (group, run)
                    self._changed.notify_all()
                    return run.number, run.job
                run.ended = Failure(f"its workers died {ATTEMPTS} times", "")
                self._changed.notify_all()

    async def post(self, number: int, rank: int, index: int, item: bytes) -> bool:
        """Called by a worker with an item: whether to compute the next, as soon as that is known."""
        async with self._changed:
            run = self._run
            if run is None or run.number != number:
                return self._granted.get(number, 0) > index + 1
            if rank == 0 and index == len(run.items):
                run.items.append(item)
                self._changed.notify_all()
            # Leave once given stands, or one worker would go on to wait for another that does not.
            await self._changed.wait_for(lambda: run.granted > index + 1 or run.stopped or run.ended)
            return run.granted > index + 1

    async def end(self, number: int, rank: int, failure: Failure | None) -> None:
        """Called by a worker whose generator has ended; any worker's failure is the job's."""
        async with self._changed:
            run = self._run
            if run is not None and run.number == number and not run.ended and (failure or rank == 0):
                run.ended = failure or True
            self._changed.notify_all()

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stopped = True
            self._granted[self._run.number] = self._run.granted
