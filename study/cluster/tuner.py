"""Tuner: Ray Tune's loop, whose trials are in the post office, no more of them than there are lanes."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray.tune.tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution.resources import AcquiredResources, ResourceManager, ResourceRequest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache


class _Call:
    """What Ray Tune takes for a method of an actor."""

    def __init__(self, office: Any, number: int, method: str) -> None:
        self._office, self._number, self._method = office, number, method

    def remote(self, *arguments: Any, **options: Any) -> Any:
        """A reference to the answer."""
        if arguments:  # Ray Tune names all but the one of `reset`
            (options["new_config"],) = arguments
        return self._office.trial.remote(self._number, self._method, options)


class _Trial:
    """What Ray Tune takes for the handle of an actor: a number in the post office."""

    def __init__(self, office: Any, number: int, options: dict[str, Any]) -> None:
        self._office, self._number = office, number
        self._begun = _Call(office, number, "begin").remote(**options)

    def __getattr__(self, method: str) -> Any:
        if method == "__ray_ready__":
            return SimpleNamespace(remote=lambda: self._begun)
        if method == "get_auto_filled_metrics":  # the result of a trial that has none yet
            return SimpleNamespace(remote=lambda **_: {})
        return _Call(self._office, self._number, method)


class _Opened(AcquiredResources):
    """The room of one trial. Nothing is acquired: the lanes hold what trials take."""

    def __init__(self, resource_request: ResourceRequest, office: Any, number: int) -> None:
        super().__init__(resource_request)
        self._office, self._number = office, number

    def _annotate_remote_entity(self, entity: Any, bundle: dict[str, float], bundle_index: int) -> Any:
        return self

    def remote(self, **options: Any) -> _Trial:
        """What Ray Tune takes for starting an actor."""
        return _Trial(self._office, self._number, options)


class _Rooms(ResourceManager):
    """There is always room in the post office."""

    def __init__(self, office: Any) -> None:
        self._office = office
        self._numbers = itertools.count()

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Nothing to do."""

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Nothing to do."""

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Always."""
        return True

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources:
        """A place for one trial."""
        return _Opened(resource_request, self._office, next(self._numbers))

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """Nothing to do."""

    def clear(self) -> None:
        """Nothing to do."""


class _Trials(RayActorManager):
    """Ray Tune's book of its actors, of which none is a process that could be killed."""

    def _try_kill_actor(self) -> bool:
        for tracked in self._live_actors_to_kill:
            self._actor_stop_resolved(tracked)
        self._live_actors_to_kill.clear()
        return False

    def cleanup(self) -> None:
        """Nothing: this is the loop's end, and no process is left to kill."""


class _Kept(_ObjectCache):
    """Trials that wait to be reused: all are kept until the search ends."""

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep it."""
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """Give up all of them, or none."""
        if force_all:
            yield from super().flush_cached_objects(force_all=True)


class _Controller(TuneController):
    """Ray Tune's loop, over the post office."""

    def __init__(self, *arguments: Any, office: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._actor_manager = _Trials(_Rooms(office))
        self._actor_cache = _Kept()

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing but the file that Ray Tune looks for in the end: trials' own files are what a study resumes from."""
        if force:
            folder = Path(self.experiment_path)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self.experiment_state_file_name).write_text('{"trial_data": []}')

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        # Ray's own gives a trial whose own is being made one that waits, and gives up the other.
        if trial in self._trial_to_actor and trial not in self._resetting_trials:
            return False
        reused: bool = super()._maybe_reuse_cached_actor(trial)
        return reused


@contextmanager
def trials_in(office: Any) -> Iterator[None]:
    """Have Ray Tune run that loop: it has no way to be given one."""
    module = vars(ray.tune.tune)
    real = module["TuneController"]
    module["TuneController"] = partial(_Controller, office=office)
    try:
        yield
    finally:
        module["TuneController"] = real
