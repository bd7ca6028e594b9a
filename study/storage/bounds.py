"""Bounds: what a study, a trial and a fit can hold. Reports divide by these numbers and take their logarithms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from study.records import Fit, Started, Study, Trial, Use

_LONGEST = 1e11  # seconds: three thousand years
_MOST = 10**12  # of whatever is counted
_AT_LEAST = {  # what a study counts
    "image_size": 1,
    "trials": 1,
    "epochs": 1,
    "epoch_images": 1,
    "draws": 1,
    "workers": 1,
    "lanes": 1,
    "pool_limit": 1,
    "pool_images": 1,
    "train_labels": 1,
    "validation_labels": 0,
    "test_images": 1,
    "grace_epochs": 1,
    "repeats": 1,
    "patience": 1,
    "seed": 0,
}


_MEASURES = {
    "linear": ("accuracy", "top5"),
    "neighbours": ("accuracy",),
    "clustering": ("accuracy", "nmi", "ari"),
    "retrieval": ("mean_average_precision", "precision_at_10"),
}


def check_study(study: Study) -> None:
    """Raise ValueError for a value that no study can have."""
    for name, least in _AT_LEAST.items():
        _within(name, getattr(study, name), least, _MOST if name != "seed" else None)
    for each in (*study.fractions, study.objective_fraction):
        _within("a fraction", each, 1e-9, 1)
    for each in study.labels_per_class:
        _within("labels_per_class", each, 1, _MOST)
    _within("budget_seconds", study.budget_seconds, 0, _LONGEST)
    _within("gpus_per_worker", study.gpus_per_worker, 0, _MOST)
    for settings in study.warm_start:
        _check_params(settings.values())
    if len(study.classes) < 2 or len(set(study.classes)) < len(study.classes):
        raise ValueError(f"{len(study.classes)} classes, of which {len(set(study.classes))} are distinct")


def check_started(started: Started) -> None:
    """Raise ValueError for a value that no trial can have."""
    _within("number", started.number, 0, _MOST)
    _check_time(started.started_at)
    _check_params(started.params.values())


def check_trial(trial: Trial) -> None:
    """Raise ValueError for a value that no finished trial can have."""
    check_started(Started(trial.number, trial.params, trial.started_at))
    _within("objective", trial.objective, 0, 1)
    _within("seconds", trial.seconds, 0, _LONGEST)
    _within("lane", trial.lane, 0, _MOST)
    for place, epoch in enumerate(trial.history, 1):
        if epoch.epoch != place:
            raise ValueError(f"epoch {epoch.epoch} stands in place {place}")
        _within("images_seen", epoch.images_seen, 0, _MOST)
        _within("seconds", epoch.seconds, 0, _LONGEST)
        _within("images_per_second", epoch.images_per_second, 0, _MOST)


def check_fit(fit: Fit) -> None:
    """Raise ValueError for a value that no fit can have."""
    _within("fraction", fit.fraction, 1e-9, 1)
    _within("labels", fit.labels, 1, _MOST)
    _within("labels_per_class", fit.labels_per_class, 1e-9, _MOST)
    _within("draw", fit.draw, 0, _MOST)
    _within("repeat", fit.repeat, 0, _MOST)
    _within("accuracy", fit.accuracy, 0, 1)
    _within("top5", fit.top5, 0, 1)
    _within("seconds", fit.seconds, 0, _LONGEST)


def check_uses(uses: Sequence[Use]) -> None:
    """Raise ValueError for values that no uses of an encoder can have, and where there are too few of them."""
    for use in uses:
        if use.measure not in _MEASURES.get(use.use, ()):
            raise ValueError(f"no {use.measure} of {use.use} is known")
        _within("labels", use.labels, 0, _MOST)
        _within("neighbours", use.neighbours, 1, _MOST)
        _within("images", use.images, 1, _MOST)
        _within("value", use.value, -1 if use.measure == "ari" else 0, 1.001)  # sums of float32 may end above 1
    if not any(use.use == "clustering" for use in uses):
        raise ValueError("clustering is missing")


def _within(name: str, value: float | None, low: float, high: float | None) -> None:
    """NaN lies nowhere."""
    if value is not None and not (low <= value and (high is None or value <= high)):
        raise ValueError(f"{name} {value} lies not within {low:g} and {'any' if high is None else f'{high:g}'}")


def _check_time(text: str) -> None:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1970 < moment.year < 9000:
        raise ValueError(f"started_at {text!r} is no time with its zone")


def _check_params(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise ValueError(f"a setting of {value}")
