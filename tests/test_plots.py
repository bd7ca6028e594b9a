"""Figures keep inside their frame, their names apart, and the tuning curve to completed trials."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from study.analysis.statistics import means
from study.reporting.figures import NARROW, WIDE, spread, thinned
from study.reporting.plots import MODES, Curve, draw_curves, draw_tuning, tuning_by_time, tuning_by_trials
from study.storage.tables import curves_frame
from tests import made_up

FITS = made_up.fits(
    {"frozen": (0.35, 0.95), "finetuned": (0.30, 0.97), "supervised": (0.19, 0.95), "random": (0.23, 0.87)}
)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_all_of_a_picture_lies_inside_it(width: float) -> None:
    found = means(curves_frame(made_up.study(), FITS))
    modes = dict.fromkeys(mean.series.mode for mean in found)
    curves = [Curve(f"{m} {'long' * 8}", MODES[m], tuple(p for p in found if p.series.mode == m)) for m in modes]
    tuning = [draw_tuning(course(made_up.trials()), width) for course in (tuning_by_trials, tuning_by_time)]
    for figure in (draw_curves(curves, "title", width), *tuning):
        assert figure is not None
        for mark in [*figure.marks, *(mark for strand in figure.strands for mark in strand.marks)]:
            assert figure.frame.left <= mark.x <= figure.frame.right
            assert figure.frame.top <= mark.y <= figure.frame.bottom
        names = [*figure.labels, *(strand.label for strand in figure.strands if strand.label)]
        assert names and all(0 < label.x < figure.frame.width and 0 < label.y < figure.frame.height for label in names)
        assert sum(hover.width for hover in figure.hovers) == pytest.approx(figure.frame.right - figure.frame.left)
        assert thinned(figure.x_ticks) == figure.x_ticks


def test_names_at_the_same_height_are_set_apart_in_their_order() -> None:
    heights = spread([100.0, 101.0, 99.0, 300.0], top=20, bottom=300)
    assert heights[2] < heights[0] < heights[1] < heights[3]
    assert all(b - a >= 17 for a, b in pairwise(sorted(heights)))


def test_the_tuning_curve_follows_the_best_completed_trial() -> None:
    trials = made_up.trials()
    lucky = [replace(t, objective=0.99) if t.status == "pruned" else t for t in trials]
    figure = draw_tuning(tuning_by_trials(lucky), WIDE)
    assert figure is not None
    best = max(t.objective for t in trials if t.status == "completed" and t.objective is not None)
    place = next(
        m.y for m, t in zip(figure.marks, trials, strict=True) if t.status == "completed" and t.objective == best
    )
    assert figure.lines[0].path.endswith(f",{place:g}")


def test_along_time_trials_stand_where_they_ended() -> None:
    first, second = made_up.trials(2)
    first = replace(first, status="completed", started_at="2025-01-31T12:00:00+00:00", seconds=100.0, objective=0.5)
    second = replace(second, status="completed", started_at="2025-01-31T12:00:10+00:00", seconds=30.0, objective=0.6)
    course = tuning_by_time([first, second])
    assert [trial.number for trial in course.trials] == [1, 0], "the second ended before the first"
    assert course.places == (30.0, 130.0), "lanes had worked 30 seconds, then 130"
    assert course.ticks[120.0] == "2 min"
