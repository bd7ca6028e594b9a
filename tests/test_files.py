"""What a study writes as it runs survives a crash, reads back equal, and says so when it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from study.storage.files import read_fits, read_study, read_trials, write_fits, write_study, write_trial
from tests import made_up


def test_a_study_reads_back_equal_with_its_environment(tmp_path: Path) -> None:
    environment = {"command": "python -m study.run", "versions": {"torch": "2.14"}, "gpus": ["H200"]}
    write_study(tmp_path, made_up.study(), environment)
    assert read_study(tmp_path) == (made_up.study(), environment)


def test_trials_read_back_equal_in_the_order_of_proposal(tmp_path: Path) -> None:
    trials = made_up.trials(12)
    for trial in reversed(trials):
        write_trial(tmp_path, trial)
    assert read_trials(tmp_path) == trials


def test_a_loss_that_is_not_finite_survives_in_strict_json(tmp_path: Path) -> None:
    trial = made_up.trials(1)[0]
    broken = tuple(
        replace(epoch, loss=loss, terms={"rotation": loss})
        for epoch, loss in zip(trial.history, (float("inf"), float("nan")), strict=False)
    )
    write_trial(tmp_path, replace(trial, history=broken))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "trials" / "000.json").read_text(), parse_constant=refuse)
    losses = [(epoch.loss, epoch.terms["rotation"]) for epoch in read_trials(tmp_path)[0].history]
    assert str(losses) == "[(inf, inf), (nan, nan)]"


def test_the_rest_of_an_interrupted_write_is_ignored(tmp_path: Path) -> None:
    trial = made_up.trials(1)[0]
    write_trial(tmp_path, trial)
    (tmp_path / "trials" / "001.json.tmp").write_text('{"number": 1, "tri')
    assert read_trials(tmp_path) == [trial]


def test_a_folder_without_anything_finished_is_empty_and_no_error(tmp_path: Path) -> None:
    assert (read_trials(tmp_path), read_fits(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"completed"', '"done"'),
        lambda text: text.replace('"number": 0', '"number": 7'),
        lambda text: text.replace('"seed"', '"sead"'),
        lambda text: text.replace('"loss": 1.4', '"loss": "much"'),
    ],
    ids=["cut", "empty", "no object", "unknown status", "another trial", "missing field", "no number"],
)
def test_a_damaged_trial_is_named_with_what_to_do(tmp_path: Path, damage: Callable[[str], str]) -> None:
    write_trial(tmp_path, made_up.trials(1)[0])
    path = tmp_path / "trials" / "000.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=r"trials/000\.json cannot be read .*--resume$") as caught:
        read_trials(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no study\.json"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"study": {"name": "x"}, "environment": {}}')
    with pytest.raises(ValueError, match=r"study\.json cannot be read"):
        read_study(tmp_path)


def test_an_interrupted_curve_keeps_every_finished_fit(tmp_path: Path) -> None:
    fits = made_up.fits({"frozen": (0.4, 0.9), "finetuned": (0.3, 0.95)})
    for fit in fits[:40]:
        write_fits(tmp_path, [fit, replace(fit, split="validation")])
    kept = read_fits(tmp_path)
    assert len(kept) == 80
    assert {fit for fit in kept if fit.split == "test"} == set(fits[:40])


def test_a_fit_made_again_replaces_the_earlier_one(tmp_path: Path) -> None:
    fit = made_up.fits({"frozen": (0.4, 0.9)})[0]
    again = replace(fit, accuracy=0.5, trial_id="5b1f_00009")
    write_fits(tmp_path, [fit])
    write_fits(tmp_path, [again])
    assert read_fits(tmp_path) == [again]
