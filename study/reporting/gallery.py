"""Gallery: what the best trial's method showed of itself, as images and tables of the report."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from methods.inspection import Figure, Grid, Matrix
from study.records import Trial
from study.reporting.pages import Photo, Section, Table

_GAP = 2  # white pixels between images
_LEAST_SIDE = 56  # pixels of the drawing: smaller images are enlarged by whole numbers
_MOST_ROWS = 8  # epochs of a figure that is shown over epochs
_FOLDER = "figures"
_MOST_NAME = 80  # letters of a file's name


def gallery(trial: Trial, shown: Mapping[int, Mapping[str, Figure]]) -> Section | None:
    """A section of everything that was shown in the best epoch of `trial`; `shown` holds its figures by epoch."""
    if not trial.history:
        return None
    best = max(trial.history, key=lambda epoch: (epoch.objective, -epoch.epoch)).epoch
    photos, tables = [], []
    for title, figure in shown.get(best, {}).items():
        if isinstance(figure, Matrix):
            tables.append(_matrix(title, figure))
        else:
            photos.append(_photo(title, _over_epochs(title, figure, shown) if figure.over_epochs else figure))
    numbers = _numbers(trial)
    if numbers is not None:
        tables.append(numbers)
    if not photos and not tables:
        return None
    text = (
        f"Of trial {trial.number} after epoch {best}, whose encoder is kept; the images are from the validation set. "
        "The effective rank says how many directions of the feature space the validation images fill: near 1 the "
        "features have collapsed."
    )
    return Section("What the method learned", (text,), tuple(tables), photos=tuple(photos))


def _over_epochs(title: str, last: Grid, shown: Mapping[int, Mapping[str, Figure]]) -> Grid:
    """The same figure after several epochs, a row each: those that look as the last one does."""
    (images,) = last.rows.values()
    found: dict[int, Tensor] = {}
    for epoch, figures in sorted(shown.items()):
        figure = figures.get(title)
        if isinstance(figure, Grid) and figure.over_epochs:
            (row,) = figure.rows.values()
            if row.shape[1:] == images.shape[1:]:
                found[epoch] = row
    epochs = list(found)
    chosen = sorted({epochs[round(i)] for i in np.linspace(0, len(epochs) - 1, _MOST_ROWS)})
    return Grid({f"epoch {epoch}": found[epoch] for epoch in chosen})


def _photo(title: str, grid: Grid) -> Photo:
    name = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_MOST_NAME].strip("-") or "figure"
    caption = f"{title}. Rows from the top: {', '.join(grid.rows)}."
    return Photo(caption, png(tiled(list(grid.rows.values()))), f"{_FOLDER}/{name}.png")


def tiled(rows: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Rows of images (n, C, S, S) in [0, 1] on white, as one (H, W, 3) uint8 image; rows may differ in length."""
    side = rows[0].shape[-1]
    step = side + _GAP
    widest = max(len(row) for row in rows)
    sheet = torch.ones(3, step * len(rows) - _GAP, step * widest - _GAP)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            sheet[:, r * step : r * step + side, c * step : c * step + side] = image  # a grey image fills all three
    times = max(1, -(-_LEAST_SIDE // side))
    pixels: NDArray[np.uint8] = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels.repeat(times, 0).repeat(times, 1)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image (H, W, 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def jpeg(image: Tensor) -> bytes:
    """An image (C, S, S) in [0, 1] as a JPEG file: a thumbnail takes 1 kB."""
    pixels = (image.expand(3, -1, -1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _matrix(title: str, matrix: Matrix) -> Table:
    counts = [[int(value) for value in row] for row in matrix.counts]
    rows = tuple((name, *(f"{count:,}" for count in row)) for name, row in zip(matrix.rows, counts, strict=True))
    return Table((title, *matrix.columns), rows)


def _numbers(trial: Trial) -> Table | None:
    """What the method told of itself, epoch by epoch."""
    names = list(dict.fromkeys(name for epoch in trial.history for name in epoch.numbers))
    if not names:
        return None
    rows = tuple(
        (str(epoch.epoch), *(f"{epoch.numbers[name]:.3g}" if name in epoch.numbers else "" for name in names))
        for epoch in trial.history
    )
    return Table(("epoch", *(name.replace("_", " ") for name in names)), rows)
