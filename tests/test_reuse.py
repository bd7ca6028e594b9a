"""Trials that a study takes over from an earlier one, and those that it must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from methods.encoders import ENCODERS
from study.data.dataset import Dataset
from study.environment import code_version, environment
from study.learning.jobs import Images, Pretraining, Replay, run_pretraining, run_replay
from study.learning.pretrain import Place, Plan
from study.records import Budget, Study, Trial
from study.reuse import Earlier, take_encoder
from study.storage.checkpoints import BEST, CHECKPOINTS
from study.storage.files import write_study, write_trial
from study.storage.folder import Folder
from study.storage.promoted import load_encoder, owner, promote
from tests import made_up

TRIAL = made_up.trials(1)[0]
CODE = "5b1f00d5"


def wanted(**changes: Any) -> Study:
    return replace(made_up.study("wanted"), **changes)


def earlier(results: Path, *trials: Trial, name: str = "earlier", code: str = CODE, **changes: Any) -> None:
    write_study(results / name, replace(made_up.study(name), **changes), {"code": code})
    for trial in trials:
        write_trial(results / name, trial)


def test_a_trial_of_the_same_study_but_for_its_curve_is_found(tmp_path: Path) -> None:
    earlier(tmp_path, TRIAL, fractions=(0.5,), modes=("frozen",), trials=100, lanes=7, draws=4)
    assert Earlier(wanted(), tmp_path, CODE).find(0, TRIAL.params) == ("earlier", TRIAL)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"method": "vae"},
        {"encoder": "nin"},
        {"tap": "conv2"},
        {"epochs": 8},
        {"epoch_images": 5000},
        {"precision": "bfloat16"},
        {"workers": 2},
        {"data_hash": "another"},
        {"pool_limit": 500},
        {"objective_fraction": 0.1},
        {"validation": "within-budget"},
        {"image_size": 64},
        {"draws": 2},
        {"gpus_per_worker": 0.5},
        {"classes": ("one", "other")},
        {"pool_images": 7},
        {"train_labels": 7},
        {"validation_labels": 7},
    ],
)
def test_what_shapes_a_trial_must_be_equal(changes: dict[str, Any], tmp_path: Path) -> None:
    earlier(tmp_path, TRIAL, **changes)
    assert Earlier(wanted(), tmp_path, CODE).find(0, TRIAL.params) is None


def test_other_settings_numbers_and_code_are_not_taken(tmp_path: Path) -> None:
    earlier(tmp_path, TRIAL)
    found = Earlier(wanted(), tmp_path, CODE)
    assert found.find(0, {**TRIAL.params, "lr": 0.5}) is None
    assert found.find(1, TRIAL.params) is None
    assert Earlier(wanted(), tmp_path, "other code").find(0, TRIAL.params) is None
    assert Earlier(wanted(), None, CODE).find(0, TRIAL.params) is None


def test_what_failed_is_tried_again_and_the_longest_is_taken(tmp_path: Path) -> None:
    earlier(tmp_path, replace(TRIAL, status="failed", error="a bug"), name="failed")
    assert Earlier(wanted(), tmp_path, CODE).find(0, TRIAL.params) is None
    earlier(tmp_path, replace(TRIAL, status="pruned", history=TRIAL.history[:2]), name="short")
    earlier(tmp_path, TRIAL, name="long")
    found = Earlier(wanted(), tmp_path, CODE).find(0, TRIAL.params)
    assert found is not None and found[0] == "long"


def test_a_study_does_not_take_from_itself_nor_from_a_damaged_one(tmp_path: Path) -> None:
    earlier(tmp_path, TRIAL, name="wanted")
    earlier(tmp_path, TRIAL, name="damaged")
    (tmp_path / "damaged" / "study.json").write_text("{")
    assert Earlier(wanted(), tmp_path, CODE).find(0, TRIAL.params) is None


def test_a_replay_goes_on_where_the_earlier_trial_was_cut(photo_digits: Dataset, tmp_path: Path) -> None:
    plan = Plan("rotnet", "convnet", {"batch_size": 32}, epochs=3, epoch_images=64, seed=5)
    job = Pretraining(Images(photo_digits.folder, 0, None), plan, Budget(0.05), 5, Folder.of(tmp_path / "whole"))
    whole = list(run_pretraining(job, Place()))
    replay = Replay(tuple(whole[:2]), replace(job, folder=Folder.of(tmp_path / "replay")))
    again = list(run_replay(replay, Place()))
    assert [(e.epoch, e.loss, e.objective) for e in again] == [(e.epoch, e.loss, e.objective) for e in whole]
    assert [epoch.seconds for epoch in again[:2]] == [epoch.seconds for epoch in whole[:2]], "what they cost"


def test_a_replay_of_a_whole_trial_trains_nothing(photo_digits: Dataset, tmp_path: Path) -> None:
    plan = Plan("rotnet", "convnet", {}, len(TRIAL.history), 64, 5)
    job = Pretraining(Images(photo_digits.folder, 0, None), plan, Budget(0.05), 5, Folder.of(tmp_path / "never"))
    assert len(list(run_replay(Replay(TRIAL.history, job), Place()))) == len(TRIAL.history)
    assert not (tmp_path / "never").exists()


def test_a_replay_that_comes_out_otherwise_is_not_gone_on_with(photo_digits: Dataset, tmp_path: Path) -> None:
    plan = Plan("rotnet", "convnet", {"batch_size": 32}, epochs=2, epoch_images=64, seed=5)
    job = Pretraining(Images(photo_digits.folder, 0, None), plan, Budget(0.05), 5, Folder.of(tmp_path / "again"))
    with pytest.raises(RuntimeError, match="--anew"):
        list(run_replay(Replay(TRIAL.history[:1], job), Place()))


def test_a_study_that_several_versions_ran_says_so_for_good(tmp_path: Path) -> None:
    made = made_up.study("made")
    assert environment(tmp_path / "made", [])["code"] == code_version()
    for before, now in ((code_version(), code_version()), ("of before", None), (None, None)):
        write_study(tmp_path / "made", made, {"code": before})
        assert environment(tmp_path / "made", [])["code"] == now


# Encoders.

PLAN = Plan("rotnet", "convnet", {"batch_size": 32}, epochs=2, epoch_images=64, seed=5)


@pytest.fixture
def ran(photo_digits: Dataset, tmp_path: Path) -> Trial:
    """A trial of the study `earlier`, which keeps its encoder."""
    kept = Folder.of(tmp_path / "earlier" / CHECKPOINTS)
    job = Pretraining(Images(photo_digits.folder, 0, None), PLAN, Budget(0.05), 5, kept / "000")
    trial = replace(TRIAL, history=tuple(run_pretraining(job, Place())))
    promote(kept / "000", kept / BEST, trial.history)
    earlier(tmp_path, trial)
    return replace(trial, taken_from="earlier")


def test_an_encoder_is_taken_over_with_its_figures(ran: Trial, tmp_path: Path) -> None:
    taken = Folder.of(tmp_path / "wanted" / BEST)
    assert take_encoder(tmp_path / "wanted", ran, BEST, taken, PLAN)
    kept = Folder.of(tmp_path / "earlier" / CHECKPOINTS / BEST)
    assert owner(taken) == PLAN.seed and taken.sizes().keys() == kept.sizes().keys()
    assert all(taken.read(name) == kept.read(name) for name in kept.sizes())
    encoder = ENCODERS["convnet"](3, 32, 0.0)
    load_encoder(taken, encoder)


@pytest.mark.parametrize(
    ("plan", "trial"),
    [
        ({"seed": 6}, {}),
        ({"params": {"batch_size": 64}}, {}),
        ({"precision": "bfloat16"}, {}),
        ({}, {"taken_from": None}),
        ({}, {"taken_from": "../results/earlier"}),
        ({}, {"taken_from": ".."}),
        ({}, {"taken_from": "nowhere"}),
        ({}, {"number": 1}),
        ({}, {"history": TRIAL.history}),
    ],
)
def test_another_encoder_is_not_taken(plan: dict[str, Any], trial: dict[str, Any], ran: Trial, tmp_path: Path) -> None:
    taken = Folder.of(tmp_path / "wanted" / BEST)
    wanted_plan, wanted_trial = replace(PLAN, **plan), replace(ran, **trial)
    assert not take_encoder(tmp_path / "wanted", wanted_trial, BEST, taken, wanted_plan)
    assert not taken.sizes()


def test_a_damaged_encoder_is_not_taken(ran: Trial, tmp_path: Path) -> None:
    path = tmp_path / "earlier" / CHECKPOINTS / BEST / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    taken = Folder.of(tmp_path / "wanted" / BEST)
    assert not take_encoder(tmp_path / "wanted", ran, BEST, taken, PLAN) and not taken.sizes()
