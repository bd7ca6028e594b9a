"""Files: what a study leaves as it runs, one JSON file a finished trial and classifier. The truth that survives."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study.documents import checked, read_json, record
from study.records import Fit, Started, Study, Trial
from study.storage.bounds import check_fit, check_started, check_study, check_trial
from study.storage.folder import Folder

STUDY = "study.json"
FITS = "fits"  # folder: one file a classifier of the curve
_DAMAGE = (OSError, ValueError, KeyError, TypeError)  # of reading what may hold anything


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one and never a part.

    Raises StorageError where the disk is full, cannot be written to, or fails.
    """
    Folder.of(path.parent).write(path.name, content.encode() if isinstance(content, str) else content)


def write_study(folder: Path, study: Study, environment: Mapping[str, Any]) -> None:
    """Write study.json. `environment` is JSON: versions, hardware, git revision and the command line."""
    _write_json(folder / STUDY, {"study": dataclasses.asdict(study), "environment": dict(environment)})


def read_study(folder: Path) -> tuple[Study, dict[str, Any]]:
    """The study and its environment. Raises ValueError naming a file that is missing or damaged."""
    path = folder / STUDY
    if not path.is_file():
        raise ValueError(f"{folder} is no study: it has no {STUDY}")
    try:
        content = read_json(path, folder)
        study, environment = record(Study, content["study"]), content["environment"]
        check_study(study)
        return study, checked(dict[str, Any], environment, "environment")
    except _DAMAGE as error:
        raise damaged(path, error) from error


def write_trial(folder: Path, trial: Trial) -> None:
    """Write trials/NNN.json, whole."""
    _write_json(folder / "trials" / f"{trial.number:03d}.json", dataclasses.asdict(trial))


def read_trials(folder: Path) -> list[Trial]:
    """The finished trials by number. Raises ValueError naming a damaged file."""
    trials = []
    for path in (folder / "trials").glob("*.json"):
        try:
            trial = record(Trial, read_json(path, folder))
            check_trial(trial)
            if path.stem != f"{trial.number:03d}":
                raise ValueError(f"it holds trial {trial.number}")
            trials.append(trial)
        except _DAMAGE as error:
            raise damaged(path, error) from error
    return sorted(trials, key=lambda trial: trial.number)


def write_started(folder: Path, started: Started) -> None:
    """Write running/NNN.json, to be removed by `remove_started` once the trial is finished."""
    _write_json(_running(folder, started.number), dataclasses.asdict(started))


def read_started(folder: Path) -> list[Started]:
    """The trials that were running when the study ended, by number. Raises ValueError naming a damaged file."""
    found = []
    for path in sorted((folder / "running").glob("*.json")):
        try:
            started = record(Started, read_json(path, folder))
            check_started(started)
            if path.stem != f"{started.number:03d}":
                raise ValueError(f"it holds trial {started.number}")
            found.append(started)
        except _DAMAGE as error:
            raise damaged(path, error) from error
    return found


def remove_started(folder: Path, number: int) -> None:
    """Forget that a trial is running."""
    _running(folder, number).unlink(missing_ok=True)


def _running(folder: Path, number: int) -> Path:
    return folder / "running" / f"{number:03d}.json"


def write_fits(folder: Path, fits: Iterable[Fit]) -> None:
    """Write fits/MODE-FRACTION-DRAW.json, one file a classifier with its splits, so that what is finished is kept.

    Further repeats are -repeat-N. Splits of one classifier come in one call. A later fit of the same mode, fraction,
    draw and repeat replaces the earlier.
    """
    together: dict[str, list[Fit]] = {}
    for fit in fits:
        repeat = f"-repeat-{fit.repeat}" if fit.repeat else ""
        together.setdefault(f"{fit.mode}-{float(fit.fraction)!r}-{fit.draw}{repeat}.json", []).append(fit)
    for name, group in together.items():
        _write_json(folder / FITS / name, [dataclasses.asdict(fit) for fit in group])


def read_fits(folder: Path) -> list[Fit]:
    """The finished fits by mode, fraction, repeat, draw and split. Raises ValueError naming a damaged file."""
    fits: dict[tuple[Any, ...], Fit] = {}
    for path in (folder / FITS).glob("*.json"):
        try:
            for fit in (record(Fit, fields) for fields in read_json(path, folder)):
                check_fit(fit)
                key = (fit.mode, fit.fraction, fit.repeat, fit.draw, fit.split)
                if key in fits:
                    raise ValueError(f"another file holds {fit.mode} {fit.fraction:g} {fit.draw} {fit.split} too")
                fits[key] = fit
        except _DAMAGE as error:
            raise damaged(path, error) from error
    return [fits[key] for key in sorted(fits)]


def damaged(path: Path, error: Exception) -> ValueError:
    """The error for a file that cannot be read: one line, its name, and what to do."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ValueError(f"{path} cannot be read ({reason}); restore it, or remove it and run again with --resume")


def _write_json(path: Path, content: object) -> None:
    write_whole(path, json.dumps(_strict(content), indent=1, allow_nan=False) + "\n")


def _strict(value: object) -> object:
    """JSON has no NaN or infinity: they are written as text, which float() reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
