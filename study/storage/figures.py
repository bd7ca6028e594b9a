"""Figures: what a method showed of itself after each epoch, kept beside its encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from methods.inspection import Figure, Grid, Matrix
from study.storage.folder import Folder
from study.storage.tensors import DamagedError, pack, unpack

_SUFFIX = ".safetensors"


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
        except DamagedError:
            continue
        if about["seed"] == str(seed):
            found[epoch] = {each["title"]: _figure(number, each, tensors) for number, each in _numbered(about)}
    return found


def epochs(folder: Folder) -> dict[int, str]:
    """The names of the files of figures, by epoch."""
    return {int(name.removesuffix(_SUFFIX)): name for name in folder.names() if name.endswith(_SUFFIX)}


def _numbered(about: Mapping[str, str]) -> enumerate[dict[str, Any]]:
    return enumerate(json.loads(about["about"]))


def _figure(number: int, each: dict[str, Any], tensors: Mapping[str, Tensor]) -> Figure:
    if "columns" in each:
        return Matrix(tensors[f"{number}"], tuple(each["rows"]), tuple(each["columns"]))
    rows = {name: tensors[f"{number}.{row}"].float() / 255 for row, name in enumerate(each["rows"])}
    return Grid(rows, each["over_epochs"])
