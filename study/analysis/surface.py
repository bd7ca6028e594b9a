"""Surface: the mean value of the trials near each place of two settings, and nothing where no trial is near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.space import Among
from study.analysis.settings import Setting, valued
from study.records import Trial

WIDTH = 0.1  # of a range: standard deviation of the weights
REACH = 0.15  # of the ranges: where the nearest trial is farther away, the surface is blank
_CELLS = 30  # along a range of numbers


@dataclass(frozen=True)
class Surface:
    """Mean values over a grid of two settings; a choice has one column or row."""

    across: Setting
    up: Setting
    values: NDArray[np.float64]  # (rows from the bottom, columns), NaN where no trial is near


def surface(across: Setting, up: Setting, trials: Sequence[Trial]) -> Surface:
    """The mean of the trials' best values, weighted by a Gaussian of their distance in both settings.

    It follows the trials and invents no slope beyond them, at the price of flattening peaks. Choices are never mixed.
    """
    near = valued(trials)
    assert near, "a surface needs a trial with a value"
    grid_x, grid_y = _middles(across), _middles(up)
    x = _distances(across, grid_x, near)  # (columns, N)
    y = _distances(up, grid_y, near)  # (rows, N)
    squared = y[:, None] ** 2 + x[None] ** 2  # (rows, columns, N)
    weights = np.exp(-squared / (2 * WIDTH**2))
    total = weights.sum(2)
    objectives = np.array([trial.objective for trial in near], dtype=np.float64)
    blank = squared.min(2) > REACH**2
    means = np.divide(weights @ objectives, total, out=np.full(total.shape, np.nan), where=~blank)
    return Surface(across, up, means)


def _middles(setting: Setting) -> NDArray[np.float64]:
    cells = len(setting.range.choices) if isinstance(setting.range, Among) else _CELLS
    return (np.arange(cells) + 0.5) / cells


def _distances(setting: Setting, middles: NDArray[np.float64], trials: Sequence[Trial]) -> NDArray[np.float64]:
    places = np.array([setting.place(trial.params[setting.name]) for trial in trials])
    apart: NDArray[np.float64] = np.abs(middles[:, None] - places[None])
    if isinstance(setting.range, Among):  # the same choice or another
        return np.where(apart < 0.5 / len(middles), 0.0, np.inf)
    return apart
