"""Reuse: trials that an earlier study has run already, from the same settings, images, seeds and code.

Downstream choices, as the curve's label counts and modes, do not shape a trial. A study that differs from an earlier
one in those alone proposes the same trials, and takes over what they showed; its best is pretrained again for the
encoder.
"""

from __future__ import annotations

from pathlib import Path

from methods.space import Value
from study.learning.jobs import OBJECTIVE_DRAWS
from study.records import Study, Trial
from study.storage.files import STUDY, read_study, read_trials

# All of a study's fields that a trial's numbers depend on, beside its own number and settings.
_SHAPES = (
    *("method", "encoder", "tap", "image_size", "epochs", "epoch_images", "precision", "workers", "seed"),
    *("data_hash", "pool_limit", "objective_fraction", "validation"),
)


class Earlier:
    """The trials of earlier studies that a study can take over."""

    def __init__(self, study: Study, results: Path | None, code: str) -> None:
        """Look through the studies below `results`; `code` is the version that ran a trial. None, or damaged: none."""
        self._trials: dict[int, list[tuple[str, Trial]]] = {}
        for path in sorted(results.glob(f"*/{STUDY}")) if results is not None else ():
            if path.parent.name == study.name:
                continue
            try:
                other, environment = read_study(path.parent)
                if environment.get("code") == code and _shape(other) == _shape(study):
                    for trial in read_trials(path.parent):
                        self._trials.setdefault(trial.number, []).append((path.parent.name, trial))
            except (ValueError, OSError):  # a study that cannot be read says so when it is asked for
                continue

    def find(self, number: int, params: dict[str, Value]) -> tuple[str, Trial] | None:
        """The study, and its trial of this number and settings; of several the one that ran longest."""
        alike = [
            (name, trial)
            for name, trial in self._trials.get(number, ())
            if trial.params == params and trial.status != "failed" and trial.history
        ]
        return max(alike, key=lambda found: found[1].epochs, default=None)


def _shape(study: Study) -> tuple[object, ...]:
    return (min(study.draws, OBJECTIVE_DRAWS), *(getattr(study, name) for name in _SHAPES))
