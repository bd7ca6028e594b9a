"""Lanes: Ray Train worker groups that live as long as the study and run one job after another.

Starting a worker group costs seconds, most of them imports; a lane pays that once. A job is a generator function and
its argument: every worker of the lane runs it, and after each item waits for leave to go on, so that a job which is
no longer wanted ends between two items. A job must be replayable: run again (its worker died, or its lane was lost),
it yields the items of before once more, quickly, from its own checkpoint.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig

from study.cluster.layout import Layout
from study.cluster.mailbox import ATTEMPTS, SILENCE
from study.cluster.messages import Failure, Job
from study.cluster.post_office import Lane, open_office
from study.cluster.trainer import LaneTrainer, backend
from study.cluster.vigil import RayDiedError
from study.cluster.worker import serve
from study.storage.folder import StorageError

HANG_AFTER = 1800.0  # seconds without progress after which a worker is ended
LOSSES = 5  # how often a job may lose its lane before it counts as failed
_LOOK = 2.0  # seconds between two looks at the lanes
_LEAVE = 10.0  # seconds for the workers to leave in the end
_PATIENCE = 600.0  # seconds without any lane after which the study ends


class LaneError(RuntimeError):
    """A lane's worker group could not be started or kept alive."""


class Lanes:
    """The lanes of a study: `with Lanes(layout, scratch) as lanes`. Ray must be running.

    Lanes that were lost come back when there is room for them again. Where `room` is given, which says how many the
    cluster could hold now, further ones are started as nodes join.
    """

    def __init__(
        self,
        layout: Layout,
        scratch: Path,
        hang_after: float = HANG_AFTER,
        silence: float = SILENCE,
        room: Callable[[], int] | None = None,
    ) -> None:
        """Start the lanes of `layout`; Ray Train keeps its notes in `scratch`."""
        self.trouble: Exception | None = None  # why the study cannot go on
        self.lanes: list[Lane] = []
        self._layout, self._scratch, self._hang_after = layout, scratch, hang_after
        self._room = room
        self._errors: dict[int, Exception] = {}
        self._broken: set[int] = set()
        self._alive: frozenset[int] = frozenset()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._trainers: list[LaneTrainer] = []
        self._office, self.office = open_office(silence)
        for _ in range(layout.lanes):
            self._add()
        threading.Thread(target=self._look_after, name="lanes", daemon=True).start()

    def ready(self) -> list[Lane]:
        """The lanes that can be given a job, if they have none."""
        return [lane for lane in self.lanes if lane.number in self._alive]

    def _add(self) -> None:
        layout, lane = self._layout, Lane(len(self.lanes), self._office)
        resources = {"CPU": layout.cpus_per_worker}
        if layout.gpus_per_worker:
            resources["GPU"] = layout.gpus_per_worker
        trainer = LaneTrainer(
            serve,
            train_loop_config={
                "lane": lane,
                "threads": max(1, int(layout.cpus_per_worker)),
                "hang_after": self._hang_after,
            },
            backend_config=backend(layout),
            scaling_config=ScalingConfig(
                num_workers=layout.workers, use_gpu=layout.gpus_per_worker > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=f"lane{lane.number}",
                storage_path=str(self._scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        thread = threading.Thread(target=self._fit, args=(lane, trainer), name=f"lane{lane.number}", daemon=True)
        thread.start()
        self._threads.append(thread)
        self._trainers.append(trainer)
        self.lanes.append(lane)

    def _fit(self, lane: Lane, trainer: LaneTrainer) -> None:
        """Keep the lane's worker group alive: Ray Train restarts its workers, and this a Ray Train that failed."""
        for _ in range(ATTEMPTS):
            try:
                trainer.fit()
            except Exception as error:  # reported by `wait_until_ready`, in the thread that can act on it
                self._errors[lane.number] = error
            if self._closing.is_set():
                return
        self._broken.add(lane.number)
        lane.send("give_up", f"lane {lane.number} died {ATTEMPTS} times: {_last_line(self._errors.get(lane.number))}")

    def _look_after(self) -> None:
        """Know which lanes live, start others where there is room, and say when none is left."""
        seen = time.monotonic()  # when there last was one
        while not self._closing.wait(_LOOK):
            self._alive = frozenset(self._answering())
            if self._alive:
                seen = time.monotonic()
            if len(self._broken) == len(self.lanes):
                number, error = max(self._errors.items(), default=(0, None))
                self.trouble = LaneError(f"every lane died; lane {number}: {_last_line(error)}")
            elif time.monotonic() - seen > _PATIENCE:
                self.trouble = LaneError(f"no lane has answered for {_PATIENCE / 60:.0f} minutes")
            if self._room is not None and self._room() > len(self.lanes) - len(self._broken):
                self._add()

    def _answering(self) -> Iterator[int]:
        try:
            asked = {lane.send("alive"): lane.number for lane in self.lanes}
            answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=5 * _LOOK)
        except Exception:  # Ray itself is in trouble, which others see
            return
        for answer in answered:
            try:
                if ray.get(answer):
                    yield asked[answer]
            except RayError:  # a post office that is being restarted
                continue

    def wait_until_ready(self) -> None:
        """Return when every lane's workers are up. Raises LaneError where a lane cannot start."""
        for lane in self.lanes:
            ready = lane.send("ready")
            while not ray.wait([ready], timeout=1.0)[0]:
                if lane.number in self._errors:
                    error = self._errors[lane.number]
                    raise LaneError(f"lane {lane.number} did not start: {_last_line(error)}") from error
        self._alive = frozenset(lane.number for lane in self.lanes)

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Run jobs in their order on whichever lane is free; yield each with every item of it, or with its Failure.

        A job whose lane was lost is run on another. Raises what ended the study: `trouble`, or StorageError.
        """
        waiting = deque(jobs)
        told: Counter[str] = Counter()  # items by job: a job that is run again yields those of before once more
        losses: Counter[str] = Counter()
        busy: set[int] = set()
        answers: queue.SimpleQueue[tuple[Lane, Job, int, Any]] = queue.SimpleQueue()
        while waiting or busy:
            for lane in self.ready():
                if waiting and lane.number not in busy:
                    busy.add(lane.number)
                    threading.Thread(target=_work, args=(lane, waiting.popleft(), answers), daemon=True).start()
            if self.trouble is not None:
                raise self.trouble
            try:
                lane, job, index, answer = answers.get(timeout=_LOOK / 2)
            except queue.Empty:
                continue
            if isinstance(answer, tuple):
                if index == told[job.name]:
                    told[job.name] += 1
                    yield job, answer[0]
                continue
            busy.remove(lane.number)
            if not isinstance(answer, Failure):
                continue
            if answer.fault == "storage":
                raise StorageError(answer.reason)
            losses[job.name] += answer.fault == "lane"
            if answer.fault == "lane" and losses[job.name] < LOSSES:
                waiting.appendleft(job)
            else:
                yield job, answer

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing.set()
        if kind is not RayDiedError:
            for lane in self.lanes:
                lane.send("close")
            until = time.monotonic() + _LEAVE
            for thread in self._threads:
                thread.join(timeout=max(0.0, until - time.monotonic()))
        for trainer in self._trainers:  # whose workers are busy still, or gone
            trainer.leave()


def _last_line(error: object) -> str:
    """What Ray's error says in the end, without its colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _work(lane: Lane, job: Job, answers: queue.SimpleQueue[tuple[Lane, Job, int, Any]]) -> None:
    """Run a job on a lane and put its items, each as a 1-tuple, then True or a Failure."""
    index = 0
    try:
        lane.start(job.sealed())
        while isinstance(answer := lane.receive(job.name, index), tuple):
            answers.put((lane, job, index, answer))
            index += 1
    except RayError as error:
        answer = Failure(f"lane {lane.number} did not answer: {type(error).__name__}", "", "lane")
    answers.put((lane, job, index, answer))
