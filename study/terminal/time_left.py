"""Time left: how long what remains of a study will take, and how to say it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def trials_left(finished: Sequence[float], running: Sequence[float], unfinished: int, lanes: int) -> float | None:
    """Seconds until `unfinished` trials are done: None before one has shown how long a trial takes.

    `finished` are the seconds that trials took, stopped ones included; `running` those that others have run so far.
    """
    if not finished:
        return None
    typical = fmean(finished)
    work = typical * unfinished - sum(min(seconds, typical) for seconds in running)
    return max(0.0, work / max(1, min(lanes, unfinished)))


def steps_left(seconds: float, done: int, total: int) -> float | None:
    """Seconds for the rest of `total` equal steps, of which `done` took `seconds`: None before the first."""
    return seconds / done * (total - done) if done > 0 else None


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 3 min, 3 min 12 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours} h", f"{minutes} min") if hours else (f"{minutes} min", f"{rest} s")
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"
