"""What passes between a lane and whoever uses it: jobs on their way in, failures on their way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ray import cloudpickle

if TYPE_CHECKING:
    from study.learning.pretrain import Place

    Work = Callable[[Any, Place], Iterator[Any]]

# Whose fault a failure is. The job's own is its result; a lost lane's job is for another lane; where nothing can be
# written any more, no job can be run.
Fault = Literal["job", "lane", "storage"]


def sealed(content: object) -> bytes:
    """Pickle what travels; functions and classes of a script's own __main__ too."""
    letter: bytes = cloudpickle.dumps(content)
    return letter


@dataclass(frozen=True)
class Job:
    """What a lane runs: `work(argument, place)` on every worker."""

    name: str  # one name, one run: starting a name again replays its items
    work: Work
    argument: Any
    origin: str | None = None  # the study that ran it before, where it is a replay

    def sealed(self) -> Letter:
        """The job as it travels."""
        return Letter(self.name, sealed(self))


@dataclass(frozen=True)
class Letter:
    """A job on its way, which only a worker opens."""

    name: str
    content: bytes

    def open(self) -> Job:
        """The job."""
        job: Job = cloudpickle.loads(self.content)
        return job


@dataclass(frozen=True)
class Failure:
    """Why a job ended without its last item: one line, and the traceback for a bug report."""

    reason: str
    detail: str
    fault: Fault = "job"
