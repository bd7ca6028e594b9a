"""Importance finds what matters, is silent where nothing can be known, and places values as they were searched."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from methods.space import Among, Between, Range
from study.analysis.importance import LEAST_TRIALS, importances
from study.analysis.settings import Setting, settings, valued
from study.records import Trial
from tests import made_up

SPACE: dict[str, Range] = {
    "batch_size": Among((32, 64, 128, 256)),
    "lr": Between(1e-4, 1e-2, log=True),
    "dropout": Between(0.0, 0.6),
}


def searched(value: Callable[[Trial], float], count: int = 40) -> list[Trial]:
    """Trials whose objective follows from their settings, in every epoch."""
    trials = []
    for trial in made_up.trials(count):
        objective = value(trial)
        history = tuple(replace(epoch, objective=objective) for epoch in trial.history)
        trials.append(replace(trial, objective=objective if history else None, history=history))
    return trials


def by_rate(trial: Trial) -> float:
    return 0.7 - 0.1 * abs(math.log10(float(trial.params["lr"])) + 3)


def test_the_one_setting_that_matters_is_found() -> None:
    trials = searched(by_rate)
    found = importances(settings(SPACE, trials)[:3], trials, seed=0)
    assert found is not None
    first, *others = found.shares
    assert first.setting == "lr"
    assert first.share > 0.9
    assert first.low > max(other.high for other in others)
    assert sum(other.share for other in others) < 0.05
    assert found.explained > 0.8
    assert found.trials == len(valued(trials))


def test_a_choice_that_matters_is_found() -> None:
    trials = searched(lambda trial: 0.5 + 0.1 * (trial.params["batch_size"] == 64))
    found = importances(settings(SPACE, trials)[:3], trials, seed=0)
    assert found is not None
    assert found.shares[0].setting == "batch_size"
    assert found.shares[0].share > 0.9


def test_values_that_no_setting_explains_are_said_to_be_so() -> None:
    random = np.random.default_rng(0)
    trials = searched(lambda trial: float(random.uniform(0.4, 0.7)))
    found = importances(settings(SPACE, trials)[:3], trials, seed=0)
    assert found is not None
    assert found.explained < 0.2
    assert sum(importance.share for importance in found.shares) <= 1.0  # fANOVA finds something in noise all the same


def test_after_an_epoch_only_that_epoch_counts() -> None:
    trials = searched(by_rate)
    flipped = [
        replace(t, history=(replace(t.history[0], objective=float(t.params["dropout"])), *t.history[1:]))
        for t in trials
        if t.history
    ]
    places = settings(SPACE, flipped)[:3]
    reached, after_one = importances(places, flipped, seed=0), importances(places, flipped, seed=0, epoch=1)
    assert reached is not None
    assert after_one is not None
    assert reached.shares[0].setting == "lr"
    assert after_one.shares[0].setting == "dropout"


def test_the_same_trials_and_seed_give_the_same_figures() -> None:
    trials = made_up.trials(30)
    first, second = (importances(settings(SPACE, trials), trials, seed=3) for _ in range(2))
    assert first is not None
    assert first == second


def test_few_trials_equal_values_and_settings_of_one_value_have_no_importance() -> None:
    trials = searched(by_rate)
    enough = valued(trials)[:LEAST_TRIALS]
    assert importances(settings(SPACE, enough), enough, seed=0) is not None
    assert importances(settings(SPACE, enough), enough[1:], seed=0) is None
    constant = searched(lambda trial: 0.5)
    assert importances(settings(SPACE, constant), constant, seed=0) is None
    same = [replace(trial, params=trials[0].params) for trial in trials]
    assert importances(settings({}, same), same, seed=0) is None
    assert importances((), trials, seed=0) is None


def test_failed_trials_do_not_count() -> None:
    trials = searched(by_rate)
    spoilt = [replace(t, objective=0.99, history=made_up.trials(1)[0].history) if not t.history else t for t in trials]
    assert any(t.status == "failed" and t.objective == 0.99 for t in spoilt)
    assert importances(settings(SPACE, trials), spoilt, 0) == importances(settings(SPACE, trials), trials, 0)


def test_a_value_lies_where_it_was_searched() -> None:
    rate = Setting("lr", SPACE["lr"])
    assert [rate.place(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert rate.value(0.5) == pytest.approx(1e-3)
    assert [Setting("batch_size", Among((32, 64))).place(value) for value in (32, 64)] == [0.25, 0.75]
    assert Setting("dropout", Between(0.2, 0.2)).place(0.2) == 0.5


def test_ranges_widen_to_what_another_version_tried() -> None:
    first, second = made_up.trials(2)
    old = [replace(first, params={"lr": 0.05, "batch_size": 8, "copies": 1, "tone": "a", "slope": 0.1, "gone": 1})]
    old.append(replace(second, params={"lr": 0.001, "batch_size": 32, "copies": 4, "tone": "b", "slope": 0.4}))
    found = {setting.name: setting.range for setting in settings(SPACE, old)}
    assert found == {
        "lr": Between(1e-4, 0.05, log=True),
        "batch_size": Among((32, 64, 128, 256, 8)),
        "copies": Among((1, 4)),
        "tone": Among(("a", "b")),
        "slope": Between(0.1, 0.4),
    }
    assert settings(SPACE, []) == ()
