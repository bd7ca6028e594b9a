"""Areas and labels saved, against curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis.savings import LabelsNeeded, areas, labels_needed
from study.analysis.statistics import Series, compare, t_interval
from study.reporting.wording import equals

FROZEN, SUPERVISED = (Series("study", "rotnet", mode) for mode in ("frozen", "supervised"))
COUNTS = (10, 20, 40, 80, 160)  # one doubling apart
Draws = list[list[float]]  # accuracy by draw and label count


def made(curves: dict[Series, Draws], counts: tuple[int, ...] = COUNTS) -> pd.DataFrame:
    """Rows of curves.parquet, as far as these functions read them; NaN is a fit that is missing."""
    rows = [
        (s.study, "images", s.method, s.mode, labels / 160, labels, 0, draw, "test", accuracy)
        for s, table in curves.items()
        for draw, row in enumerate(table)
        for labels, accuracy in zip(counts, row, strict=True)
        if not math.isnan(accuracy)
    ]
    names = ["study", "dataset", "method", "mode", "fraction", "labels", "repeat", "draw", "split", "accuracy"]
    return pd.DataFrame(rows, columns=names)


def rising(start: float, *shifts: float) -> Draws:
    """A tenth more accuracy for each doubling of the labels, one draw a shift."""
    return [[start + shift + 0.1 * place for place in range(len(COUNTS))] for shift in shifts or (0.0,)]


def needed(supervised: Draws, frozen: Draws, labels: int) -> LabelsNeeded:
    found = labels_needed(made({SUPERVISED: supervised, FROZEN: frozen}), FROZEN, SUPERVISED, labels)
    assert found is not None
    return found


def test_the_area_is_the_mean_height_over_the_log_axis() -> None:
    # by hand: from 10 to 100 labels a slope at 0.3 in the mean, from 100 to 1,000 a plateau at 0.4
    found = areas(made({FROZEN: [[0.2, 0.4, 0.4]]}, (10, 100, 1000)), [FROZEN])
    assert found[FROZEN].mean == pytest.approx(0.35)
    assert found[FROZEN].low is None


def test_the_area_has_an_interval_over_one_area_a_draw() -> None:
    found = areas(made({FROZEN: rising(0.2, 0.0, 0.03, -0.06)}), [FROZEN])[FROZEN]
    wanted = t_interval([0.4, 0.43, 0.34])
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((wanted.mean, wanted.low, wanted.high, 3))


def test_areas_that_are_compared_span_the_same_labels() -> None:
    short = [[math.nan, 0.3, 0.4, 0.5, math.nan]]
    found = areas(made({FROZEN: rising(0.2), SUPERVISED: short}), [FROZEN, SUPERVISED])
    assert found[FROZEN].mean == pytest.approx(found[SUPERVISED].mean)
    apart = made({FROZEN: [[0.2, 0.3] + [math.nan] * 3], SUPERVISED: [[math.nan] * 3 + [0.2, 0.3]]})
    assert areas(apart, [FROZEN, SUPERVISED]) == {}


def test_one_fit_with_all_labels_counts_for_every_draw() -> None:
    once = rising(0.2, 0.0, 0.03, -0.06)
    once[1][-1] = once[2][-1] = math.nan
    every = [[*row[:-1], once[0][-1]] for row in once]
    assert areas(made({FROZEN: once}), [FROZEN]) == areas(made({FROZEN: every}), [FROZEN])


def test_a_draw_that_lacks_a_label_count_has_no_area() -> None:
    unfinished = rising(0.2, 0.0, 0.03, -0.06)
    unfinished[2][1] = math.nan
    assert areas(made({FROZEN: unfinished}), [FROZEN]) == areas(made({FROZEN: unfinished[:2]}), [FROZEN])


@pytest.mark.parametrize(("gain", "times"), [(0.1, 2), (0.05, math.sqrt(2)), (0.15, 2 * math.sqrt(2)), (0.0, 1)])
def test_a_tenth_more_accuracy_saves_one_doubling(gain: float, times: float) -> None:
    found = needed(rising(0.2), rising(0.2 + gain), 40)
    assert found.needed == pytest.approx(40 * times)
    assert found.saved == pytest.approx(40 * times - 40, abs=1e-9)
    assert found.accuracy == pytest.approx(0.4 + gain)
    assert (found.least, found.most, found.n) == (10, 160, 1)


def test_a_dip_is_pooled_with_what_comes_before_it() -> None:
    # 0.4 and 0.3 become 0.35 twice: 0.35 is first reached with 20 labels, not on the way to 0.4
    dip = [[0.2, 0.4, 0.3, 0.6, 0.7]]
    assert needed(dip, [[0.35] * 5], 10).needed == pytest.approx(20)
    assert needed(dip, [[0.475] * 5], 10).needed == pytest.approx(40 * math.sqrt(2))


def test_what_is_never_reached_needs_more_than_all_and_what_is_always_reached_no_more_than_the_least() -> None:
    beyond = needed(rising(0.2, 0.0, 0.01), rising(0.5, 0.0, 0.01), 160)
    assert (beyond.needed, beyond.low, beyond.high, beyond.saved) == (None, None, None, None)
    assert beyond.certain
    below = needed(rising(0.2, 0.0, 0.01), rising(-0.1, 0.0, 0.01), 10)
    assert (below.needed, below.low, below.high) == (10, 10, 10)
    assert not below.certain
    unmeasured = needed([[math.nan, *row[1:]] for row in rising(0.2, 0.0, 0.01)], rising(-0.1, 0.0, 0.01), 10)
    assert (unmeasured.needed, unmeasured.low, unmeasured.least) == (20, 20, 20)
    assert not unmeasured.certain, "nobody has tried whether 10 labels are too few"


def test_what_the_draws_share_makes_no_interval() -> None:
    found = needed(rising(0.2, 0.0, 0.1, -0.1), rising(0.3, 0.0, 0.1, -0.1), 40)
    assert [found.needed, found.low, found.high] == pytest.approx([80, 80, 80], rel=0.01)
    assert found.certain


def test_the_interval_is_where_the_paired_test_does_not_tell_the_two_apart() -> None:
    random = np.random.default_rng(0)
    verdicts = set()
    for gain in (0.0, 0.02, 0.05, 0.1) * 5:
        shared = random.normal(0, 0.05, (5, 5))
        frozen, supervised = (
            (np.array(rising(start, *[0] * 5)) + shared + random.normal(0, 0.02, (5, 5))).tolist()
            for start in (0.2 + gain, 0.2)
        )
        curves = made({FROZEN: frozen, SUPERVISED: supervised})
        (at_40,) = compare(curves[curves["labels"] == 40], [(FROZEN, SUPERVISED)])
        if np.all(np.diff(np.mean(supervised, axis=0)) > 0):  # otherwise the curve is not quite its means
            found = labels_needed(curves, FROZEN, SUPERVISED, 40)
            assert found is not None
            assert found.certain == (at_40.separated and at_40.difference.mean > 0)
            verdicts.add(found.certain)
    assert verdicts == {True, False}


def test_the_interval_of_labels_covers_the_truth_in_95_of_100_studies() -> None:
    random, studies, covered = np.random.default_rng(0), 600, 0
    for _ in range(studies):
        shared = random.normal(0, 0.03, (5, 5))  # as the labels of a draw are shared
        frozen, supervised = (
            (np.array(rising(start, *[0] * 5)) + shared + random.normal(0, 0.02, (5, 5))).tolist()
            for start in (0.25, 0.2)
        )
        found = needed(supervised, frozen, 40)
        assert found.low is not None
        covered += found.low <= 40 * math.sqrt(2) <= (found.high or math.inf)
    assert covered / studies == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / studies))


def test_other_pretrainings_widen_the_interval_of_labels_and_of_the_area() -> None:
    shifts = (0.0, 0.02, -0.01)
    supervised, once = made({SUPERVISED: rising(0.2, *shifts)}), made({FROZEN: rising(0.3, *shifts[::-1])})
    others = [made({FROZEN: rising(0.3 + more, *shifts[::-1])}).assign(repeat=r) for r, more in ((1, 0.02), (2, -0.02))]
    widths, areas_found = [], []
    for curves in ([once, supervised], [once, *others, supervised]):
        together = pd.concat(curves, ignore_index=True)
        found = labels_needed(together, FROZEN, SUPERVISED, 40)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.needed == pytest.approx(80)
        widths.append(math.log(found.high / found.low))
        areas_found.append(areas(together, [FROZEN])[FROZEN])
    assert widths[1] > widths[0] * 1.2
    one, three = areas_found
    assert one.low is not None
    assert three.low is not None
    assert (one.repeats, three.repeats) == (1, 3)
    assert one.mean == pytest.approx(three.mean)
    assert three.low < one.low


def test_the_sentence_says_what_the_labels_are_worth() -> None:
    def say(needed: float | None, low: float | None, high: float | None, n: int = 5) -> str:
        found = LabelsNeeded(FROZEN, 63, 0.66, SUPERVISED, needed, low, high, 13, 1257, n)
        return equals(found, "rotnet frozen", "supervised")

    assert say(171.2, 130.0, 239.7) == "rotnet frozen with 63 labels equals supervised with 171 [130, 240]"
    assert say(13.0, 13.0, 20.4).endswith("supervised with 13 or fewer [13 or fewer, 20]")
    assert say(1100.0, 630.0, None).endswith("supervised with 1,100 [630, more than 1,257]")
    assert say(None, None, None).endswith("supervised with more than 1,257, by the whole interval")
    assert say(171.2, None, None, n=1).endswith("supervised with 171 [no interval]")


def test_a_series_that_was_not_measured_needs_no_labels() -> None:
    curves = made({FROZEN: rising(0.2)})
    assert labels_needed(curves, FROZEN, SUPERVISED, 40) is None
    assert labels_needed(curves, FROZEN, FROZEN, 41) is None
