"""Plots: accuracy against labels, and the tuning of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from study.analysis.statistics import Mean
from study.records import Trial
from study.reporting.figures import (
    CHARACTER,
    ROW,
    Figure,
    Frame,
    Label,
    Line,
    Mark,
    Scale,
    Strand,
    Style,
    Tick,
    flowed,
    hovers,
    path_through,
    round_steps,
    spread,
    thinned,
)
from study.reporting.wording import accuracy, duration, percent

_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6")  # templates/colours.css
_MARGIN = 0.36  # of the width: where names beside the curves take more, they stand below
_TOUCHED = 22.0  # user units between two rows of names that a finger is to find
_ROUND_TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)  # seconds
_MARKS = ("circle", "square", "triangle", "cross")


SUPERVISED, RANDOM = Style("ink", "diamond"), Style("quiet", "down", dashed=True)
MODES = {
    "frozen": Style("c0", "circle"),
    "frozen_mlp": Style("c2", "triangle"),
    "finetuned": Style("c1", "square"),
    "supervised": SUPERVISED,
    "random": RANDOM,
}
STATUSES = {"completed": Style("c0", "circle"), "pruned": Style("quiet", "triangle"), "failed": Style("c1", "cross")}


@dataclass(frozen=True)
class Curve:
    """Accuracy against labels."""

    label: str
    style: Style
    points: tuple[Mean, ...]  # by label count
    lit: bool = True  # whether it stands out; the others are faint until a reader points at them


@dataclass(frozen=True)
class Course:
    """What a search is followed along."""

    title: str
    trials: tuple[Trial, ...]
    places: tuple[float, ...]  # of each trial, rising
    ticks: dict[float, str]


def method_styles(methods: Sequence[str]) -> dict[str, Style]:
    """A colour and a mark for each method; 28 of them differ."""
    return {
        method: Style(_COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]) for i, method in enumerate(sorted(methods))
    }


def draw_curves(curves: Sequence[Curve], title: str, width: float) -> Figure:
    """Accuracy against labels on a log axis: a line a curve, its 95 % band, its points and its name at the end."""
    points = [point for curve in curves for point in curve.points]
    counts = sorted({point.labels for point in points})
    longest = 34 + CHARACTER * max(len(curve.label) for curve in curves)
    beside = longest <= _MARGIN * width
    below = [] if beside else flowed([curve.label for curve in curves], 8, width)
    left, right, top = 48.0, width - (longest if beside else 12), 50.0
    bottom = max(328.0, top + ROW * len(curves) if beside else 0)
    height = bottom + (66 + _TOUCHED * (below[-1][1] + 1) if below else 62)
    y_values = accuracy_steps(points)
    y = Scale(y_values[0], y_values[-1], bottom, top)
    places = label_places(counts, left + 14, right - 10)
    ends = [_middle(curve, places, y)[-1] for curve in curves]
    heights = spread([end_y for _, end_y in ends], top, bottom)
    if beside:
        labels = [Label(c.style, c.label, right + 16, at, e) for c, e, at in zip(curves, ends, heights, strict=True)]
    else:
        labels = [
            Label(c.style, c.label, x, bottom + 56 + _TOUCHED * row, None)
            for c, (x, row) in zip(curves, below, strict=True)
        ]
    strands = [strand(curve, places, y, label) for curve, label in zip(curves, labels, strict=True)]
    draws = sorted({point.accuracy.n for point in points})
    n = str(draws[0]) if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
    return Figure(
        title=title,
        note=f"Mean over n = {n} draws" + ("; band: 95 % t-interval" if draws[-1] > 1 else ""),
        x_title="labels (log scale)",
        y_title="test accuracy",
        frame=Frame(width, left, right, top, bottom, below=height - bottom),
        x_ticks=thinned([Tick(places[count], f"{count:,}") for count in counts]),
        y_ticks=tuple(Tick(y(value), percent(value, 0)) for value in y_values),
        hovers=hovers(
            [(places[count], "\n".join([f"{count:,} labels", *_told(curves, count)])) for count in counts], left, right
        ),
        strands=tuple(sorted(strands, key=lambda strand: strand.lit)),  # the last drawn lies on top
    )


def strand(curve: Curve, places: dict[int, float], y: Scale, label: Label | None) -> Strand:
    """A curve where its label counts stand at `places`."""
    middle = _middle(curve, places, y)
    told = [f"{p.labels:,} labels: {accuracy(p.accuracy)}, n = {p.accuracy.n}" for p in curve.points]
    return Strand(
        line=Line(curve.style, path_through(middle), path_through(_band(curve, places, y))),
        marks=tuple(Mark(curve.style, *place) for place in middle),
        label=label,
        text="\n".join([curve.label, *told]),
        lit=curve.lit,
    )


def accuracy_steps(points: Sequence[Mean]) -> list[float]:
    """Round accuracies around the points and their intervals."""
    bounds = [b for p in points for b in (p.accuracy.low, p.accuracy.high, p.accuracy.mean) if b is not None]
    return round_steps(max(0.0, min(bounds)), min(1.0, max(bounds)))


def label_places(counts: Sequence[int], start: float, end: float) -> dict[int, float]:
    """Where each label count stands on a log axis; `counts` rise."""
    log_x = Scale(math.log(counts[0]), math.log(counts[-1]), start, end)
    return {count: log_x(math.log(count)) for count in counts}


def tuning_by_trials(trials: Sequence[Trial]) -> Course:
    """Trials in the order of their proposal."""
    every = max(1, math.ceil(len(trials) / 10))
    numbers = [float(trial.number) for trial in trials]
    return Course("trial", tuple(trials), tuple(numbers), {n: f"{n:g}" for n in numbers[::every]})


def tuning_by_time(trials: Sequence[Trial]) -> Course:
    """Trials in the order of their ends, against what all lanes had worked by then, so that no pause counts."""
    ended = sorted(trials, key=lambda t: datetime.fromisoformat(t.started_at).timestamp() + t.seconds)
    worked = [float(total) for total in np.cumsum([trial.seconds for trial in ended])]
    step = next((step for step in _ROUND_TIMES if worked[-1] / step <= 8), _ROUND_TIMES[-1])
    ticks = {place: duration(place) if place else "0" for place in np.arange(0.0, worked[-1] + step / 2, step).tolist()}
    return Course("time of all lanes", tuple(ended), tuple(worked), ticks)


def draw_tuning(course: Course, width: float) -> Figure | None:
    """Best validation accuracy so far, every trial marked by its status; None where no trial reached a value."""
    trials = course.trials
    reached = [trial.objective for trial in trials if trial.objective is not None]
    if not reached:
        return None
    height, left, right, top = 330.0, 48.0, width - 12, 68.0
    bottom = height - 62
    y_values = round_steps(min(reached), max(reached))
    y = Scale(y_values[0], y_values[-1], bottom - 14, top)  # below: the failed trials
    x = Scale(min(*course.places, *course.ticks), max(*course.places, *course.ticks), left + 12, right - 12)
    places = [
        (x(at), bottom - 2 if t.objective is None else y(t.objective))
        for t, at in zip(trials, course.places, strict=True)
    ]
    best: float | None = None
    steps: list[tuple[float, float]] = []
    for trial, at in zip(trials, course.places, strict=True):
        if trial.status == "completed" and trial.objective is not None and (best is None or trial.objective > best):
            steps += [(x(at), y(best))] if best is not None else []
            best = trial.objective
            steps.append((x(at), y(best)))
    if best is not None:
        steps.append((right - 12, y(best)))
    names = [status for status in STATUSES if any(trial.status == status for trial in trials)]
    starts = flowed(names, left + 12, right)
    return Figure(
        title="Tuning: best validation accuracy so far",
        note="Line: best completed trial so far",
        x_title=course.title,
        y_title="validation accuracy",
        frame=Frame(width, left, right, top, bottom, below=height - bottom),
        x_ticks=thinned([Tick(x(place), text) for place, text in course.ticks.items()]),
        y_ticks=tuple(Tick(y(value), percent(value, 0)) for value in y_values),
        lines=(Line(STATUSES["completed"], path_through(steps), ""),),
        marks=tuple(Mark(STATUSES[t.status], *place) for t, place in zip(trials, places, strict=True)),
        labels=tuple(Label(STATUSES[name], name, x, 52, None) for name, (x, _) in zip(names, starts, strict=True)),
        hovers=hovers([(place[0], trial_text(t)) for t, place in zip(trials, places, strict=True)], left, right),
    )


def _middle(curve: Curve, places: dict[int, float], y: Scale) -> list[tuple[float, float]]:
    return [(places[point.labels], y(point.accuracy.mean)) for point in curve.points]


def _band(curve: Curve, places: dict[int, float], y: Scale) -> list[tuple[float, float]]:
    """Along the upper bounds and back along the lower; points without an interval are left out."""
    known = [(places[p.labels], p.accuracy.low, p.accuracy.high) for p in curve.points]
    upper = [(x, y(min(1.0, high))) for x, _, high in known if high is not None]
    lower = [(x, y(max(0.0, low))) for x, low, _ in known if low is not None]
    return upper + lower[::-1]


def _told(curves: Sequence[Curve], count: int) -> list[str]:
    found = [(point, curve) for curve in curves for point in curve.points if point.labels == count]
    ordered = sorted(found, key=lambda item: -item[0].accuracy.mean)
    return [f"{curve.label}: {accuracy(point.accuracy)}, n = {point.accuracy.n}" for point, curve in ordered]


def trial_text(trial: Trial) -> str:
    """What a trial was and reached, for its hover."""
    reached = "no value" if trial.objective is None else percent(trial.objective, 1)
    settings = [
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in trial.params.items()
    ]
    return "\n".join(
        [
            f"trial {trial.number}, {trial.status}: {reached}, {trial.epochs} epochs",
            *settings,
            *([trial.error] if trial.error else []),
        ]
    )
