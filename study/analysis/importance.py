"""Importance: the share of the trials' spread that each searched setting accounts for, by functional ANOVA.

Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (2014), as Optuna has it:
a random forest is fitted to settings and values, and its variance over the whole ranges is divided among the settings.
Optuna takes completed trials alone. Under ASHA those are few and alike, so here every trial counts that has a value, in
one of two ways: with the best it reached, a pruned one with what it had when it was cut, or with what it had after one
epoch, when all had been trained equally long. Failed trials do not count.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from methods.space import Among, Range
from study.analysis.settings import Setting, valued
from study.records import Trial
from study.seeds import derive

LEAST_TRIALS = 10  # with a value; fewer say nothing about five settings
RESAMPLES = 10
_TREES, _TREES_OF_RESAMPLE = 64, 8


@dataclass(frozen=True)
class Importance:
    """One setting's share of the variance, without its interactions, in [0, 1]."""

    setting: str
    share: float
    low: float  # the lowest of the shares over bootstrap resamples of the trials; no confidence interval: of made-up
    high: float  # and the highest; searches of 50 random trials, two thirds held the true share, of 20, four fifths


@dataclass(frozen=True)
class Importances:
    """What the settings account for, the most important first."""

    trials: int
    explained: float  # R² of such a forest on trials that it has not seen; at 0 or below, the shares mean nothing
    shares: tuple[Importance, ...]


def importances(
    settings: Sequence[Setting], trials: Sequence[Trial], seed: int, epoch: int | None = None
) -> Importances | None:
    """Each setting's share of the variance between trials: of their best values, or of those after `epoch`.

    None with fewer than ten such trials, or where values or settings do not vary. Equal for equal arguments.
    """
    counted = [(t, _value(t, epoch)) for t in valued(trials) if epoch is None or t.epochs >= epoch]
    usable = [(trial, value) for trial, value in counted if math.isfinite(value)]
    if len(usable) < LEAST_TRIALS:
        return None
    own, values = [trial for trial, _ in usable], np.array([value for _, value in usable])
    shares = _shares(settings, own, values, _TREES, derive(seed, "importance") % 2**32)
    if shares is None:
        return None
    random = np.random.default_rng(derive(seed, "importance resamples"))
    resampled = []
    for _ in range(RESAMPLES):
        drawn = random.integers(len(own), size=len(own))
        found = _shares(
            settings, [own[i] for i in drawn], values[drawn], _TREES_OF_RESAMPLE, int(random.integers(2**32))
        )
        resampled += [] if found is None else [found]
    low, high = np.min([shares, *resampled], axis=0), np.max([shares, *resampled], axis=0)
    together = [
        Importance(setting.name, float(share), float(a), float(b))
        for setting, share, a, b in zip(settings, shares, low, high, strict=True)
    ]
    together.sort(key=lambda importance: -importance.share)
    return Importances(len(own), _explained(settings, own, values, seed), tuple(together))


def distribution(range_: Range) -> BaseDistribution:
    """A range as Optuna knows it."""
    if isinstance(range_, Among):
        return CategoricalDistribution(range_.choices)
    if isinstance(range_.low, int) and isinstance(range_.high, int):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    return FloatDistribution(range_.low, range_.high, log=range_.log)


def _value(trial: Trial, epoch: int | None) -> float:
    assert trial.objective is not None
    return trial.objective if epoch is None else trial.history[epoch - 1].objective


def _shares(
    settings: Sequence[Setting], trials: Sequence[Trial], values: NDArray[np.float64], trees: int, seed: int
) -> NDArray[np.float64] | None:
    """The share of each setting, (settings,), not made to add up to one: the rest is interactions.

    None where no tree has any variance, as values or settings do not vary.
    """
    varied = [setting.name for setting in settings if len({trial.params[setting.name] for trial in trials}) > 1]
    if not varied or np.ptp(values) == 0:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    space = {setting.name: distribution(setting.range) for setting in settings if setting.name in varied}
    for trial, value in zip(trials, values, strict=True):
        params = {name: trial.params[name] for name in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(value)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # normalize
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
        except RuntimeError:  # what differs was in no tree's sample
            return None
    return np.array([found.get(setting.name, 0.0) for setting in settings])


def _explained(settings: Sequence[Setting], trials: Sequence[Trial], values: NDArray[np.float64], seed: int) -> float:
    places = [[setting.place(trial.params[setting.name]) for setting in settings] for trial in trials]
    from sklearn.ensemble import RandomForestRegressor  # here, for it takes a second

    forest = RandomForestRegressor(_TREES, oob_score=True, random_state=derive(seed, "explained") % 2**32)
    return float(forest.fit(places, values).oob_score_)
