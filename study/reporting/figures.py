"""Figures: a drawing as plain data, which templates/figure.svg.jinja turns into SVG, and how values find their place.

The SVG is made here, without a plotting library: it is the same drawing in curves.svg and in report.html, readable
without JavaScript and in light and dark, and takes some 10 kB where a bundled plotly takes 4.6 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDE, NARROW = 720.0, 360.0  # user units: a page and a telephone
CHARACTER = 6.8  # user units, a generous mean at 12 px
ROW = 17.0  # between two lines of text
PANEL = 300.0  # user units: one of several small figures side by side
RAMP = ("r0", "r1", "r2", "r3", "r4", "r5", "r6")  # templates/colours.css: from the lowest value to the highest


@dataclass(frozen=True)
class Style:
    """How a curve looks; the mark repeats what the colour says."""

    colour: str
    mark: str
    dashed: bool = False


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in user units."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A path and the band around it; both are SVG path data."""

    style: Style
    path: str
    band: str
    text: str = ""  # what it tells under the pointer


@dataclass(frozen=True)
class Mark:
    """A point drawn."""

    style: Style
    x: float
    y: float
    text: str = ""  # what it tells under the pointer


@dataclass(frozen=True)
class Cell:
    """A filled rectangle, in a colour of the ramp."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Dots:
    """Many points of one style; `path` is SVG path data of lines without length, which round or square ends show."""

    style: Style
    path: str
    space: str = ""  # hundredths of the radius, `x,y,z` of each point: page.js turns them
    view: str = ""  # `x,y` of the middle, radius, yaw and pitch that `path` was drawn from


@dataclass(frozen=True)
class Thumb:
    """A small square image with a frame; `data` is a JPEG in base64."""

    colour: str
    x: float
    y: float
    side: float
    data: str


@dataclass(frozen=True)
class Text:
    """A few words anywhere; `anchor` is start, middle or end."""

    text: str
    x: float
    y: float
    anchor: str = "start"


@dataclass(frozen=True)
class Label:
    """A name beside its mark, and the end of the line that it names."""

    style: Style
    text: str
    x: float
    y: float
    end: tuple[float, float] | None


@dataclass(frozen=True)
class Strand:
    """A curve with all that belongs to it, so that a page can bring it forward among many."""

    line: Line
    marks: tuple[Mark, ...]
    label: Label | None
    text: str  # what it tells: its figures
    lit: bool  # whether it stands out by itself


@dataclass(frozen=True)
class Hover:
    """A strip of the plot and what it tells."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Frame:
    """How wide a drawing is, and where in it the axes lie."""

    width: float
    left: float
    right: float
    top: float
    bottom: float
    below: float = 62.0  # the bottom: values, the axis's title and the note

    @property
    def height(self) -> float:
        """Of the whole drawing."""
        return self.bottom + self.below


@dataclass(frozen=True)
class Figure:
    """A drawing in user units; y grows downwards."""

    title: str
    note: str
    x_title: str
    y_title: str
    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    labels: tuple[Label, ...] = ()
    hovers: tuple[Hover, ...] = ()
    cells: tuple[Cell, ...] = ()
    dots: tuple[Dots, ...] = ()
    thumbs: tuple[Thumb, ...] = ()
    texts: tuple[Text, ...] = ()
    strands: tuple[Strand, ...] = ()


@dataclass(frozen=True)
class Scale:
    """From a value to user units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of `value`, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def shade(value: float, low: float, high: float) -> str:
    """The ramp's colour for a value between two others, in equal steps of value."""
    share = (value - low) / (high - low) if high > low else 0.5
    return RAMP[min(len(RAMP) - 1, max(0, int(share * len(RAMP))))]


def path_through(points: Iterable[tuple[float, float]]) -> str:
    """SVG path data of straight lines through the points; empty without points."""
    return "".join(f"{'L' if i else 'M'}{x:g},{y:g}" for i, (x, y) in enumerate(points))


def round_steps(low: float, high: float) -> list[float]:
    """At most seven round values from below `low` to above `high`; both are fractions."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if math.ceil(high / s) - math.floor(low / s) <= 6)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [round(i * step, 2) for i in range(first, last + 1)]


def thinned(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Those whose texts do not touch, the last one kept."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        if not kept or kept[-1].at - tick.at > CHARACTER * (len(tick.text) + len(kept[-1].text)) / 2 + 4:
            kept.append(tick)
    return tuple(reversed(kept))


def spread(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Heights near the wanted ones, a row apart and inside the plot where they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    row = min(ROW, (bottom - top) / max(1, len(wanted) - 1))
    heights = [0.0] * len(wanted)
    below = top - row
    for i in order:
        below = heights[i] = max(wanted[i], below + row)
    above = bottom + row
    for i in reversed(order):
        above = heights[i] = min(heights[i], above - row)
    return heights


def flowed(texts: Sequence[str], left: float, right: float) -> list[tuple[float, int]]:
    """Where each text of a legend begins, and in which row, when they follow each other as words do."""
    x, row, places = left, 0, []
    for text in texts:
        wide = 30 + CHARACTER * len(text)
        if x + wide > right and x > left:
            x, row = left, row + 1
        places.append((x, row))
        x += wide
    return places


def hovers(told: Sequence[tuple[float, str]], left: float, right: float) -> tuple[Hover, ...]:
    """A strip a place, each reaching half way to its neighbours."""
    edges = [left, *((a + b) / 2 for (a, _), (b, _) in pairwise(told)), right]
    return tuple(Hover(edges[i], edges[i + 1] - edges[i], text) for i, (_, text) in enumerate(told))
