"""TPE: Optuna's sampler, with notes on finished trials kept from one proposal to the next.

Optuna's own goes through all trials anew several times a proposal, which made up most of what a trial costs a search of
a thousand. The proposals are the same.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_gamma
from optuna.trial import FrozenTrial, TrialState

_Space = dict[str, BaseDistribution]


@dataclass
class _Notes:
    """The trials of a study that TPE learns from, in the order of their numbers."""

    settings: NDArray[np.float64]  # (N, settings), as Optuna numbers them
    numbers: list[int] = field(default_factory=list)
    ranks: list[tuple[float, ...]] = field(default_factory=list)  # the less, the better
    seen: int = 0  # trials looked at, of which are not finished
    open: list[int] = field(default_factory=list)

    def look(self, trials: list[FrozenTrial], space: _Space) -> None:
        """Take in what has finished since."""
        looked = [*self.open, *range(self.seen, len(trials))]
        self.seen, self.open = len(trials), []
        for number in looked:
            trial = trials[number]
            if not trial.state.is_finished():
                self.open.append(number)
            elif trial.state != TrialState.FAIL:
                place = bisect(self.numbers, number)
                self.numbers.insert(place, number)
                self.ranks.insert(place, _rank(trial))
                self.settings = np.insert(self.settings, place, _numbered(trial.params, space), axis=0)


_notes: WeakKeyDictionary[optuna.Study, _Notes] = WeakKeyDictionary()


class Tpe(optuna.samplers.TPESampler):
    """Optuna's TPE, multivariate and with the constant liar, for one objective that is maximised.

    It is told the space, which all trials share.
    """

    def __init__(self, space: _Space, **options: Any) -> None:
        super().__init__(multivariate=True, constant_liar=True, **options)
        self._told = {name: range_ for name, range_ in sorted(space.items()) if not range_.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> _Space:
        """The space, which Optuna would look for in all trials."""
        return self._told

    def _sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: _Space) -> dict[str, Any]:
        trials = study._get_trials(deepcopy=False)
        notes = _notes.setdefault(study, _Notes(np.empty((0, len(self._told)))))
        notes.look(trials, self._told)
        count = len(notes.numbers)
        if count < self._n_startup_trials or not self._told:
            return {}
        best = heapq.nsmallest(default_gamma(count), range(count), key=notes.ranks.__getitem__)
        is_best = np.zeros(count, dtype=bool)
        is_best[best] = True
        others, numbers = notes.settings[~is_best], np.array(notes.numbers)[~is_best]
        for number in notes.open:
            params = {} if number == trial.number else self._get_params(trials[number], study)
            if self._told.keys() <= params.keys():
                place = int(np.searchsorted(numbers, number))
                numbers = np.insert(numbers, place, number)
                others = np.insert(others, place, _numbered(params, self._told), axis=0)
        good, rest = self._estimator(notes.settings[is_best]), self._estimator(others)
        candidates = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(candidates, self._compute_acquisition_func(candidates, good, rest))
        return {name: range_.to_external_repr(chosen[name]) for name, range_ in self._told.items()}

    def _estimator(self, settings: NDArray[np.float64]) -> _ParzenEstimator:
        columns = dict(zip(self._told, settings.T, strict=True))
        return self._parzen_estimator_cls(columns, self._told, self._parzen_estimator_parameters)


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """Completed ones come first, by their value, then pruned ones, the longest first."""
    if trial.state == TrialState.COMPLETE:
        return 0, -trial.values[0]
    if not trial.intermediate_values:
        return 2, 0
    step = max(trial.intermediate_values)
    return 1, -step, -trial.intermediate_values[step]


def _numbered(params: dict[str, Any], space: _Space) -> list[float]:
    return [range_.to_internal_repr(params[name]) for name, range_ in space.items()]
