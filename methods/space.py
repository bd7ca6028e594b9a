"""Search space: a hyperparameter's range, declared beside its default."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = bool | int | float | str
C = TypeVar("C", bound="DataclassInstance")
_RANGE = "range"


@dataclass(frozen=True)
class Between:
    """All numbers from `low` to `high`, both included; `log` searches their logarithm."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Among:
    """One of `choices`."""

    choices: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.choices


Range = Between | Among


def between(default: float, low: float, high: float, *, log: bool = False) -> Any:
    """Declare a searched number: `lr: float = between(1e-3, 1e-4, 1e-2, log=True)`.

    An integer default with integer bounds is searched over the integers. Raises ValueError where the default
    lies outside, because the first trial of every study runs the defaults.
    """
    return _searched(default, Between(low, high, log))


def among(default: Value, choices: tuple[Value, ...]) -> Any:
    """Declare a searched choice: `batch_size: int = among(32, (32, 64, 128))`. Raises ValueError as `between`."""
    return _searched(default, Among(choices))


def _searched(default: Value, range_: Range) -> Any:
    if default not in range_:
        raise ValueError(f"the default {default!r} lies outside its own range {range_}")
    return dataclasses.field(default=default, metadata={_RANGE: range_})


def searched(config: type) -> dict[str, Range]:
    """The searched hyperparameters of a Config class, in the order of declaration."""
    return {f.name: f.metadata[_RANGE] for f in dataclasses.fields(config) if _RANGE in f.metadata}


def defaults(config: type) -> dict[str, Value]:
    """The published recipe: the default of every searched hyperparameter."""
    recipe: Any = config()
    return {name: getattr(recipe, name) for name in searched(config)}


def near_defaults(config: type, random: Random) -> dict[str, Value]:
    """The published recipe with every searched setting moved at random, within its range.

    As PriorBand draws around an expert's guess (Mallik et al., 2023): numbers from a normal with a quarter of the range
    as its standard deviation, truncated; a choice stays at its default half the time.
    """
    ranges = searched(config)
    return {name: _near(default, ranges[name], random) for name, default in defaults(config).items()}


def _near(default: Value, range_: Range, random: Random) -> Value:
    if isinstance(range_, Among):
        return default if random.random() < 0.5 else random.choice(range_.choices)
    onto, back = (math.log, math.exp) if range_.log else (float, float)
    low, high, centre = onto(range_.low), onto(range_.high), onto(float(default))
    moved = math.inf
    while not low <= moved <= high:
        moved = random.gauss(centre, (high - low) / 4)
    inside = min(max(back(moved), range_.low), range_.high)  # exp and log do not quite undo each other
    return round(inside) if isinstance(default, int) else inside


def configure(config: type[C], values: dict[str, Value]) -> C:
    """Build a Config from searched values. Raises ValueError for a name it lacks."""
    known = {f.name for f in dataclasses.fields(config)}
    if unknown := sorted(set(values) - known):
        raise ValueError(
            f"{config.__qualname__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return config(**values)
