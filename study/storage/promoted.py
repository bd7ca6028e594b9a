"""The encoder that is kept of a finished pretraining, with its figures: checkpoints/best and checkpoints/repeat-N."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from methods.inspection import Figure
from study.records import Epoch
from study.storage import figures
from study.storage.checkpoints import FIGURES, check_plan, damaged_line, read_encoder, shapes
from study.storage.folder import Folder
from study.storage.tensors import DamagedError, unpack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ENCODER = "encoder.safetensors"


def promote(source: Folder, destination: Folder, history: Sequence[Epoch]) -> None:
    """Make the encoder of the best epoch of `history` and its figures those of `destination`; `source` stays as it is.

    Killed at any point and called again, it ends the same. In between, `owner` tells whose encoder is there, and
    `read_figures` shows no other's figures. Raises ValueError where the encoder is damaged or missing.
    """
    _place(destination, read_encoder(source, history), _figures(source, len(history)))


def adopt(source: Folder, destination: Folder, plan: DataclassInstance, epochs: int) -> bool:
    """Make what was promoted to `source`, from a pretraining by this very plan, that of `destination` too.

    False where `source` holds none, another's, or one that cannot be read. Figures of later than so many epochs stay.
    """
    try:
        encoder, shown = source.read(ENCODER), _figures(source, epochs)
        check_plan(unpack(encoder)[1], plan)
    except (OSError, ValueError):  # whatever is wrong with another's study, ours goes on without
        return False
    _place(destination, encoder, shown)
    return True


def _figures(folder: Folder, epochs: int) -> dict[str, bytes]:
    """By name, those of the first so many epochs."""
    kept = folder / FIGURES
    return {name: kept.read(name) for epoch, name in figures.epochs(kept).items() if epoch <= epochs}


def _place(destination: Folder, encoder: bytes, shown: Mapping[str, bytes]) -> None:
    old = destination / FIGURES
    for name, content in shown.items():
        old.write(name, content)
    destination.write(ENCODER, encoder)  # last, for it says whose all this is
    for name in figures.epochs(old).values():
        if name not in shown:
            old.remove(name)


def owner(folder: Folder) -> int | None:
    """The seed of the plan whose encoder was promoted to a folder; None where there is none that is sound."""
    try:
        _, about = unpack(folder.read(ENCODER))
        return int(json.loads(about["about"])["seed"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):  # a DamagedError, or another's file
        return None


def load_encoder(folder: Folder, encoder: nn.Module) -> None:
    """Load a promoted encoder into one of the same architecture. Raises ValueError where it is damaged."""
    try:
        tensors, _ = unpack(folder.read(ENCODER))
        if shapes(tensors) != shapes(encoder.state_dict()):
            raise DamagedError("it is of another architecture")
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{damaged_line(folder / ENCODER, error)}; remove it and run again with --resume") from error
    encoder.load_state_dict(tensors)


def read_figures(folder: Folder) -> dict[int, dict[str, Figure]]:
    """What the method of a promoted encoder showed, by epoch."""
    seed = owner(folder)
    return {} if seed is None else figures.read_figures(folder / FIGURES, seed)
