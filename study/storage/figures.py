"""Figures: what a method showed of itself after each epoch, kept beside its encoder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.inspection import Figure, Grid, Matrix
from study.documents import record
from study.storage.folder import Folder
from study.storage.tensors import pack, unpack

_SUFFIX = ".safetensors"
_NAME = re.compile(r"([0-9]{3,9})\.safetensors")


def save_figures(folder: Folder, epoch: int, figures: Mapping[str, Figure], seed: int) -> None:
    """Write what a method showed after an epoch: images as bytes, counts as they are. `seed` is its plan's."""
    if not figures:
        return
    tensors: dict[str, Tensor] = {}
    about: list[dict[str, Any]] = []
    for number, (title, figure) in enumerate(figures.items()):
        if isinstance(figure, Grid):
            for row, images in enumerate(figure.rows.values()):
                tensors[f"{number}.{row}"] = (images.clamp(0, 1) * 255).round().byte()
            about.append({"title": title, "rows": list(figure.rows), "over_epochs": figure.over_epochs})
        else:
            tensors[f"{number}"] = figure.counts
            about.append({"title": title, "rows": figure.rows, "columns": figure.columns})
    folder.write(f"{epoch:03d}{_SUFFIX}", pack(tensors, {"about": json.dumps(about), "seed": str(seed)}))


def read_figures(folder: Folder, seed: int) -> dict[int, dict[str, Figure]]:
    """The figures of a plan with this seed, by epoch; without those that are damaged, for the report has the rest."""
    found: dict[int, dict[str, Figure]] = {}
    for epoch, name in epochs(folder).items():
        try:
            tensors, about = unpack(folder.read(name))
            if about["seed"] == str(seed):
                told = [record(_Told, fields) for fields in json.loads(about["about"])]
                found[epoch] = {each.title: _figure(number, each, tensors) for number, each in enumerate(told)}
        except (ValueError, KeyError, TypeError, RecursionError):  # a DamagedError, or written by another
            continue
    return found


def epochs(folder: Folder) -> dict[int, str]:
    """The names of the files of figures, by epoch."""
    return {int(match[1]): match[0] for match in map(_NAME.fullmatch, folder.names()) if match}


@dataclass(frozen=True)
class _Told:
    """What a file says of one figure: with columns it is a matrix, else a grid."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    over_epochs: bool = False


def _figure(number: int, told: _Told, tensors: Mapping[str, Tensor]) -> Figure:
    """Raises ValueError where the tensors are not what is told of them."""
    if told.columns is not None:
        counts = tensors[f"{number}"]
        if counts.shape != (len(told.rows), len(told.columns)) or counts.is_floating_point() or counts.is_complex():
            raise ValueError(f"no counts: {tuple(counts.shape)} {counts.dtype}")
        return Matrix(counts, told.rows, told.columns)
    rows = {name: tensors[f"{number}.{row}"] for row, name in enumerate(told.rows)}
    shapes = {images.shape[1:] for images in rows.values()}
    if len(shapes) != 1 or (told.over_epochs and len(rows) > 1) or not all(map(_are_images, rows.values())):
        raise ValueError(f"no rows of images: {shapes}")
    return Grid({name: images.float() / 255 for name, images in rows.items()}, told.over_epochs)


def _are_images(images: Tensor) -> bool:
    if images.dtype != torch.uint8 or images.dim() != 4 or not images.numel():
        return False
    _, channels, height, width = images.shape
    return channels in (1, 3) and height == width
