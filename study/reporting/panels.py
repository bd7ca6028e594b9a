"""Panels: a small figure a method, all on the same axes, which fifteen curves in one figure would not be read from."""

from __future__ import annotations

from collections.abc import Sequence

from study.reporting.figures import Figure, Frame, Scale, Tick, hovers, thinned
from study.reporting.plots import Curve, accuracy_steps, label_places, strand
from study.reporting.wording import accuracy, percent

_WIDTH, _HEIGHT = 250.0, 205.0  # user units


def draw_panels(panels: Sequence[tuple[str, Sequence[Curve]]]) -> tuple[Figure, ...]:
    """A figure for each title and its curves, at the same scale; the order tells what stands out."""
    points = [point for _, curves in panels for curve in curves for point in curve.points]
    left, right, top, bottom = 46.0, _WIDTH - 8, 26.0, _HEIGHT - 38
    y_values = accuracy_steps(points)
    y = Scale(y_values[0], y_values[-1], bottom, top)
    places = label_places(sorted({point.labels for point in points}), left + 8, right - 10)
    x_ticks = thinned([Tick(at, f"{count:,}") for count, at in places.items()])
    y_ticks = tuple(Tick(y(value), percent(value, 0)) for value in y_values)
    return tuple(
        Figure(
            title=title,
            note="",
            x_title="labels",
            y_title="",
            frame=Frame(_WIDTH, left, right, top, bottom, below=_HEIGHT - bottom),
            x_ticks=x_ticks,
            y_ticks=y_ticks,
            hovers=hovers([(at, _told(curves, count)) for count, at in places.items()], left, right),
            strands=tuple(strand(curve, places, y, None) for curve in curves),
        )
        for title, curves in panels
    )


def _told(curves: Sequence[Curve], count: int) -> str:
    found = [(curve.label, point.accuracy) for curve in curves for point in curve.points if point.labels == count]
    return "\n".join([f"{count:,} labels", *(f"{name}: {accuracy(mean)}, n = {mean.n}" for name, mean in found)])
