"""Figures of the report over all studies: all methods of a mode in one, and each method on its own."""

from __future__ import annotations

import re

from study.analysis.statistics import Series
from study.reporting.compared import BASELINES, Compared
from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Picture, Section
from study.reporting.panels import draw_panels
from study.reporting.plots import MODES, Curve, draw_curves, method_styles

_FEW = 6  # curves that one figure shows without making most of them faint
_LIT = 3  # of many, so many stand out


def pictures(data: Compared) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """A figure a mode of pretrained curves, with the baselines in each, and how to read one with many."""
    styles = method_styles(sorted({data.names[series] for series in data.names if series.mode not in BASELINES}))
    drawn, many = [], False
    for mode in data.modes or ["no pretraining"]:
        ranked = data.ranked(mode)
        best = [series for series in ranked if series.mode not in BASELINES][:_LIT]
        many |= len(ranked) > _FEW
        curves = [
            Curve(
                data.names[series],
                BASELINES.get(series.mode) or styles[data.names[series]],
                data.points(series),
                lit=len(ranked) <= _FEW or series in best or series.mode in BASELINES,
            )
            for series in ranked
        ]
        file = f"figures/{re.sub('[^A-Za-z0-9-]+', '-', f'{data.group.title} {mode}').strip('-')}.svg"
        wide, narrow = (draw_curves(curves, f"{data.group.title}, {mode}", width) for width in (WIDE, NARROW))
        drawn.append(Picture(wide, narrow, file))
    hint = (
        f"The {_LIT} methods of the largest area and the baselines stand out. Point at a name or a curve to bring it "
        "forward and read its figures, at the plot to read all at one label count; a click keeps a curve in front."
    )
    return tuple(drawn), (hint,) if many else ()


def each_method(data: Compared) -> Section | None:
    """A panel a study with all its modes and the baselines of its encoder, the largest area first."""
    own_curves: dict[str, list[Series]] = {}
    for series in sorted((s for s in data.names if s.mode not in BASELINES), key=data.order):
        own_curves.setdefault(series.study, []).append(series)
    if len(own_curves) < 2:
        return None
    panels = []
    for own in own_curves.values():
        baselines = {base[own[0]] for base in (data.alone, data.untrained) if own[0] in base}
        shown = sorted([*own, *baselines], key=lambda series: list(MODES).index(series.mode))
        curves = [Curve(series.mode, MODES[series.mode], data.points(series)) for series in shown]
        panels.append((data.names[own[0]], curves))
    marks = "; ".join(f"{MODES[mode].mark}: {mode}" for mode in data.modes)
    note = (
        f"All on the same axes, the largest area first. {marks.capitalize()}; diamond: supervised, on the "
        "labels alone; dashed: an untrained encoder, frozen. Bands are 95 % t-intervals."
    )
    return Section(f"{data.group.title}: each method", (note,), panels=draw_panels(panels))
