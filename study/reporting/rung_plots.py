"""Rung plots: how trials learned and where ASHA cut them, and how well each epoch foretold the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from study.analysis.rungs import Ranking
from study.records import Trial
from study.reporting.figures import (
    Figure,
    Frame,
    Label,
    Line,
    Mark,
    Scale,
    Style,
    Tick,
    flowed,
    hovers,
    path_through,
    thinned,
)
from study.reporting.figures import round_steps as round_values
from study.reporting.plots import STATUSES, trial_text
from study.reporting.wording import percent

_Place = Callable[[int], float]
_RUNG = Style("quiet", "diamond", dashed=True)
_BEHIND = ("failed", "pruned", "completed")  # the last is drawn over the others


def draw_learning(trials: Sequence[Trial], rungs: Sequence[int], width: float) -> Figure:
    """Validation accuracy against epochs, a line a trial, marked by status where it ended."""
    shown = sorted((t for t in trials if t.history), key=lambda t: (_BEHIND.index(t.status), t.number))
    values = [epoch.objective for trial in shown for epoch in trial.history]
    last = max(trial.epochs for trial in shown)
    left, right, top, bottom = 48.0, width - 12, 68.0, 290.0
    y_values = round_values(min(values), max(values))
    y = Scale(y_values[0], y_values[-1], bottom, top)
    x = _epochs(last, left, right)
    lines, marks = [], []
    for trial in shown:
        style = STATUSES[trial.status]
        points = [(x(epoch.epoch), y(epoch.objective)) for epoch in trial.history]
        lines.append(Line(Style(style.colour, style.mark), path_through(points), ""))
        marks.append(Mark(style, *points[-1], trial_text(trial)))
    names = [status for status in STATUSES if any(trial.status == status for trial in shown)]
    starts = flowed(names, left + 12, right)
    return Figure(
        title="Learning, and where trials were cut",
        note="Marked where a trial ended" + ("; dashed: the rungs" if rungs else ""),
        x_title="epochs (log scale)",
        y_title="validation accuracy",
        frame=Frame(width, left, right, top, bottom),
        x_ticks=_epoch_ticks(last, rungs, x),
        y_ticks=tuple(Tick(y(value), percent(value, 0)) for value in y_values),
        lines=(*_rung_lines(rungs, x, top, bottom), *lines),
        marks=tuple(marks),
        labels=tuple(Label(STATUSES[name], name, at, 52, None) for name, (at, _) in zip(names, starts, strict=True)),
    )


def draw_rankings(rankings: Sequence[Ranking], rungs: Sequence[int], width: float) -> Figure | None:
    """Rank correlation of each epoch with the last, with its interval; None where no epoch has an order."""
    known = [(r, r.spearman, r.low, r.high) for r in rankings]
    places = [(r, rho, low, high) for r, rho, low, high in known if None not in (rho, low, high)]
    if not places:
        return None
    left, right, top, bottom = 48.0, width - 12, 50.0, 250.0
    last = rankings[-1].epoch + 1
    x = _epochs(last, left, right)
    lowest = min(low or 0.0 for _, _, low, _ in places)
    y_values = (0.0, 0.25, 0.5, 0.75, 1.0) if lowest >= 0 else (-1.0, -0.5, 0.0, 0.5, 1.0)
    y = Scale(y_values[0], 1.0, bottom, top)
    style = STATUSES["completed"]
    middle = [(x(r.epoch), y(rho or 0.0)) for r, rho, _, _ in places]
    upper = [(x(r.epoch), y(high or 0.0)) for r, _, _, high in places]
    lower = [(x(r.epoch), y(low or 0.0)) for r, _, low, _ in places]
    told = [(x(r.epoch), _ranking_text(r)) for r, *_ in places]
    return Figure(
        title="How well each epoch ranked the last",
        note=f"{rankings[0].trials} completed trials; band: 95 % bootstrap interval",
        x_title="epochs (log scale)",
        y_title="Spearman's rank correlation",
        frame=Frame(width, left, right, top, bottom),
        x_ticks=_epoch_ticks(last, rungs, x),
        y_ticks=tuple(Tick(y(value), f"{value:g}".replace("-", "−")) for value in y_values),
        lines=(
            *_rung_lines(rungs, x, top, bottom),
            Line(style, path_through(middle), path_through(upper + lower[::-1])),
        ),
        marks=tuple(Mark(style, *place) for place in middle),
        hovers=hovers(told, left, right),
    )


def _epochs(last: int, left: float, right: float) -> _Place:
    """Where an epoch stands on the axis."""
    scale = Scale(0.0, math.log(last), left + 14, right - 14)
    return lambda epoch: scale(math.log(epoch))


def _epoch_ticks(last: int, rungs: Sequence[int], x: _Place) -> tuple[Tick, ...]:
    doubled = [2**i for i in range(int(math.log2(last)) + 1)]
    return thinned([Tick(x(epoch), str(epoch)) for epoch in sorted({*doubled, *rungs, last})])


def _rung_lines(rungs: Sequence[int], x: _Place, top: float, bottom: float) -> list[Line]:
    return [Line(_RUNG, path_through([(x(epoch), top), (x(epoch), bottom)]), "") for epoch in rungs]


def _ranking_text(ranking: Ranking) -> str:
    return (
        f"epoch {ranking.epoch}: ρ = {ranking.spearman:.2f} [{ranking.low:.2f}, {ranking.high:.2f}], "
        f"n = {ranking.trials}\nleader of four kept: {percent(ranking.kept, 0)}"
    ).replace("-", "−")
