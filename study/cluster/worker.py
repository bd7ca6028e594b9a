"""What every worker of a lane runs: one job after another, until the lane closes."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import ray
import torch
from ray.train.torch import get_device
from torch import distributed as dist

from study.cluster.lean import keep_memory, without_compiler
from study.cluster.messages import Failure, Fault, Job, sealed
from study.cluster.post_office import Lane
from study.cluster.watchdog import Watchdog
from study.learning.pretrain import DivergedError, Place
from study.storage.folder import StorageError

_PATIENCE = 20.0  # seconds for the mailbox to answer a sign of life


def serve(config: dict[str, Any]) -> None:
    """Take jobs from the lane's mailbox and post their items. Ray Train calls it on each worker."""
    lane: Lane = config["lane"]
    keep_memory()
    without_compiler()
    torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), get_device())
    group = [uuid.uuid4().hex]  # tells this worker group from the one that it may replace
    if place.world > 1:
        dist.broadcast_object_list(group)
    done = 0

    def beat(idle: float) -> float:
        try:
            least: float = ray.get(lane.send("beat", place.rank, idle), timeout=_PATIENCE)
        except Exception:  # a post office that is being restarted has no judgement
            return 0.0
        return least

    watchdog = Watchdog(
        config["hang_after"],
        beat,
        lambda where: ray.get(lane.send("hung", done, place.rank, where), timeout=_PATIENCE),
    )
    while (taken := lane.ask("take", group[0], place.rank, done)) is not None:
        number, letter = taken
        failure = None
        try:
            for index, item in enumerate(_items(letter.open(), place, watchdog)):
                if not lane.ask("post", number, place.rank, index, sealed(item)):
                    break
        except Exception as error:  # whatever a job raises is its result; the lane lives on
            fault: Fault = "storage" if isinstance(error, StorageError) else "job"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            failure = Failure(reason, traceback.format_exc(), fault)
            if place.device.type == "cuda":
                torch.cuda.empty_cache()
            if place.world > 1 and not isinstance(error, DivergedError):
                # The other workers wait for this one in a collective call: only a new group gets them out.
                lane.ask("end", number, place.rank, failure)
                raise
        lane.ask("end", number, place.rank, failure)
        done = number


def _items(job: Job, place: Place, watchdog: Watchdog) -> Iterator[Any]:
    """The items of a job, each computed under the watchdog's eyes."""
    items = iter(job.work(job.argument, place))
    while True:
        with watchdog.watching():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
