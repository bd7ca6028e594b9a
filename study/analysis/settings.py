"""Settings: the searched hyperparameters of a study, and where a value lies in its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from methods.space import Among, Between, Range, Value
from study.records import Trial

_MOST_CHOICES = 6  # so many different whole numbers of an undeclared setting are choices, more are a range


@dataclass(frozen=True)
class Setting:
    """A searched hyperparameter and the range of its axis."""

    name: str
    range: Range  # as declared, widened to what was tried

    def place(self, value: Value) -> float:
        """Where `value` lies in its range, in [0, 1].

        On the logarithm where that was searched; choices share the range equally, each in the middle of its part.
        """
        if isinstance(self.range, Among):
            return (self.range.choices.index(value) + 0.5) / len(self.range.choices)
        low, high, at = (self._scaled(float(number)) for number in (self.range.low, self.range.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def value(self, place: float) -> float:
        """The number at a place in [0, 1] of a range that is no choice."""
        assert isinstance(self.range, Between)
        low, high = self._scaled(float(self.range.low)), self._scaled(float(self.range.high))
        at = low + place * (high - low)
        return math.exp(at) if self.range.log else at

    def _scaled(self, number: float) -> float:
        assert isinstance(self.range, Between)
        return math.log(number) if self.range.log else number


def settings(declared: Mapping[str, Range], trials: Sequence[Trial]) -> tuple[Setting, ...]:
    """The settings that every one of `trials` has, in their order.

    A range that is not declared, or that a trial lies outside because another version searched it, is as wide as what
    was tried.
    """
    shared = [name for name in (trials[0].params if trials else ()) if all(name in trial.params for trial in trials)]
    return tuple(Setting(name, _range(declared.get(name), [trial.params[name] for trial in trials])) for name in shared)


def valued(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that reached a value and did not fail, in their order."""
    return [t for t in trials if t.status != "failed" and t.objective is not None and math.isfinite(t.objective)]


def _range(declared: Range | None, tried: Sequence[Value]) -> Range:
    distinct = list(dict.fromkeys(tried))
    numbers = [value for value in distinct if isinstance(value, int | float) and not isinstance(value, bool)]
    if isinstance(declared, Among):
        return Among((*declared.choices, *(value for value in distinct if value not in declared)))
    if len(numbers) < len(distinct):
        return Among(tuple(distinct))
    if declared is not None:
        low, high = min(declared.low, *numbers), max(declared.high, *numbers)
        return Between(low, high, declared.log and low > 0)
    whole = all(isinstance(number, int) for number in numbers)
    if whole and len(numbers) <= _MOST_CHOICES:
        return Among(tuple(sorted(numbers)))
    return Between(min(numbers), max(numbers))
