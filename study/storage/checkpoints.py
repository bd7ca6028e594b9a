"""Checkpoints: safetensors for tensors, JSON for the rest; each written whole, then renamed. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from methods.inspection import Figure, Grid, Matrix
from study.records import Epoch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINTS, BEST = "checkpoints", "best"  # folders: of a study's checkpoints, and there of the best trial
REPEAT = "repeat-"  # and of the best trial's settings with other seeds: repeat-1, repeat-2 ...
STATE = "state.safetensors"
ENCODER = "encoder.safetensors"
FIGURES = "figures"


def save(folder: Path, method: nn.Module, optimizer: torch.optim.Optimizer, history: list[Epoch]) -> None:
    """Write everything that training needs to go on after the last epoch of `history`."""
    tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    about = {
        "history": json.dumps([dataclasses.asdict(epoch) for epoch in history]),
        "optimizer": json.dumps(scalars),
    }
    _write(folder / STATE, tensors, about)


def restore(folder: Path, method: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    """Load what `save` wrote, if anything, into `method` and `optimizer`; return the epochs that were finished."""
    path = folder / STATE
    if not path.exists():
        return []
    tensors, about = _read(path)
    weights = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    method.load_state_dict(weights)
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            weight = parameters[int(index)]
            # Fused optimizers walk memory: a moment must lie in memory as its weight does.
            aligned = torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
            state.setdefault(int(index), {})[key] = aligned
    for name, scalar in json.loads(about["optimizer"]).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = scalar
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return [Epoch(**epoch) for epoch in json.loads(about["history"])]


def save_encoder(folder: Path, encoder: nn.Module, about: DataclassInstance) -> None:
    """Write an encoder's weights and buffers, with what built it."""
    _write(folder / ENCODER, encoder.state_dict(), {"about": json.dumps(dataclasses.asdict(about))})


def load_encoder(folder: Path, encoder: nn.Module) -> None:
    """Load what `save_encoder` wrote into an encoder of the same architecture."""
    tensors, _ = _read(folder / ENCODER)
    encoder.load_state_dict(tensors)


def save_figures(folder: Path, epoch: int, figures: Mapping[str, Figure]) -> None:
    """Write what a method showed after an epoch: images as bytes, counts as they are."""
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
    _write(folder / FIGURES / f"{epoch:03d}.safetensors", tensors, {"about": json.dumps(about)})


def read_figures(folder: Path) -> dict[int, dict[str, Figure]]:
    """What `save_figures` wrote, by epoch."""
    found: dict[int, dict[str, Figure]] = {}
    for path in sorted((folder / FIGURES).glob("*.safetensors")):
        tensors, about = _read(path)
        found[int(path.stem)] = {
            each["title"]: Matrix(tensors[f"{number}"], tuple(each["rows"]), tuple(each["columns"]))
            if "columns" in each
            else Grid(
                {name: tensors[f"{number}.{row}"].float() / 255 for row, name in enumerate(each["rows"])},
                each["over_epochs"],
            )
            for number, each in enumerate(json.loads(about["about"]))
        }
    return found


def move_best(source: Path, destination: Path) -> None:
    """Make the encoder and the figures in folder `source` those in folder `destination`."""
    destination.mkdir(parents=True, exist_ok=True)
    (source / ENCODER).replace(destination / ENCODER)
    shutil.rmtree(destination / FIGURES, ignore_errors=True)
    if (source / FIGURES).exists():
        (source / FIGURES).replace(destination / FIGURES)


def _write(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    # safetensors wants plain row-major tensors; the memory format comes back when they are copied into the module.
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, about)
    temporary.replace(path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        names = file.keys()  # an opened file is no mapping
        return {name: file.get_tensor(name) for name in names}, file.metadata()
