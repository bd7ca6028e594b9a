"""Setting plots: what each setting accounts for, and trials against one, two or all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from methods.space import Among
from study.analysis.importance import Importances
from study.analysis.settings import Setting, valued
from study.analysis.surface import Surface
from study.records import Trial
from study.reporting.axes import axis_title, axis_values, place_apart
from study.reporting.figures import (
    CHARACTER,
    PANEL,
    RAMP,
    Cell,
    Figure,
    Frame,
    Label,
    Line,
    Mark,
    Scale,
    Style,
    Text,
    Tick,
    flowed,
    path_through,
    round_steps,
    shade,
    thinned,
)
from study.reporting.plots import STATUSES, trial_text
from study.reporting.wording import number, percent

_BASES = (Style("c0", "circle"), Style("c1", "square"))
_ROW, _TALL_ROW = 40.0, 58.0  # between two settings


def draw_importance(found: Sequence[tuple[str, Importances]], width: float) -> Figure:
    """Each setting's share with its interval, a row a setting, in the order of the first of `found`."""
    names = [importance.setting for importance in found[0][1].shares]
    left, right, top = 14 + CHARACTER * max(map(len, names)), width - 26, 60.0
    bottom = top + _ROW * len(names)
    x = Scale(0, 1, left, right)
    rows = {name: top + _ROW * (i + 0.5) for i, name in enumerate(names)}
    lines, marks = [], []
    for i, (basis, (what, importances)) in enumerate(zip(_BASES, found, strict=False)):
        for each in importances.shares:
            y = rows[each.setting] + (10.0 * i - 5.0 if len(found) > 1 else 0.0)
            told = f"{each.setting}, {what}: {percent(each.share, 0)} [{100 * each.low:.0f}, {100 * each.high:.0f}]"
            lines.append(Line(basis, path_through([(x(each.low), y), (x(each.high), y)]), "", told))
            marks.append(Mark(basis, x(each.share), y, told))
    starts = flowed([what for what, _ in found], 14, width)
    return Figure(
        title="Importance of the settings",
        note="Line: lowest to highest over resampled trials",
        x_title="share of the variance between trials",
        y_title="",
        frame=Frame(width, left, right, top, bottom),
        x_ticks=tuple(Tick(x(share), percent(share, 0)) for share in (0, 0.25, 0.5, 0.75, 1)),
        y_ticks=tuple(Tick(y, name) for name, y in rows.items()),
        lines=tuple(lines),
        marks=tuple(marks),
        labels=tuple(
            Label(basis, what, at, 34 + 16 * row, None)
            for basis, (what, _), (at, row) in zip(_BASES, found, starts, strict=False)
        ),
    )


def draw_slice(setting: Setting, trials: Sequence[Trial]) -> Figure:
    """Every trial's value against one setting, marked by status; those without a value stand at the bottom."""
    left, right, top, bottom = 42.0, PANEL - 8, 52.0, 204.0
    reached = [trial.objective for trial in trials if trial.objective is not None]
    y_values = round_steps(min(reached), max(reached))
    y = Scale(y_values[0], y_values[-1], bottom - 14, top)  # below: trials without a value
    x = Scale(0, 1, left + 8, right - 8)
    own = f"{setting.name} = "
    marks = [
        Mark(
            STATUSES[trial.status],
            x(place_apart(setting, trial)),
            bottom - 5 if trial.objective is None else y(trial.objective),
            f"{trial_text(trial).splitlines()[0]}\n{own}{number(trial.params[setting.name])}",
        )
        for trial in trials
    ]
    return Figure(
        title=setting.name,
        note="",
        x_title=axis_title(setting).removeprefix(setting.name).strip(" ()"),
        y_title="validation accuracy",
        frame=Frame(PANEL, left, right, top, bottom, below=42 if axis_title(setting) != setting.name else 24),
        x_ticks=thinned([Tick(x(place), text) for place, text in axis_values(setting)]),
        y_ticks=tuple(Tick(y(value), percent(value, 0)) for value in y_values),
        marks=tuple(marks),
    )


def draw_parallel(settings: Sequence[Setting], trials: Sequence[Trial], width: float) -> Figure:
    """Every trial with a value as a line through its settings down to its value, whose colour it has."""
    shown = sorted(valued(trials), key=lambda trial: (trial.objective or 0.0, -trial.number))
    low, high = shown[0].objective or 0.0, shown[-1].objective or 0.0
    left, right, top = 14 + CHARACTER * max(len(setting.name) for setting in settings), width - 16, 74.0
    bottom = top + _TALL_ROW * len(settings)
    y_values = round_steps(low, high)
    x, value_x = Scale(0, 1, left + 10, right - 10), Scale(y_values[0], y_values[-1], left + 10, right - 10)
    heights = {setting.name: top + _TALL_ROW * i for i, setting in enumerate(settings)}
    lines, marks = [], []
    for trial in shown:
        colour = shade(trial.objective or 0.0, low, high)
        end = (value_x(trial.objective or 0.0), bottom)
        points = [(x(place_apart(setting, trial)), heights[setting.name]) for setting in settings]
        lines.append(Line(Style(colour, "circle"), path_through([*points, end]), "", trial_text(trial)))
        marks.append(Mark(Style(colour, STATUSES[trial.status].mark), *end))
    texts = []
    for setting in settings:
        kept = thinned([Tick(x(place), text) for place, text in axis_values(setting)])
        texts += [Text(tick.text, tick.at, heights[setting.name] + 14, "middle") for tick in kept]
    cells, legend = _legend(low, high, "validation accuracy", 8, width)
    return Figure(
        title="All settings and values",
        note=f"A line a trial with a value, {len(shown)} in all",
        x_title="validation accuracy",
        y_title="",
        frame=Frame(width, left, right, top, bottom),
        x_ticks=thinned([Tick(value_x(value), percent(value, 0)) for value in y_values]),
        y_ticks=tuple(Tick(at, name) for name, at in heights.items()),
        lines=tuple(lines),
        marks=tuple(marks),
        cells=cells,
        texts=(*texts, *legend),
    )


def draw_surface(found: Surface, trials: Sequence[Trial], width: float) -> Figure:
    """The mean value near each place of two settings, and the trials that it comes from."""
    shown = valued(trials)
    y_axis = axis_values(found.up)
    left = 14 + CHARACTER * max(len(text) for _, text in y_axis)
    right, top, bottom = width - 12, 74.0, 74.0 + min(320.0, width - 60)
    x, y = Scale(0, 1, left, right), Scale(0, 1, bottom, top)
    low, high = float(np.nanmin(found.values)), float(np.nanmax(found.values))
    cells, legend = _legend(low, high, "mean of the trials nearby", 8, width)
    marks = [
        Mark(
            Style("ink", STATUSES[trial.status].mark),
            x(place_apart(found.across, trial)),
            y(place_apart(found.up, trial)),
            trial_text(trial),
        )
        for trial in shown
    ]
    return Figure(
        title=f"{found.across.name} and {found.up.name}",
        note=f"Blank: none of the {len(shown)} trials is near",
        x_title=axis_title(found.across),
        y_title="",
        frame=Frame(width, left, right, top, bottom),
        x_ticks=thinned([Tick(x(place), text) for place, text in axis_values(found.across)]),
        y_ticks=tuple(Tick(y(place), text) for place, text in y_axis),
        marks=tuple(marks),
        cells=(*cells, *_cells(found, x, y, low, high)),
        texts=(*legend, Text(axis_title(found.up), 2, top - 14)),
    )


def _cells(found: Surface, x: Scale, y: Scale, low: float, high: float) -> list[Cell]:
    """Neighbours of one colour in a row are one cell."""
    rows, columns = found.values.shape
    cells = []
    for row in range(rows):
        colours = [shade(value, low, high) if np.isfinite(value) else "" for value in found.values[row]]
        gaps = isinstance(found.across.range, Among)  # choices stay apart
        starts = [i for i in range(columns) if gaps or i == 0 or colours[i] != colours[i - 1]]
        for start, end in zip(starts, [*starts[1:], columns], strict=True):
            if colours[start]:
                a, b = x((start + (0.1 if gaps else 0)) / columns), x((end - (0.1 if gaps else 0)) / columns)
                upper, lower = y((row + 1) / rows), y(row / rows)
                cells.append(Cell(a, upper, round(b - a, 1), round(lower - upper, 1), colours[start]))
    return cells


def _legend(low: float, high: float, what: str, left: float, width: float) -> tuple[tuple[Cell, ...], tuple[Text, ...]]:
    """The ramp with its ends' values, below the title."""
    first = percent(low, 1)
    start, step = left + 6 + CHARACTER * len(first), 14.0 if width < PANEL * 2 else 20.0
    end = start + step * len(RAMP)
    cells = tuple(Cell(start + step * i, 25, step, 11, colour) for i, colour in enumerate(RAMP))
    return cells, (Text(first, left, 35), Text(f"{percent(high, 1)} {what}", end + 6, 35))
