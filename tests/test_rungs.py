"""What ASHA cut, and how early epochs ranked the last, against counts and ranks made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from study.analysis.rungs import Rung, rankings, rung_epochs, rungs
from study.records import Status, Trial
from tests import made_up


def trial(number: int, objectives: Sequence[float], status: Status = "completed") -> Trial:
    epoch = made_up.trials(1)[0].history[0]
    history = tuple(replace(epoch, epoch=i, objective=value) for i, value in enumerate(objectives, start=1))
    return replace(
        made_up.trials(1)[0],
        number=number,
        status=status,
        history=history,
        objective=max(objectives, default=None),
    )


def test_the_rungs_count_who_came_who_was_cut_and_who_went_on() -> None:
    study = replace(made_up.study(), epochs=16)
    trials = [
        trial(0, [0.5] * 16),
        trial(1, [0.2, 0.6, 0.6, 0.6], "pruned"),
        trial(2, [0.4], "pruned"),
        trial(3, [0.1], "pruned"),
        trial(4, [0.3, 0.3], "failed"),
        trial(5, [], "failed"),
        trial(6, [0.5, 0.5, 0.5, 0.5, 0.5], "pruned"),  # the search ended
    ]
    assert rung_epochs(study) == (1, 4)
    assert rungs(study, trials) == (
        Rung(1, reached=6, cut=2, went_on=4, best_cut=0.4, least_kept=0.2),
        Rung(4, reached=3, cut=1, went_on=2, best_cut=0.6, least_kept=0.5),
    )
    assert rungs(study, [trials[5]]) == ()
    assert rung_epochs(replace(study, grace_epochs=2)) == (2, 8)
    assert rung_epochs(replace(study, epochs=1)) == ()


def test_rank_correlations_are_those_made_by_hand() -> None:
    # ranks after epoch 1: 1 2 3 4 5, after epoch 3: 2 1 4 3 5. Squared differences 1 1 1 1 0, two pairs of ten turned
    first, last = (0.1, 0.2, 0.3, 0.4, 0.5), (0.5, 0.3, 0.8, 0.6, 0.9)
    found = rankings([trial(i, [a, 0.5, b]) for i, (a, b) in enumerate(zip(first, last, strict=True))], seed=0)
    assert [(ranking.epoch, ranking.trials) for ranking in found] == [(1, 5), (2, 5)]
    assert found[0].spearman == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert found[0].kendall == pytest.approx((8 - 2) / 10)
    assert found[1].spearman is found[1].low is found[1].kendall is None  # all equal: no order


def test_the_chance_of_a_right_cut_and_its_cost_equal_a_count_over_all_sets() -> None:
    random = np.random.default_rng(0)
    early, late = random.integers(3, 9, (2, 9)) / 10  # with ties
    kept, lost = [], []
    for chosen in combinations(range(9), 4):
        leader = max(chosen, key=lambda i: (early[i], -i))
        best = max(late[i] for i in chosen)
        kept.append(late[leader] == best)
        lost.append(best - late[leader])
    (found,) = rankings([trial(i, [a, b]) for i, (a, b) in enumerate(zip(early, late, strict=True))], seed=0)
    assert found.kept == pytest.approx(np.mean(kept))
    assert found.lost == pytest.approx(np.mean(lost))


def test_a_perfect_order_is_kept_whole_and_a_turned_one_not() -> None:
    values = [0.1 * i for i in range(1, 9)]
    (perfect,) = rankings([trial(i, [v, v]) for i, v in enumerate(values)], seed=0)
    assert (perfect.kept, perfect.spearman, perfect.lost) == pytest.approx((1, 1, 0))
    (turned,) = rankings([trial(i, [1 - v, v]) for i, v in enumerate(values)], seed=0)
    assert (turned.kept, turned.spearman) == pytest.approx((0, -1))


def test_intervals_hold_the_correlation_of_all_trials_in_most_studies() -> None:
    """Normal values of rank correlation 0.8 (6/pi asin(r/2) by Pearson's r): a bootstrap of 30 covers some 90 %."""
    random = np.random.default_rng(0)
    r = 2 * np.sin(np.pi * 0.8 / 6)
    covered = []
    for _ in range(60):
        pairs = random.multivariate_normal((0, 0), ((1, r), (r, 1)), 30)
        (found,) = rankings([trial(i, pair) for i, pair in enumerate(pairs)], seed=0)
        assert found.low is not None
        assert found.high is not None
        covered.append(found.low <= 0.8 <= found.high)
    assert 0.83 <= np.mean(covered) <= 1


def test_only_completed_trials_are_ranked_and_four_are_too_few() -> None:
    completed = [trial(i, [0.1 * i, 0.1 * i]) for i in range(5)]
    pruned = [trial(5 + i, [0.9], "pruned") for i in range(5)]
    assert rankings([*completed, *pruned], seed=0) == rankings(completed, seed=0) != ()
    assert rankings(completed[:4], seed=0) == rankings([], seed=0) == ()
