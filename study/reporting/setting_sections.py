"""What a report says of a search's settings: what each accounts for, and trials against one, all or two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from methods.space import Among
from study.analysis.importance import RESAMPLES, Importance, Importances
from study.analysis.settings import Setting, valued
from study.analysis.surface import REACH, WIDTH, surface
from study.records import Trial
from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Picture, Section, Table
from study.reporting.setting_plots import draw_importance, draw_parallel, draw_slice, draw_surface
from study.reporting.wording import listed, percent

_PARTS = ("low third", "middle third", "high third")


def importance(reached: Importances, after: Importances | None, epoch: int | None, trials: Sequence[Trial]) -> Section:
    """The settings' shares of the variance between trials' best values, and of their values after an early epoch."""
    found = [("best value of each trial", reached), *([(f"after epoch {epoch}", after)] if after is not None else [])]
    shares = [{each.setting: each for each in importances.shares} for _, importances in found]
    rows = tuple((name, *(_share(by[name]) for by in shares)) for name in shares[0])
    completed = sum(trial.status == "completed" for trial in trials)
    pruned = sum(trial.status == "pruned" for trial in trials)
    explained = [f"{percent(importances.explained, 0)} ({what})" for what, importances in found]
    paragraphs = (
        "The share of the variance between trials that each setting accounts for by itself, over its whole range: "
        "functional ANOVA, as Optuna has it. What is missing to 100 % is their interactions. In brackets: lowest and "
        f"highest share over {RESAMPLES} resampled sets of the trials.",
        f"Optuna would count the {completed} completed trials alone. Here all {reached.trials} with a value count"
        + (f", the {pruned} pruned ones with the best that they had when they were cut" if pruned else "")
        + (f"; beside it, every trial as it stood after epoch {epoch}, all trained equally long" if after else "")
        + ". Failed trials do not count.",
        f"Of the variance between trials that it has not seen, such a forest explains {listed(explained)}. "
        "The less that is, the less the shares mean"
        + ("; here it is nothing, so they are noise." if reached.explained <= 0 else "."),
    )
    table = Table(("setting", *(f"share, {what}" for what, _ in found)), rows)
    picture = Picture(draw_importance(found, WIDE), draw_importance(found, NARROW))
    return Section("Which settings mattered", paragraphs, (table,), (picture,))


def one_setting(settings: Sequence[Setting], trials: Sequence[Trial]) -> Section:
    """A panel a setting, and what its parts reached."""
    paragraph = (
        "A panel a setting: every trial's best value against it, completed trials as circles, pruned "
        "ones as triangles, failed ones as crosses. The other settings differ from trial to trial as well, and the "
        "search tried promising places more often: many trials at a place are its choice, not a finding."
    )
    rows = tuple(row for setting in settings for row in _parts(setting, valued(trials)))
    table = Table(("setting", "part of its range", "trials", "median", "best"), rows)
    panels = tuple(draw_slice(setting, trials) for setting in settings)
    return Section("One setting at a time", (paragraph,), (table,), panels=panels)


def all_settings(settings: Sequence[Setting], trials: Sequence[Trial]) -> Section:
    """Parallel coordinates of every trial with a value."""
    paragraph = (
        "A line a trial, from its settings down to the best value that it reached, which also gives the line its "
        "colour. The table of the best trials above has the numbers."
    )
    picture = Picture(draw_parallel(settings, trials, WIDE), draw_parallel(settings, trials, NARROW))
    return Section("All settings at once", (paragraph,), pictures=(picture,))


def two_settings(across: Setting, up: Setting, trials: Sequence[Trial]) -> Section:
    """The mean of the trials nearby, over two settings."""
    found = surface(across, up, trials)
    rows, columns = found.values.shape
    row, column = divmod(int(np.nanargmax(found.values)), columns)
    best, near = float(np.nanmax(found.values)), float(np.isfinite(found.values).mean())
    paragraphs = (
        f"{across.name} across, {up.name} up, and as colour the mean best value of the trials nearby, weighted by "
        f"a Gaussian of {percent(WIDTH, 0)} of each range, so a peak looks lower than it is. Where the nearest trial "
        f"is more than {percent(REACH, 0)} away nothing is drawn. The other settings differ from trial to trial too.",
        f"The highest mean is {percent(best)}, near {_near(across, (column + 0.5) / columns)} and "
        f"{_near(up, (row + 0.5) / rows)}. {percent(near, 0)} of the plane has a trial nearby.",
    )
    picture = Picture(draw_surface(found, trials, WIDE), draw_surface(found, trials, NARROW))
    return Section("The two settings that matter most", paragraphs, pictures=(picture,))


def _share(each: Importance) -> str:
    return f"{percent(each.share, 0)} [{100 * each.low:.0f}, {100 * each.high:.0f}]"


def _parts(setting: Setting, values: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    """A choice, or a third of a range, a row; those that no trial lies in are left out."""
    if isinstance(setting.range, Among):
        names = [str(choice) for choice in setting.range.choices]
    elif setting.range.high > setting.range.low:
        ends = [f"{setting.value(i / len(_PARTS)):.2g}" for i in range(len(_PARTS) + 1)]
        names = [f"{part}, {ends[i]} to {ends[i + 1]}" for i, part in enumerate(_PARTS)]
    else:
        names = [f"{setting.range.low:g}"]
    for i, name in enumerate(names):
        inside = [
            t for t in values if min(int(setting.place(t.params[setting.name]) * len(names)), len(names) - 1) == i
        ]
        reached = [trial.objective for trial in inside if trial.objective is not None]
        if reached:
            yield setting.name, name, str(len(reached)), percent(float(np.median(reached))), percent(max(reached))


def _near(setting: Setting, place: float) -> str:
    if isinstance(setting.range, Among):
        return f"{setting.name} = {setting.range.choices[int(place * len(setting.range.choices))]}"
    return f"{setting.name} = {setting.value(place):.2g}"
