"""The surface is the trials' own mean where they lie, blank elsewhere, and never mixes choices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from methods.space import Among, Between, Value
from study.analysis.settings import Setting
from study.analysis.surface import surface
from study.records import Trial
from tests import made_up

LR, DROPOUT = Setting("lr", Between(1e-4, 1e-2, log=True)), Setting("dropout", Between(0.0, 0.6))
BATCH = Setting("batch_size", Among((32, 64)))


def at(objective: float, **params: Value) -> Trial:
    return replace(made_up.trials(1)[0], objective=objective, params=params)


def test_one_trial_gives_its_value_around_itself_and_a_blank_elsewhere() -> None:
    found = surface(LR, DROPOUT, [at(0.6, lr=1e-3, dropout=0.3)]).values
    known = np.isfinite(found)
    assert found[known] == pytest.approx(0.6)
    assert known.mean() == pytest.approx(np.pi * 0.15**2, abs=0.01)  # a disc of REACH
    rows, columns = np.nonzero(known)
    assert rows.mean() == columns.mean() == pytest.approx(14.5)


def test_values_lie_where_the_trials_do_and_between_their_extremes() -> None:
    found = surface(LR, DROPOUT, [at(0.2, lr=2e-4, dropout=0.05), at(0.8, lr=8e-3, dropout=0.55)]).values
    assert found[2, 4] == pytest.approx(0.2, abs=0.01)  # the row from the bottom, the column from the left
    assert found[27, 28] == pytest.approx(0.8, abs=0.01)
    assert 0.2 - 1e-9 < np.nanmin(found) < np.nanmax(found) < 0.8 + 1e-9


def test_choices_are_never_mixed() -> None:
    found = surface(BATCH, DROPOUT, [at(0.2, batch_size=32, dropout=0.3), at(0.8, batch_size=64, dropout=0.3)]).values
    assert found.shape == (30, 2)
    for column, value in zip(found.T, (0.2, 0.8), strict=True):
        assert column[np.isfinite(column)] == pytest.approx(value)
