"""Intervals over pretraining seeds and draws cover, and identical methods are not separated, whatever varies most."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from study.analysis.crossed import Reals, grid, half_width, p_value, parts, same_draws
from study.analysis.statistics import holm, interval

FRACTIONS, DRAWS, STUDIES = 7, 5, 4000
# standard deviations of repeat, draw and residual: each alone, all alike, and where Satterthwaite's freedom is worst
SHAPES = [(0.0, 0.0, 1.0), (1.0, 0.0, 0.1), (0.0, 1.0, 0.1), (1.0, 1.0, 1.0), (0.5, 1.0, 0.5), (1.0, 0.3, 0.0)]


def accuracies(shape: tuple[float, float, float], repeats: int, studies: int, random: np.random.Generator) -> Reals:
    """Deviations of repeats x draws from the truth, (R, D, studies)."""
    seed, draw, rest = shape
    return (
        seed * random.normal(size=(repeats, 1, studies))
        + draw * random.normal(size=(1, DRAWS, studies))
        + rest * random.normal(size=(repeats, DRAWS, studies))
    )


def coverage(made: Reals) -> float:
    return float(np.mean(np.abs(made.mean((0, 1))) <= half_width(parts(made))))


def test_one_repeat_is_the_plain_t_interval_and_the_plain_t_test() -> None:
    values = np.array([[0.1, 0.25, 0.3, 0.2]])
    wanted = ttest_1samp(values[0], 0).confidence_interval()
    found = interval(values)
    assert (found.low, found.high, found.n, found.repeats) == pytest.approx((wanted.low, wanted.high, 4, 1))
    assert p_value(0.2125, parts(values)) == pytest.approx(float(ttest_1samp(values[0], 0).pvalue))


def test_repeats_and_draws_by_hand() -> None:
    # repeat means 1 and 3: variance 2, by 2 repeats 1; draw means 1, 2 and 3: variance 1, by 3 draws 1/3
    made = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])
    found = parts(made)
    assert [(float(part.variance), part.freedom) for part in found] == [(pytest.approx(1 / 3), 2), (1.0, 1)]
    freedom = (4 / 3) ** 2 / ((1 / 3) ** 2 / 2 + 1)  # Satterthwaite's, 1.684
    assert freedom == pytest.approx(1.684, abs=1e-3)
    assert float(half_width(found)) == pytest.approx(5.1776 * math.sqrt(4 / 3), rel=1e-3)


@pytest.mark.parametrize(("repeats", "shape"), list(product((1, 3), SHAPES)))
def test_the_interval_covers_the_truth_in_95_of_100_studies_or_a_little_more(
    repeats: int, shape: tuple[float, float, float]
) -> None:
    if repeats == 1:  # one pretraining: the interval does not speak of others
        shape = (0.0, *shape[1:])
    covered = coverage(accuracies(shape, repeats, STUDIES, np.random.default_rng(0)))
    error = 3 * math.sqrt(0.05 * 0.95 / STUDIES)
    if repeats == 1:
        assert covered == pytest.approx(0.95, abs=error)
    else:  # the residual counts twice, so where it is large the interval is too wide; Satterthwaite's may be too narrow
        assert 0.93 - error < covered <= 0.99 + error


def test_draws_alone_do_not_cover_what_another_seed_would_give() -> None:
    made = accuracies((1.0, 0.5, 0.5), 3, STUDIES, np.random.default_rng(0))
    assert coverage(made[:1]) < 0.6
    assert coverage(made) > 0.93


@pytest.mark.parametrize(("repeats", "seeds"), [(1, 0.0), (3, 1.0), (3, 0.3)])
def test_identical_methods_are_separated_anywhere_in_at_most_5_of_100_studies(repeats: int, seeds: float) -> None:
    """Against a baseline without repeats, at the shape where Satterthwaite's p is wrong 13 times in 100."""
    studies, random = 800, np.random.default_rng(0)
    shared = random.normal(size=(1, DRAWS, FRACTIONS * studies))  # of a draw: paired, it falls out
    first = shared + accuracies((seeds, 0.2, 0.0), repeats, FRACTIONS * studies, random)
    second = shared + accuracies((0.0, 0.2, 0.0), 1, FRACTIONS * studies, random)
    wrong = 0
    for family in np.split(np.arange(FRACTIONS * studies), studies):
        p = [
            p_value(float(a.mean() - b.mean()), parts(a, b))
            for a, b in ((first[..., i], second[..., i]) for i in family)
        ]
        wrong += any(each is not None and each < 0.05 for each in holm(p))
    assert 0 < wrong / studies < 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


def test_what_repeats_show_separates_less_than_draws_alone_would() -> None:
    second = np.array([[0.45, 0.46, 0.47, 0.46]])
    first = second + np.array([[0.04], [0.08], [0.0]]) + np.array([[0.005, -0.005, 0.005, -0.005]])
    p = [p_value(float(a.mean() - second.mean()), parts(a, second)) for a in (first[:1], first)]
    assert p[0] is not None
    assert p[1] is not None
    assert p[0] < 0.05 < p[1]


def test_repeats_of_both_sides_vary_a_difference() -> None:
    first, second = (accuracies((1.0, 0.0, 0.1), r, 1, np.random.default_rng(r))[..., 0] for r in (3, 2))
    assert [part.freedom for part in parts(first, second)] == [4, 2, 1]


def test_one_draw_has_an_interval_only_where_it_holds_all_labels_and_repeats_vary_it() -> None:
    thrice, once = np.array([[0.9], [0.91], [0.92]]), np.array([[0.9]])
    assert interval(thrice).low is None
    assert interval(once, all_labels=True).low is None
    found = interval(thrice, all_labels=True)
    assert found.low == pytest.approx(0.91 - 4.302653 * 0.01 / math.sqrt(3))
    assert (found.n, found.repeats) == (1, 3)
    assert parts(thrice, once, all_labels=True) == [], "nobody knows what a second fit of the other would give"


def test_with_all_labels_one_fit_stands_for_every_draw() -> None:
    alone, several = grid({(0, 0): 0.9, (1, 0): 0.8}, all_labels=True), grid({(0, 3): 0.6, (0, 5): 0.7}, True)
    first, second = same_draws([alone, several])
    assert first.accuracy.tolist() == [[0.9, 0.9], [0.8, 0.8]]
    assert first.draws == second.draws == (3, 5)
    apart = same_draws([grid({(0, 0): 0.9}, all_labels=False), grid({(0, 3): 0.6}, all_labels=False)])
    assert [each.draws for each in apart] == [(), ()]


def test_a_repeat_that_is_not_finished_is_left_out() -> None:
    cells = {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.3, (2, 0): 0.5, (2, 1): 0.6}
    found = grid(cells, all_labels=False)
    assert (found.repeats, found.draws, found.accuracy.tolist()) == ((0, 2), (0, 1), [[0.1, 0.2], [0.5, 0.6]])
