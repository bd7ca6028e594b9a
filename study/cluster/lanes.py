"""Lanes: Ray Train worker groups that live as long as the study and run one job after another.

Starting a worker group costs seconds, most of them imports; a lane pays that once. A job is a generator function and
its argument: every worker of the lane runs it, and after each item waits for leave to go on, so that a job which is
no longer wanted ends between two items. A job must be replayable: run again (its worker died), it yields the items of
before once more, quickly, from its own checkpoint.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import traceback
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch import distributed as dist

from study.cluster.mailbox import ATTEMPTS, Failure, Job, Lane, Mailbox, sealed
from study.cluster.runtime import Layout
from study.learning.pretrain import DivergedError, Place

CONTROL_CPU = 0.05  # of each lane's share, for the small actors beside its workers: a Tune actor cannot ask for none


def _serve(config: dict[str, Any]) -> None:
    """What every worker of a lane runs: one job after another until the lane closes."""
    mailbox = config["mailbox"]
    _keep_memory()
    torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), get_device())
    group = [uuid.uuid4().hex]  # tells this worker group from the one that it may replace
    if place.world > 1:
        dist.broadcast_object_list(group)
    done = 0
    while (taken := ray.get(mailbox.take.remote(group[0], place.rank, done))) is not None:
        number, letter = taken
        failure = None
        try:
            job = letter.open()
            for index, item in enumerate(job.work(job.argument, place)):
                if not ray.get(mailbox.post.remote(number, place.rank, index, sealed(item))):
                    break
        except Exception as error:  # whatever a job raises is its result; the lane lives on
            failure = Failure(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500], traceback.format_exc())
            if place.device.type == "cuda":
                torch.cuda.empty_cache()
            if place.world > 1 and not isinstance(error, DivergedError):
                # The other workers wait for this one in a collective call: only a new group gets them out.
                ray.get(mailbox.end.remote(number, place.rank, failure))
                raise
        ray.get(mailbox.end.remote(number, place.rank, failure))
        done = number


def _keep_memory() -> None:
    """Have glibc keep freed memory: giving pages back after every step costs up to a quarter of it."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # not glibc
        return
    trim_threshold, mmap_threshold = -1, -3  # of <malloc.h>
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)


class LaneError(RuntimeError):
    """A lane's worker group could not be started or kept alive."""


class Lanes:
    """The lanes of a study: `with Lanes(layout, scratch) as lanes`. Ray must be running."""

    def __init__(self, layout: Layout, scratch: Path) -> None:
        """Start the lanes of `layout`; Ray Train keeps its notes in `scratch`."""
        self._errors: dict[int, Exception] = {}
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        mailbox: Any = ray.remote(Mailbox)
        many = mailbox.options(num_cpus=0, max_concurrency=1000)  # waiting calls do not hold up the others
        self.lanes = [Lane(number, many.remote()) for number in range(layout.lanes)]
        resources = {"CPU": layout.cpus_per_worker - CONTROL_CPU / layout.workers}
        if layout.gpus_per_worker:
            resources["GPU"] = layout.gpus_per_worker
        for lane in self.lanes:
            trainer = TorchTrainer(
                _serve,
                train_loop_config={"mailbox": lane.mailbox, "threads": max(1, int(layout.cpus_per_worker))},
                torch_config=TorchConfig(backend="nccl" if layout.gpus_per_worker else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=layout.workers, use_gpu=layout.gpus_per_worker > 0, resources_per_worker=resources
                ),
                run_config=RunConfig(
                    name=f"lane{lane.number}", storage_path=str(scratch), failure_config=FailureConfig(max_failures=-1)
                ),
            )
            thread = threading.Thread(target=self._fit, args=(lane, trainer), name=f"lane{lane.number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _fit(self, lane: Lane, trainer: TorchTrainer) -> None:
        """Keep the lane's worker group alive: Ray Train restarts its workers, and this its controller."""
        for _ in range(ATTEMPTS):
            try:
                trainer.fit()
            except Exception as error:  # reported by `wait_until_ready`, in the thread that can act on it
                self._errors[lane.number] = error
            if self._closing.is_set():
                return
        lane.mailbox.give_up.remote(f"lane {lane.number} died {ATTEMPTS} times: {self._errors.get(lane.number)}")

    def wait_until_ready(self) -> None:
        """Return when every lane's workers are up. Raises LaneError where a lane cannot start."""
        for lane in self.lanes:
            ready = lane.mailbox.ready.remote()
            while not ray.wait([ready], timeout=1.0)[0]:
                if lane.number in self._errors:
                    error = self._errors[lane.number]
                    raise LaneError(f"lane {lane.number} did not start: {error}") from error

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Run jobs in their order on whichever lane is free; yield each with every item of it, or with its Failure."""
        waiting = iter(list(jobs))
        answers: queue.SimpleQueue[tuple[Job, Any] | None] = queue.SimpleQueue()
        guard = threading.Lock()

        def work(lane: Lane) -> None:
            while True:
                with guard:
                    job = next(waiting, None)
                if job is None:
                    break
                lane.start(job.sealed())
                index = 0
                while (answer := lane.receive(job.name, index)) is not True:
                    answers.put((job, answer if isinstance(answer, Failure) else answer[0]))
                    if isinstance(answer, Failure):
                        break
                    index += 1
            answers.put(None)

        for lane in self.lanes:
            threading.Thread(target=work, args=(lane,), daemon=True).start()
        working = len(self.lanes)
        while working:
            answer = answers.get()
            if answer is None:
                working -= 1
            else:
                yield answer

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for lane in self.lanes:
            lane.mailbox.close.remote()
        for thread in self._threads:
            thread.join(timeout=10)
