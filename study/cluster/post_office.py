"""The post office: one Ray actor beside the driver, with the mailbox of every lane and Ray Tune's trials.

Mailboxes and trials only pass on what comes; a process for each would cost a second to start and 60 to 100 MiB.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.mailbox import SILENCE, Mailbox
from study.cluster.messages import Letter
from study.cluster.trainable import TrialOnLane

_AT_ONCE = 1000  # calls that wait, so many that none holds up another


@functools.lru_cache
def _actor(name: str) -> Any:
    return ray.get_actor(name)


@dataclass(frozen=True)
class Lane:
    """A handle on one lane, cheap to send to other processes."""

    number: int
    office: str  # the name of its post office

    def send(self, method: str, *arguments: Any) -> Any:
        """Call a method of its mailbox, and wait for nothing: a reference to the answer."""
        return _actor(self.office).call.remote(self.number, method, *arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of its mailbox and wait for the answer."""
        if _here is not None and _here.name == self.office:
            return _here.answer(self.number, method, *arguments)
        return ray.get(self.send(method, *arguments))

    def start(self, letter: Letter) -> None:
        """Give it a job; a job that runs there is stopped."""
        self.ask("start", letter)

    def receive(self, name: str, index: int) -> Any:
        """Wait for item `index` of a job, as a 1-tuple; True when it ended before that, a Failure when it failed."""
        answer = self.ask("receive", name, index)
        return (cloudpickle.loads(answer[0]),) if isinstance(answer, tuple) else answer

    def stop(self, name: str) -> None:
        """End a job before its next item; the lane is free."""
        self.ask("stop", name)


@dataclass
class _Trial:
    """What Ray Tune takes for a trial's actor. It does one thing after another."""

    actor: TrialOnLane
    turn: threading.Lock = field(default_factory=threading.Lock)

    def do(self, method: str, options: dict[str, Any]) -> Any:
        """Call a method of the Trainable."""
        with self.turn:
            return getattr(self.actor, method)(**options)


class PostOffice:
    """The mailboxes by the number of their lane, the trials by the number that Ray Tune's side gave them.

    A post office that died and came back has new mailboxes, which know of no job, and no trials.
    """

    def __init__(self, name: str, silence: float) -> None:
        global _here
        _here = self
        self.name = name
        self._boxes = defaultdict[int, Mailbox](lambda: Mailbox(silence))
        self._trials: dict[int, _Trial] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE)
        self._loop: asyncio.AbstractEventLoop

    async def call(self, lane: int, method: str, *arguments: Any) -> Any:
        """Call a method of a lane's mailbox; anew, where the post office died meanwhile."""
        return await getattr(self._boxes[lane], method)(*arguments)

    def answer(self, lane: int, method: str, *arguments: Any) -> Any:
        """The same for one of its own threads."""
        return asyncio.run_coroutine_threadsafe(self.call(lane, method, *arguments), self._loop).result()

    @ray.method(max_task_retries=0)  # Ray Tune is to hear that it died
    async def trial(self, number: int, method: str, options: dict[str, Any]) -> Any:
        """Make a trial's Trainable (`begin`), call a method of it, or give it up (`stop`), whoever waits for it."""
        self._loop = asyncio.get_running_loop()
        if method == "begin":
            self._trials[number] = _Trial(await self._in_thread(TrialOnLane, **options))
            return True
        if method == "stop":
            return await self._in_thread(self._trials.pop(number).actor.stop)
        return await self._in_thread(self._trials[number].do, method, options)

    async def _in_thread(self, function: Any, *arguments: Any, **options: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, functools.partial(function, *arguments, **options))


_here: PostOffice | None = None  # in this process


def open_office(silence: float = SILENCE) -> tuple[str, Any]:
    """Start a post office beside the driver: its name and its actor, which ends with its last handle."""
    name = f"post-office-{uuid.uuid4().hex}"
    office: Any = ray.remote(PostOffice)
    return name, office.options(
        name=name,
        num_cpus=0,
        max_concurrency=_AT_ONCE,
        max_restarts=-1,
        max_task_retries=-1,
        # Beside the driver, so that a lost node takes workers along and nothing else.
        scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
    ).remote(name, silence)
