"""Trainer: Ray Train's worker group for a lane, with no more processes than a lane needs."""

from __future__ import annotations

from typing import Any

from ray.train.backend import BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from study.cluster.group import Group
from study.cluster.layout import Layout

# Each is an actor a lane, of two seconds of a processor: one hands out Ray Data sets, of which there are none; the
# other frees the place of a dead controller, for which it asks Ray's dashboard, which is off.
_IDLE = {"DatasetsCallback", "PlacementGroupCleanerCallback"}


class LaneTrainer(DataParallelTrainer):
    """A TorchTrainer without what is idle here."""

    def _create_default_callbacks(self) -> list[Any]:
        created = super()._create_default_callbacks()
        return [callback for callback in created if type(callback).__name__ not in _IDLE]


def backend(layout: Layout) -> BackendConfig:
    """How the workers of a lane find each other.

    A worker alone has no group to form, and its controller then starts without torch, two seconds sooner.
    """
    if layout.workers == 1:
        return BackendConfig()
    return Group(backend="nccl" if layout.gpus_per_worker else "gloo")
