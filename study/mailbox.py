"""Mailbox: between a lane's workers and whoever uses the lane: a job in, its items out, leave to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from study.pretrain import Place

Work = Callable[[Any, Place], Iterator[Any]]

ATTEMPTS = 3  # how often a job may lose its workers before it counts as failed


@dataclass(frozen=True)
class Job:
    """What a lane runs: `work(argument, place)` on every worker."""

    name: str  # one name, one run: starting a name again replays its items
    work: Work
    argument: Any


@dataclass(frozen=True)
class Failure:
    """Why a job ended without its last item: one line, and the traceback for a bug report."""

    reason: str
    detail: str


@dataclass
class _Run:
    """The mailbox's notes on one job."""

    job: Job
    items: list[Any] = field(default_factory=list)
    granted: int = 1  # how many items the workers may compute: the first needs no leave
    ended: Failure | bool = False
    stopped: bool = False
    attempts: int = 0


class Mailbox:
    """A Ray actor between a lane's workers and whoever uses the lane. All methods are coroutines of one event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._run: _Run | None = None
        self._granted: dict[str, int] = {}  # of jobs that were replaced: what one worker was told, all are told
        self._closed = False
        self._ready = 0

    async def start(self, job: Job) -> None:
        """Make `job` the wanted one; the one before is stopped. The same name again goes on with what there is."""
        async with self._changed:
            if self._run is None or self._run.job.name != job.name:
                self._stop()
                self._run = _Run(job)
            self._changed.notify_all()

    async def receive(self, name: str, index: int) -> Any:
        """Item `index` of the job, as a 1-tuple, leave to compute it included; True at its end, or a Failure."""
        async with self._changed:
            run = self._run
            if run is None or run.job.name != name:
                return Failure("the job was replaced by another", "")
            run.granted = max(run.granted, index + 1)
            self._changed.notify_all()
            # No time-out here: cancelling a wait for a condition can leave its lock held for ever.
            await self._changed.wait_for(lambda: len(run.items) > index or run.ended)
            return (run.items[index],) if len(run.items) > index else run.ended

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

    async def ready(self) -> None:
        """Return when the workers have come up."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready > 0)

    async def take(self, rank: int, done: str | None) -> Job | None:
        """Called by a worker: the next job, one other than `done`; None when the lane closes."""

        def wanted() -> bool:
            run = self._run
            return run is not None and not run.ended and not run.stopped and run.job.name != done

        async with self._changed:
            self._ready += rank == 0
            self._changed.notify_all()
            await self._changed.wait_for(lambda: wanted() or self._closed)
            run = self._run
            if self._closed or run is None:
                return None
            if rank == 0:
                run.attempts += 1
                if run.attempts > ATTEMPTS:
                    run.ended = Failure(f"its workers died {ATTEMPTS} times", "")
                    self._changed.notify_all()
            return run.job

    async def post(self, name: str, rank: int, index: int, item: Any) -> bool:
        """Called by a worker with an item: whether to compute the next, as soon as that is known."""
        async with self._changed:
            run = self._run
            if run is None or run.job.name != name:
                return self._granted.get(name, 0) > index + 1
            if rank == 0 and index == len(run.items):
                run.items.append(item)
                self._changed.notify_all()
            # Leave once given stands, or one worker would go on to wait for another that does not.
            await self._changed.wait_for(lambda: run.granted > index + 1 or run.stopped or run.ended)
            return run.granted > index + 1

    async def end(self, name: str, rank: int, failure: Failure | None) -> None:
        """Called by a worker whose generator has ended; any worker's failure is the job's."""
        async with self._changed:
            run = self._run
            if run is not None and run.job.name == name and not run.ended and (failure or rank == 0):
                run.ended = failure or True
            self._changed.notify_all()

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stopped = True
            self._granted[self._run.job.name] = self._run.granted
