"""Settings that a new study takes over from earlier ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from methods import METHODS
from methods.space import Value, defaults
from study import run
from study.records import Status, Trial
from study.storage.files import write_study, write_trial
from study.warm_start import MOST, best_settings, check_test_images
from tests import made_up

RECIPE = defaults(METHODS["rotnet"].Config)


def trial(number: int, objective: float | None, **params: Value) -> Trial:
    status: Status = "failed" if objective is None else "completed"
    made = made_up.trials(1)[0]
    return replace(made, number=number, status=status, objective=objective, params={**RECIPE, **params})


def study(folder: Path, *trials: Trial, method: str = "rotnet") -> Path:
    write_study(folder, made_up.study(folder.name, method), {})
    for each in trials:
        write_trial(folder, each)
    return folder


def test_the_best_of_each_study_come_first(tmp_path: Path) -> None:
    one = study(tmp_path / "one", trial(0, 0.5, lr=1e-3), trial(1, 0.9, lr=2e-3), trial(2, 0.7, lr=3e-3))
    other = study(tmp_path / "other", trial(0, None, lr=9e-3), trial(1, 0.2, lr=4e-3), trial(2, 0.1, lr=5e-3))
    assert [settings["lr"] for settings in best_settings("rotnet", "heldout", [one, other])] == [2e-3, 4e-3, 3e-3]
    assert len(best_settings("rotnet", "heldout", [one, other])) == MOST


def test_what_is_found_twice_is_tried_once(tmp_path: Path) -> None:
    one = study(tmp_path / "one", trial(0, 0.5, lr=6e-3))
    other = study(tmp_path / "other", trial(0, 0.5, lr=6e-3), trial(1, 0.4, lr=2e-3))
    assert [settings["lr"] for settings in best_settings("rotnet", "heldout", [one, other])] == [6e-3, 2e-3]


def test_neither_the_recipe_nor_what_diverged_is_tried_again(tmp_path: Path) -> None:
    diverged = replace(trial(1, 0.95, lr=8e-3), status="failed", error="the loss is not finite")
    one = study(tmp_path / "one", trial(0, 0.9), diverged, trial(2, 0.1, lr=2e-3))
    assert best_settings("rotnet", "heldout", [one]) == ({**RECIPE, "lr": 2e-3},)


def test_labels_that_the_new_study_does_not_spend_choose_nothing(tmp_path: Path) -> None:
    one = study(tmp_path / "one", trial(0, 0.9), trial(1, 0.1, lr=2e-3))
    with pytest.raises(ValueError, match="held-out labels"):
        best_settings("rotnet", "within-budget", [one])


def test_images_that_chose_the_settings_may_not_be_tested_on(tmp_path: Path) -> None:
    earlier = study(tmp_path / "one", trial(0, 0.9))
    new = made_up.study("new")
    check_test_images(new, [earlier])
    check_test_images(replace(new, dataset="others", data_hash="another"), [earlier])
    check_test_images(replace(new, data_hash="another", image_size=new.image_size + 8), [earlier])
    other = replace(new, data_hash="another")
    for wanted in (other, replace(other, image_size=new.image_size + 8, seed=new.seed + 1)):
        with pytest.raises(ValueError, match="tested on other images"):
            check_test_images(wanted, [earlier])


@pytest.mark.parametrize(
    ("method", "trials", "said"),
    [
        ("vae", (trial(0, 0.5),), "is a study of vae, not of rotnet"),
        ("rotnet", (), "has no trial whose settings rotnet would search"),
        ("rotnet", (trial(0, None),), "has no trial"),
    ],
)
def test_a_study_that_cannot_help_is_refused(
    method: str, trials: tuple[Trial, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path / "earlier", *trials, method=method)
    arguments = ["--method", "rotnet", "--warm-start", "earlier", "--name", "new", "--results", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_study_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--method", "rotnet", "--warm-start", "nothing", "--results", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    assert ended.value.code == 2 and "nothing is no study" in capsys.readouterr().err
