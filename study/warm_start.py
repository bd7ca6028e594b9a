"""Warm start: the settings that did best in earlier studies of the same method, to be tried first in a new one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from methods import METHODS
from methods.space import Value, defaults, searched
from study.records import Study, Trial, Validation
from study.storage.files import read_study, read_trials

MOST = 3  # settings: TPE learns from the earlier ones whatever they bring, and each costs a trial


def best_settings(method: str, validation: Validation, studies: Sequence[Path]) -> tuple[dict[str, Value], ...]:
    """The best settings of each study, then its second best, and so on; `MOST` in all, none twice, nor the recipe.

    Raises ValueError for a folder that is no study, is one of another method, has no trial with a value, or chose by
    labels that the new study's `validation` does not allow.
    """
    ranked = [_ranked(method, validation, folder) for folder in studies]
    recipe = defaults(METHODS[method].Config)  # trial 0, whatever comes after it
    found: list[dict[str, Value]] = []
    for each in (settings for place in zip_longest(*ranked) for settings in place):
        if each is not None and each not in (recipe, *found):
            found.append(each)
    return tuple(found[:MOST])


def check_test_images(new: Study, studies: Sequence[Path]) -> None:
    """Raises ValueError where a study of the same images kept others of them for the test.

    What it chose was chosen on images that would now be test images.
    """
    for folder in studies:
        study, _ = read_study(folder)
        if study.dataset != new.dataset or study.data_hash == new.data_hash:
            continue
        if study.image_size == new.image_size or study.seed != new.seed:  # of another size all pixels differ
            raise ValueError(
                f"--warm-start {folder.name} tested on other images of {new.dataset} than this study would, and may "
                f"have chosen by those: give --seed {study.seed} and the same images, or leave it out"
            )


def _ranked(method: str, validation: Validation, folder: Path) -> list[dict[str, Value]]:
    """Settings of a study, best first. What is searched no longer, or within other bounds, is left out."""
    study, _ = read_study(folder)
    if study.method != method:
        raise ValueError(f"--warm-start {folder.name} is a study of {study.method}, not of {method}")
    if validation == "within-budget" and study.validation == "heldout":
        raise ValueError(
            f"--warm-start {folder.name} chose its settings by held-out labels, which --validation within-budget does "
            "not spend: leave one of the two out"
        )
    space = searched(METHODS[method].Config)
    sound = [trial for trial in read_trials(folder) if trial.objective is not None and trial.status != "failed"]
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
