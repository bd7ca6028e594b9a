"""Use plots: maps of features in two and three dimensions, and a matrix of what is taken for what."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from study.reporting.figures import (
    CHARACTER,
    PANEL,
    ROW,
    Cell,
    Dots,
    Figure,
    Frame,
    Label,
    Style,
    Text,
    Thumb,
    Tick,
    flowed,
    shade,
)
from study.reporting.gallery import jpeg

_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6")  # templates/colours.css
_MARKS = ("circle", "square")
COLOURED = len(_COLOURS) * len(_MARKS)  # classes; the further ones are grey
MOST_CONFUSED = 20  # classes of a matrix
_THUMBS, _THUMB = 24, 17.0  # how many, and user units a side
_BAR = 4.0  # user units: height of the bar below a count
_YAW, _PITCH = 0.6, 0.35  # radians, from which three dimensions are first seen; page.js turns them
_NAME = 12  # characters


def draw_plane(title: str, points: Tensor, labels: Tensor, classes: Sequence[str], images: Tensor) -> Figure:
    """Points (M, 2) in the unit circle, coloured by class, with the images (M, C, S, S) of a few that stand apart."""
    middle, radius = _frame()
    x = middle[0] + radius * points[:, 0]
    y = middle[1] - radius * points[:, 1]
    apart = _apart(points, _THUMBS)
    thumbs = tuple(
        Thumb(
            _style(int(labels[i])).colour,
            round(float(x[i]) - _THUMB / 2, 1),
            round(float(y[i]) - _THUMB / 2, 1),
            _THUMB,
            base64.b64encode(jpeg(images[i])).decode(),
        )
        for i in apart
    )
    dots = [Dots(_style(c), _path(x[labels == c], y[labels == c])) for c in _present(labels)]
    return _map(title, f"{len(points):,} test images", dots, thumbs, labels, classes)


def draw_space(title: str, points: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """Points (M, 3) in the unit ball, seen from one side; a page turns them."""
    middle, radius = _frame()
    sine, cosine = math.sin(_YAW), math.cos(_YAW)
    across = points[:, 0] * cosine + points[:, 2] * sine
    away = points[:, 2] * cosine - points[:, 0] * sine
    up = points[:, 1] * math.cos(_PITCH) - away * math.sin(_PITCH)
    x, y = middle[0] + radius * across, middle[1] - radius * up
    dots = [
        Dots(
            _style(c),
            _path(x[labels == c], y[labels == c]),
            " ".join(f"{100 * a:.0f},{100 * b:.0f},{100 * d:.0f}" for a, b, d in points[labels == c].tolist()),
            f"{middle[0]:g},{middle[1]:g},{radius:g},{_YAW},{_PITCH}",
        )
        for c in _present(labels)
    ]
    return _map(title, "drag to turn", dots, (), labels, classes)


def draw_confusion(counts: Tensor, classes: Sequence[str], width: float) -> Figure:
    """True classes downwards, what was said across; at most MOST_CONFUSED classes, those with the most errors."""
    errors = counts.sum(1) - counts.diag()
    chosen = sorted(errors.argsort(descending=True, stable=True)[:MOST_CONFUSED].tolist())
    table = counts[chosen][:, chosen]
    shares = table / counts[chosen].sum(1, keepdim=True).clamp_min(1)
    names = [_short(classes[c]) for c in chosen]
    longest = max(len(name) for name in names)
    left, right, top = 14 + CHARACTER * longest, min(width - 12, 56 + 40.0 * len(names) + CHARACTER * longest), 62.0
    side = (right - left) / len(names)
    height = min(side, 30.0)
    crowded = side < CHARACTER * max(3, longest) + 2
    cells, texts = [], []
    for r, row in enumerate(shares.tolist()):
        for c, share in enumerate(row):
            count = int(table[r, c])
            if not count:
                continue
            a, b = round(left + c * side, 1), round(top + r * height, 1)
            wide = round((side - 4) * max(share, 0.04), 1)
            cells.append(Cell(a + 2, round(b + height - _BAR - 2, 1), wide, _BAR, shade(share, 0, 1)))
            texts.append(Text(f"{count:,}", round(a + side / 2, 1), round(b + height / 2 + 1, 1), "middle"))
    across = [f"{i + 1}" for i in range(len(names))] if crowded else names
    down = [f"{name} {i + 1}" if crowded else name for i, name in enumerate(names)]
    texts += [Text(n, round(left + (i + 0.5) * side, 1), top - 8, "middle") for i, n in enumerate(across)]
    texts += [Text(n, left - 6, round(top + (i + 0.5) * height + 4, 1), "end") for i, n in enumerate(down)]
    bottom = top + height * len(names)
    return Figure(
        title="Classes downwards, what is said across",
        note="Counts of test images; a bar is the share of its row",
        x_title="",
        y_title="",
        frame=Frame(width, left, left, top, bottom, below=30),
        x_ticks=(),
        y_ticks=(),
        cells=tuple(cells),
        texts=tuple(texts),
    )


def _frame() -> tuple[tuple[float, float], float]:
    """The middle and the radius of a map, in user units."""
    return (PANEL / 2, 30 + PANEL / 2), PANEL / 2 - 12


def _map(
    title: str, note: str, dots: Sequence[Dots], thumbs: Sequence[Thumb], labels: Tensor, classes: Sequence[str]
) -> Figure:
    present = [c for c in _present(labels) if c < COLOURED]
    names = [_short(classes[c]) for c in present] + (["others"] if len(classes) > COLOURED else [])
    styles = [_style(c) for c in present] + ([_style(COLOURED)] if len(classes) > COLOURED else [])
    begin = 48 + PANEL
    places = flowed(names, 8, PANEL)
    legend = [Label(s, n, x, begin + ROW * row, None) for s, n, (x, row) in zip(styles, names, places, strict=True)]
    bottom = begin + ROW * (places[-1][1] + 1)
    no_ticks: tuple[Tick, ...] = ()
    return Figure(
        title=title,
        note=note,
        x_title="",
        y_title="",
        frame=Frame(PANEL, 0, 0, 30, 30, below=bottom - 12),
        x_ticks=no_ticks,
        y_ticks=no_ticks,
        labels=tuple(legend),
        dots=tuple(dots),
        thumbs=tuple(thumbs),
    )


def _style(place: int) -> Style:
    if place >= COLOURED:
        return Style("quiet", "circle")
    return Style(_COLOURS[place % len(_COLOURS)], _MARKS[place // len(_COLOURS)])


def _present(labels: Tensor) -> list[int]:
    """The classes that are there, those without a colour of their own first, so that they lie beneath."""
    return sorted(set(labels.tolist()), key=lambda c: (c < COLOURED, c))


def _path(x: Tensor, y: Tensor) -> str:
    return "".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _apart(points: Tensor, count: int) -> list[int]:
    """Points far from each other, each the farthest from those before it."""
    chosen = [0]
    distance = torch.linalg.norm(points - points[0], dim=1)
    while len(chosen) < min(count, len(points)) and distance.max() > 0:
        chosen.append(int(np.argmax(distance.numpy())))
        distance = torch.minimum(distance, torch.linalg.norm(points - points[chosen[-1]], dim=1))
    return chosen


def _short(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"
