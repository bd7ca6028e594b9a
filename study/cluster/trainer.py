"""Trainer: Ray Train's worker group for a lane, with no more processes than a lane needs."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import ray
import ray.train.v2._internal.execution.worker_group.state as group_state
import ray.train.v2._internal.execution.worker_group.worker_group as group_start
from ray.exceptions import RayError
from ray.train.backend import BackendConfig
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import Worker, WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from study.cluster.group import Group
from study.cluster.layout import Layout

# Each is an actor a lane, of two seconds of a processor: one hands out Ray Data sets, of which there are none; the
# other frees the place of a dead controller, for which it asks Ray's dashboard, which is off.
_IDLE = {"DatasetsCallback", "PlacementGroupCleanerCallback"}


class _Nobody:
    """Stands where Ray Train starts an actor a lane for `report` and for its collectives, which lanes do not call."""

    def options(self, **_: Any) -> _Nobody:
        """The same."""
        return self

    def remote(self, **_: Any) -> _Nobody:
        """The same."""
        return self


class _Workers(WorkerGroup):
    """Workers that are told of no actor beside them."""

    def _init_train_context_on_workers(self, workers: list[Worker], sync_actor: Any, train_context_args: Any) -> None:
        told = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=None,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[place] for name, values in train_context_args.items()},
            )
            for place, worker in enumerate(workers)
        ]
        ray.get(told)
        self._decorate_worker_log_file_paths(workers)


class _Controller(TrainController):
    worker_group_cls = _Workers

    async def run_until(self, left: threading.Event) -> None:
        """Run until training ends, or it is left: Ray may be gone then, and nothing of it is to be touched."""
        while not left.is_set() and not self.get_state().is_terminal():
            turn: Any = self._run_control_loop_iteration
            await turn()

    def give_back(self) -> None:
        """Give back what the workers hold, or those that follow wait for it until the study ends."""
        if self._worker_group is not None and self._worker_group.has_started():
            self._worker_group.shutdown()


class _AsMany(FixedScalingPolicy):
    """As many workers as were asked for. What they need the placement group itself says, to an autoscaler too.

    Ray's own registers them, besides, with an actor that shares a cluster out among Ray Data's users.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Nothing to register."""

    def _maybe_send_resource_request(self) -> None:
        pass


class LaneTrainer(DataParallelTrainer):
    """A TorchTrainer without what is idle here, and with its controller in this process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._left = threading.Event()

    def leave(self) -> None:
        """Have `fit` return soon, whatever its workers do."""
        self._left.set()

    def _create_default_callbacks(self) -> list[Any]:
        created = super()._create_default_callbacks()
        return [callback for callback in created if type(callback).__name__ not in _IDLE]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        # Of all lanes alike, and nobody else in this process uses Ray Train.
        vars(group_start)["SynchronizationActor"] = _Nobody()
        vars(group_state)["_shutdown_sync_actor"] = lambda _: None
        settings: Any = self.scaling_config
        controller: Any = _Controller(**arguments | {"scaling_policy": _AsMany(settings)})
        try:
            asyncio.run(controller.run_until(self._left))
        except Exception:
            with suppress(RayError):
                controller.give_back()
            raise
        return controller._build_result()  # which may be left unfinished


def backend(layout: Layout) -> BackendConfig:
    """How the workers of a lane find each other: a worker alone has no group to form."""
    if layout.workers == 1:
        return BackendConfig()
    return Group(backend="nccl" if layout.gpus_per_worker else "gloo")
