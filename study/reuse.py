"""Reuse: trials that an earlier study has run already, from the same settings, images, seeds and code.

Downstream choices, as the curve's label counts and modes, do not shape a trial. A study that differs from an earlier
one in those alone proposes the same trials, and takes over what they showed, and the encoder of its best where that
is kept.
"""

from __future__ import annotations

from pathlib import Path

from methods.space import Value
from study.learning.jobs import OBJECTIVE_DRAWS
from study.learning.pretrain import Plan
from study.records import Study, Trial
from study.storage.checkpoints import CHECKPOINTS
from study.storage.files import STUDY, read_study, read_trials
from study.storage.folder import Folder
from study.storage.promoted import adopt

# All of a study's fields that a trial's numbers depend on, beside its own number and settings.
_SHAPES = (
    *("method", "encoder", "tap", "image_size", "epochs", "epoch_images", "precision", "workers", "seed"),
    *("data_hash", "pool_limit", "objective_fraction", "validation"),
    *("classes", "pool_images", "train_labels", "validation_labels"),  # data_hash says nothing of these splits
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
    return (min(study.draws, OBJECTIVE_DRAWS), study.gpus_per_worker > 0, *(getattr(study, name) for name in _SHAPES))


def take_encoder(study: Path, best: Trial, name: str, destination: Folder, plan: Plan) -> bool:
    """Take over an encoder, the best trial's or a repeat's, from the study that the best trial was taken from.

    `study` is the folder of the study that takes it, `name` the encoder's folder below the checkpoints of either. False
    where none is there, or it was not made by this very plan, or its trial did not show the same in each epoch.
    """
    if best.taken_from is None:
        return False
    earlier = study.parent / best.taken_from
    if earlier not in study.parent.iterdir():  # the trial's file may be anybody's
        return False
    try:
        theirs = next((trial for trial in read_trials(earlier) if trial.number == best.number), None)
    except (ValueError, OSError):
        return False
    if theirs is None or _shown(theirs) != _shown(best):
        return False
    return adopt(Folder.of(earlier.resolve() / CHECKPOINTS) / name, destination, plan, best.epochs)


def _shown(trial: Trial) -> list[tuple[int, float, float]]:
    return [(epoch.epoch, epoch.loss, epoch.objective) for epoch in trial.history]
