"""Trainable: a trial as Ray Tune sees it, a thin messenger between Tune and a lane. No torch: it is not needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import tune

from study.cluster.messages import Failure, Letter

if TYPE_CHECKING:
    from study.cluster.post_office import Lane


class TrialOnLane(tune.Trainable):
    """Hands the trial to its lane and passes the epochs on. Reused for trial after trial.

    Tune may set one up for a trial and then give that trial to another that has become free: the lane must hear of
    nothing before the first step, and nothing from one that never stepped.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Called once, with the first trial."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called with each further trial."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._index = 0
        self._started = False
        self._epochs: int = config["epochs"]
        self._lane: Lane = config["lane"]
        self._job: Letter = config["job"]

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch."""
        if not self._started:
            self._lane.start(self._job)
            self._started = True
        answer = self._lane.receive(self._job.name, self._index)
        if isinstance(answer, Failure):
            return {"failure": answer, "done": True}
        (epoch,) = answer
        self._index += 1
        return {
            "objective": epoch.objective,
            "epoch": epoch.epoch,
            "record": epoch,
            "name": self._job.name,
            "done": epoch.epoch >= self._epochs,
        }

    def cleanup(self) -> None:
        """Free the lane when Tune gives this up."""
        if self._started:
            self._lane.stop(self._job.name)
