"""Display: what the person at the terminal sees while a study runs, and at its end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from methods.space import Value
from study.records import Epoch, Status, Trial
from study.terminal.time_left import duration, steps_left, trials_left
from study.tracking.notes import Point

_COLOURS: Mapping[Status, str] = {"completed": "green", "pruned": "yellow", "failed": "red"}
_BAR = 24  # columns


@dataclass(frozen=True)
class _Running:
    """The trial that a lane is on."""

    number: int
    epoch: Epoch
    began: float  # on the monotonic clock


class Display:
    """A live picture on a terminal, plain lines elsewhere, and when quiet the end alone."""

    def __init__(
        self,
        study_name: str,
        method: str,
        dataset: str,
        trials: int | None,
        budget_seconds: float | None,
        epochs: int,
        lanes: int,
        quiet: bool,
        console: Console | None = None,
    ) -> None:
        """`trials` of `epochs`, or `budget_seconds`, end the search; `console` is standard output unless told."""
        # A forced colour makes no terminal of a file: a log wants lines, not a picture.
        self._console = console or Console(force_interactive=None if sys.stdout.isatty() else False)
        self._title = Text.assemble((study_name, "bold"), f"  {method} on {dataset}")
        self._trials, self._budget, self._epochs, self._lanes = trials, budget_seconds, epochs, lanes
        self._quiet = quiet
        self._kept: list[str] = []  # what a quiet study notes, for its end
        self._began = self._phase_began = self._search_began = time.monotonic()
        self._phase = ""
        self._searching = False
        self._steps: tuple[int, int, str] | None = None  # done, of how many, of what
        self._steps_began = (0.0, 0)  # when the phase's first count came, and what was done by then
        self._running: dict[int, _Running] = {}  # by lane
        self._finished: list[Trial] = []
        self._best: Trial | None = None
        self._live: Live | None = None
        if self._console.is_interactive and not quiet:
            self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_picture()

    def phase(self, text: str) -> None:
        """A part of the study begins."""
        self._phase, self._phase_began = text, time.monotonic()
        self._searching, self._steps = False, None
        self._running.clear()
        if not self._live:
            self._line(text)

    def preparing(self, done: int, total: int) -> None:
        """So many images are prepared."""
        self._count(done, total, "images")

    def fits(self, done: int, total: int) -> None:
        """So many classifiers of the curve are fitted."""
        self._count(done, total, "fits")

    def epoch(self, lane: int, number: int, epoch: Epoch) -> None:
        """Trial `number` finished an epoch on `lane`."""
        self._search()
        known = self._running.get(lane)
        began = known.began if known and known.number == number else time.monotonic() - epoch.seconds
        self._running[lane] = _Running(number, epoch, began)

    def finished(self, trial: Trial) -> None:
        """A trial ended, however it did."""
        self._search()
        self._finished.append(trial)
        running = self._running.get(trial.lane)
        if running and running.number == trial.number:
            del self._running[trial.lane]
        least = -math.inf if self._best is None else self._best.objective or 0.0
        if trial.status != "failed" and trial.objective is not None and trial.objective > least:
            self._best = trial
        what = f"trial {trial.number} {trial.status}"
        if trial.error:
            self.note(f"{what}: {trial.error}")
        elif not self._live:
            _, _, words, left = self._progress()
            so_far = [words, "" if left is None else f"{duration(left)} left"]
            so_far += [f"best {_percent(self._best.objective)} in trial {self._best.number}"] if self._best else []
            epochs = "1 epoch" if trial.epochs == 1 else f"{trial.epochs} epochs"
            spent = f"{_percent(trial.objective)} after {epochs}, {duration(trial.seconds)}"
            self._line(f"{what}: {spent} ({', '.join(filter(None, so_far))})")

    def note(self, text: str) -> None:
        """Say something that stays on the screen; a quiet study says it at its end."""
        if self._quiet:
            self._kept.append(text)
        else:
            self._line(text)

    def summary(self, points: Iterable[Point], best: Trial | None, paths: Iterable[Path | str], command: str) -> None:
        """The end: the curve, the best settings, where the files lie, and the command that shows more."""
        self._end_picture()
        self._quiet = False
        for text in self._kept:
            self._line(text)
        if points := list(points):
            self._console.print(_curve(points))
        if best:
            self._line(f"best trial {best.number}: {_percent(best.objective)}, {_settings(best.params)}")
        for path in paths:
            self._line(str(path))
        self._line(command)

    def _line(self, text: str) -> None:
        # Whole, unwrapped and with brackets as they are, so that commands and paths can be copied.
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _end_picture(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _search(self) -> None:
        if not self._searching:
            self._searching, self._steps, self._search_began = True, None, self._phase_began

    def _count(self, done: int, total: int, unit: str) -> None:
        if self._steps is None:
            self._steps_began = (time.monotonic(), done)
        self._steps = (done, total, unit)

    def _progress(self) -> tuple[float, float, str, float | None]:
        """Done, of how much, both in words, and the seconds left."""
        now = time.monotonic()
        if steps := self._steps:
            done, total, unit = steps
            began, before = self._steps_began
            return done, total, f"{done:,} of {total:,} {unit}", steps_left(now - began, done - before, total - before)
        count = len(self._finished)
        if self._trials is not None:
            running = [now - running.began for running in list(self._running.values())]
            seconds = [trial.seconds for trial in list(self._finished)]
            left = trials_left(seconds, running, max(0, self._trials - count), self._lanes)
            return count, self._trials, f"{count} of {self._trials} trials", left
        budget, used = self._budget or 0.0, now - self._search_began
        words = f"{count} trial{'' if count == 1 else 's'}, {duration(used)} of {duration(budget)}"
        return used, budget, words, max(0.0, budget - used)

    def _picture(self) -> Group:
        """Called by rich's own thread, four times a second."""
        head = Table.grid(expand=True, padding=(0, 2))
        head.add_column()
        head.add_column(justify="right")
        head.add_row(self._title, Text(f"{duration(time.monotonic() - self._began)} so far", "dim"))
        parts: list[Table | Text] = [Text(), head]
        bars = Table.grid(padding=(0, 2))
        if self._steps or self._searching:
            done, total, words, left = self._progress()
            bar = _bar(done, max(total, 1e-9))
            bars.add_row(self._phase, bar, words, "" if left is None else f"{duration(left)} left")
        else:
            bars.add_row(self._phase, Text("…"))
        if self._searching:
            for lane in range(self._lanes):
                bars.add_row(*self._lane(lane))
            counts = {status: sum(trial.status == status for trial in list(self._finished)) for status in _COLOURS}
            tally = ((f"{count} {status}   ", _COLOURS[status] if count else "dim") for status, count in counts.items())
            parts.append(Text.assemble(*tally))
            if best := self._best:
                found = (_percent(best.objective), "bold green")
                parts.append(Text.assemble("best ", found, f" in trial {best.number}: {_settings(best.params)}"))
        return Group(*parts, bars)

    def _lane(self, lane: int) -> tuple[Text, ProgressBar | str, str, str]:
        name, running = Text(f"lane {lane}", "dim"), self._running.get(lane)
        if running is None:
            return name, "", "", ""
        done = running.epoch.epoch
        return (
            name,
            _bar(done, self._epochs),
            f"trial {running.number}, epoch {done} of {self._epochs}",
            _percent(running.epoch.objective),
        )


def _curve(points: Sequence[Point]) -> Table:
    """A row a label count, a column a mode."""
    modes = list(dict.fromkeys(mode for mode, *_ in points))
    cells: dict[tuple[int, float], dict[str, str]] = {}
    for mode, labels, fraction, mean, low, high, _ in points:
        spread = "" if low is None or high is None else f" ± {50 * (high - low):.1f}"
        cells.setdefault((labels, fraction), {})[mode] = f"{100 * mean:.1f}{spread}"
    draws = sorted({n for *_, n in points})
    over = f"{draws[0]}" if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
    title = f"Test accuracy in %, mean ± 95 % t-interval over {over} draws"
    table = Table("labels", "of all", *modes, box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in table.columns:
        column.justify = "right"
    for (labels, fraction), row in sorted(cells.items()):
        table.add_row(f"{labels:,}", f"{100 * fraction:.3g} %", *(row.get(mode, "") for mode in modes))
    return table


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total, done, width=_BAR, complete_style="cyan", finished_style="green")


def _percent(share: float | None) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def _settings(params: Mapping[str, Value]) -> str:
    shown = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in params.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
