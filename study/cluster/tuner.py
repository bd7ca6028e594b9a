"""Tuner: Ray Tune's loop, with no more actors than there are lanes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import ray.tune.tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache


class _Kept(_ObjectCache):
    """Actors that wait for a trial: all are kept until the search ends."""

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
    """Ray Tune's loop, with an actor a lane that comes up once.

    Ray's own keeps one actor that waits, gives it to a trial whose own is being started, and ends that one. Where
    trials are short a process a trial is then started for nothing, and the lanes wait for each other.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._actor_cache = _Kept()

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        if trial in self._trial_to_actor and trial not in self._resetting_trials:
            return False
        reused: bool = super()._maybe_reuse_cached_actor(trial)
        return reused


@contextmanager
def one_actor_a_lane() -> Iterator[None]:
    """Have Ray Tune run that loop: it has no way to be given one."""
    module = vars(ray.tune.tune)
    real = module["TuneController"]
    module["TuneController"] = _Controller
    try:
        yield
    finally:
        module["TuneController"] = real
