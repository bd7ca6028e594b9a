"""Warm start: the settings that did best in earlier studies of the same method, to be tried first in a new one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from methods import METHODS
from methods.space import Value, searched
from study.records import Trial
from study.storage.files import read_study, read_trials

MOST = 3  # settings: TPE learns from the earlier ones whatever they bring, and each costs a trial


def best_settings(method: str, studies: Sequence[Path]) -> tuple[dict[str, Value], ...]:
    """The best settings of each study, then its second best, and so on; `MOST` in all, none twice.

    Raises ValueError for a folder that is no study, is one of another method, or has no trial with a value.
    """
    ranked = [_ranked(method, folder) for folder in studies]
    found: list[dict[str, Value]] = []
    for each in (settings for place in zip_longest(*ranked) for settings in place):
        if each is not None and each not in found:
            found.append(each)
    return tuple(found[:MOST])


def _ranked(method: str, folder: Path) -> list[dict[str, Value]]:
    """Settings of a study, best first. What is searched no longer, or within other bounds, is left out."""
    study, _ = read_study(folder)
    if study.method != method:
        raise ValueError(f"--warm-start {folder.name} is a study of {study.method}, not of {method}")
    space = searched(METHODS[method].Config)
    sound = [trial for trial in read_trials(folder) if trial.objective is not None]
    settings = [
        trial.params
        for trial in sorted(sound, key=_order)
        if trial.params.keys() == space.keys() and all(value in space[name] for name, value in trial.params.items())
    ]
    if not settings:
        raise ValueError(f"--warm-start {folder.name} has no trial whose settings {method} would search")
    return settings


def _order(trial: Trial) -> tuple[float, int]:
    return -(trial.objective or 0.0), trial.number
