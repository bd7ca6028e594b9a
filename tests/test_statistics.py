"""Intervals cover, identical methods are not separated, and pairing sees what the draws share."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis.statistics import Series, compare, holm, means, summarise, t_interval
from study.records import Mode
from study.storage.tables import curves_frame
from tests import made_up

FROZEN, FINETUNED = (Series("photo-digits-rotnet", "rotnet", mode) for mode in ("frozen", "finetuned"))


def made(curves: dict[Mode, tuple[float, float]], draws: int = 5, seed: int = 0) -> pd.DataFrame:
    return curves_frame(made_up.study(), made_up.fits(curves, draws, seed))


def test_the_interval_is_the_one_of_the_t_table() -> None:
    interval = t_interval([0.1, 0.2, 0.3])
    half = 4.302653 * 0.1 / math.sqrt(3)  # two degrees of freedom, 95 %
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), rel=1e-6)
    assert interval.n == 3


def test_one_draw_has_a_mean_and_no_interval() -> None:
    interval = t_interval([0.4])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.4, None, None, 1)


def test_the_interval_covers_the_truth_in_95_of_100_studies() -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.03, (4000, 5))
    intervals = [t_interval(row.tolist()) for row in draws]
    covered = np.mean([i.low is not None and i.high is not None and i.low <= 0.7 <= i.high for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.01)  # three standard errors of 4,000 studies


def test_holm_by_hand() -> None:
    # in order: 4 x 0.005, 3 x 0.01, 2 x 0.03, then 1 x 0.04, which may not fall below its predecessor
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_only_what_was_tested_and_stops_at_one() -> None:
    assert holm([None, 0.02, None, 0.8]) == [None, pytest.approx(0.04), None, pytest.approx(0.8)]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_identical_methods_are_separated_anywhere_in_at_most_5_of_100_studies() -> None:
    studies, fractions = 400, len(made_up.FRACTIONS)
    curves = made({"frozen": (0.4, 0.9), "finetuned": (0.4, 0.9)})  # a row a mode, fraction and draw
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(studies):
        shared = np.tile(random.normal(0.6, 0.03, 5 * fractions), 2)
        curves["accuracy"] = shared + random.normal(0, 0.01, len(curves))
        wrong += any(c.separated for c in compare(curves, [(FROZEN, FINETUNED)]))
    assert 0.02 < wrong / studies < 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


def test_pairing_separates_what_the_choice_of_labels_hides() -> None:
    curves = made({"frozen": (0.42, 0.92), "finetuned": (0.4, 0.9)}, draws=10)
    at_63 = {mean.series.mode: mean.accuracy for mean in means(curves) if mean.labels == 63}
    assert at_63["frozen"].low is not None
    assert at_63["finetuned"].high is not None
    assert at_63["frozen"].low < at_63["finetuned"].high  # the intervals overlap
    paired = next(c for c in compare(curves, [(FROZEN, FINETUNED)]) if c.labels == 63)
    assert paired.separated
    assert paired.difference.mean == pytest.approx(0.02, abs=0.01)


def test_only_draws_that_both_have_are_paired() -> None:
    curves = made({"frozen": (0.5, 0.9), "finetuned": (0.4, 0.9)})
    missing = (curves["mode"] == "finetuned") & (curves["draw"] >= 3)
    assert {c.difference.n for c in compare(curves[~missing], [(FROZEN, FINETUNED)])} == {3}


def test_without_a_second_draw_or_any_spread_there_is_no_test() -> None:
    curves = made({"frozen": (0.5, 0.9), "finetuned": (0.4, 0.9)}, draws=1)
    assert {(c.p, c.separated) for c in compare(curves, [(FROZEN, FINETUNED)])} == {(None, False)}
    constant = made({"frozen": (0.5, 0.9), "finetuned": (0.4, 0.9)})
    constant["accuracy"] = np.where(constant["mode"] == "frozen", 0.6, 0.5)
    assert {(c.p, c.separated) for c in compare(constant, [(FROZEN, FINETUNED)])} == {(None, False)}


def test_more_comparisons_ask_for_more_evidence() -> None:
    curves = made({"frozen": (0.41, 0.9), "finetuned": (0.4, 0.9)})
    seven = compare(curves, [(FROZEN, FINETUNED)])
    alone = compare(curves[curves["labels"] == 13], [(FROZEN, FINETUNED)])
    p = next(c.p for c in seven if c.labels == 13)
    assert p is not None
    assert alone[0].p is not None
    assert p > alone[0].p


def test_means_speak_of_the_test_images_alone() -> None:
    curves = made({"frozen": (0.5, 0.9)})
    validation = curves.assign(split="validation", accuracy=1.0)
    both = pd.concat([curves, validation], ignore_index=True)
    pd.testing.assert_frame_equal(summarise(both), summarise(curves))


def test_the_summary_has_a_row_a_mode_and_label_count() -> None:
    summary = summarise(made({"frozen": (0.5, 0.9), "finetuned": (0.4, 0.9)}))
    assert len(summary) == 2 * len(made_up.FRACTIONS)
    assert summary["n"].unique().tolist() == [5]
    assert ((summary["low"] < summary["mean"]) & (summary["mean"] < summary["high"])).all()
