"""Uses: what the best encoder's features are good for, as it is kept: uses.json and uses/shown.safetensors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from study.data.dataset import Dataset
from study.documents import read_bytes, read_json, record
from study.records import Use, Whose
from study.storage.bounds import check_uses
from study.storage.files import damaged, write_whole

_MOST_IMAGES = 2**53  # that a confusion may count: beyond, a real number no longer holds each
USES = "uses.json"
SHOWN = "uses/shown.safetensors"
_MOST_BYTES = 2**28  # of all that is shown
SIDE = 48  # pixels: 2,000 images of 224 would be 300 MB


@dataclass(frozen=True, eq=False)
class Shown:
    """What a person looks at of one encoder. Images are named by their place in the data set."""

    confusion: Tensor  # (K, K) int64: true classes downwards, what the linear head says across
    retrieved: Tensor  # (Q, 1 + R) int64: a query and the images that it finds, nearest first
    mapped: Tensor  # (M,) int64: the images on the maps
    components: Tensor  # (M, C) float32: principal components of their features at unit length
    variance: Tensor  # scalar: the share of variance that the components hold
    plane: Tensor  # (M, 2) float32: t-SNE, within the unit circle
    space: Tensor  # (M, 3) float32: t-SNE, within the unit ball


@dataclass(frozen=True, eq=False)
class Album:
    """The images that are shown."""

    places: Tensor  # (P,) int64, ascending
    pixels: Tensor  # (P, S, S, C) uint8
    labels: Tensor  # (P,) int64

    def images(self, places: Tensor) -> Tensor:
        """Images at any shape of places (...): (..., C, S, S) float in [0, 1]."""
        return self.pixels[self._rows(places)].movedim(-1, -3).float() / 255

    def classes(self, places: Tensor) -> Tensor:
        """Labels at any shape of places."""
        return self.labels[self._rows(places)]

    def _rows(self, places: Tensor) -> Tensor:
        return torch.searchsorted(self.places, places)


def album(dataset: Dataset, shown: Iterable[Shown]) -> Album:
    """The images that any of `shown` names, at most SIDE pixels a side."""
    places = np.unique(np.concatenate([named for each in shown for named in (each.retrieved.ravel(), each.mapped)]))
    pixels = torch.from_numpy(dataset.pixels[places])
    if pixels.shape[1] > SIDE:
        small = F.interpolate(pixels.permute(0, 3, 1, 2).float(), (SIDE, SIDE), mode="area")
        pixels = small.round().byte().permute(0, 2, 3, 1)
    return Album(torch.from_numpy(places), pixels, torch.from_numpy(dataset.labels[places]))


@dataclass(frozen=True, eq=False)
class Uses:
    """All that was found, of the best trial's encoder and of an untrained one."""

    figures: tuple[Use, ...]
    shown: Mapping[Whose, Shown]
    album: Album


def write_uses(folder: Path, uses: Uses) -> None:
    """Write uses/shown.safetensors, then uses.json, whose presence says that both are there."""
    tensors = {f"{whose}.{name}": value for whose, shown in uses.shown.items() for name, value in vars(shown).items()}
    tensors |= {f"album.{name}": value for name, value in vars(uses.album).items()}
    write_whole(folder / SHOWN, save({name: value.contiguous() for name, value in tensors.items()}))
    write_whole(folder / USES, json.dumps([dataclasses.asdict(use) for use in uses.figures], indent=1) + "\n")


def read_uses(folder: Path, trial_id: str) -> Uses | None:
    """What `write_uses` wrote of this trial's encoder; None where it wrote nothing, or of another trial's.

    Raises ValueError naming a damaged file.
    """
    path = folder / USES
    if not path.exists():
        return None
    try:
        figures = tuple(record(Use, fields) for fields in read_json(path, folder))
        check_uses(figures)
        if any(use.trial_id != trial_id for use in figures):
            return None
        path = folder / SHOWN
        tensors = load(read_bytes(path, folder, _MOST_BYTES))
        uses = Uses(
            figures,
            {whose: Shown(**_named(tensors, whose)) for whose in dict.fromkeys(use.encoder for use in figures)},
            Album(**_named(tensors, "album")),
        )
        _check_shown(uses)
        return uses
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise damaged(path, error) from error


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _check_shown(uses: Uses) -> None:
    """Raise ValueError for tensors that do not belong together."""
    album = uses.album
    classes = len(next(iter(uses.shown.values())).confusion)
    images, side = len(album.places), album.pixels.shape[1] if album.pixels.dim() == 4 else 0
    _check(album.places, torch.int64, (images,), 0)
    _check(album.pixels, torch.uint8, (images, min(max(side, 1), SIDE), side, album.pixels.shape[-1]))
    _check(album.labels, torch.int64, (images,), 0, classes - 1)
    if not images or album.pixels.shape[-1] not in (1, 3) or (album.places.diff() <= 0).any():
        raise ValueError("its images are none")
    for shown in uses.shown.values():
        mapped = len(shown.mapped)
        _check(shown.confusion, torch.int64, (classes, classes), 0, _MOST_IMAGES)
        _check(shown.components, torch.float32, (mapped, *shown.components.shape[1:2]), -1e6, 1e6)
        _check(shown.variance, torch.float32, (), 0, 1.001)
        _check(shown.plane, torch.float32, (mapped, 2), -1.001, 1.001)
        _check(shown.space, torch.float32, (mapped, 3), -1.001, 1.001)
        for places, shape in ((shown.retrieved, (*shown.retrieved.shape[:2],)), (shown.mapped, (mapped,))):
            _check(places, torch.int64, shape)
            if not places.numel() or not torch.isin(places, album.places).all():
                raise ValueError("it names images that it does not hold")
        if shown.retrieved.dim() != 2:
            raise ValueError("it holds no rows of images")


def _check(
    values: Tensor, kind: torch.dtype, shape: tuple[int, ...], low: float | None = None, high: float | None = None
) -> None:
    if values.dtype != kind or values.shape != shape:
        raise ValueError(f"it holds {tuple(values.shape)} {values.dtype} where {shape} {kind} belongs")
    inside = torch.ones((), dtype=torch.bool)
    if low is not None:
        inside = inside & (values >= low).all()  # which NaN is not
    if high is not None:
        inside = inside & (values <= high).all()
    if not inside:
        raise ValueError(f"it holds values outside {low} to {high}")
