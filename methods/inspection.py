"""Inspection: what shows a person that a method works, beside its loss. Plain tensors; the platform draws them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

SHOWN = 8  # images in a row of a grid


@dataclass(frozen=True)
class Grid:
    """Rows of images, each row with its name: an image under its original, a cluster, a generator's samples."""

    rows: dict[str, Tensor]  # each (n, C, S, S) float in [0, 1]; n may differ
    over_epochs: bool = False  # True: one row, worth seeing after every epoch


@dataclass(frozen=True)
class Matrix:
    """Counts of what was true, downwards, against what was said, across."""

    counts: Tensor  # (A, B) int64
    rows: tuple[str, ...]
    columns: tuple[str, ...]


Figure = Grid | Matrix


@dataclass(frozen=True)
class Inspection:
    """What a method shows after an epoch: figures by their title, and numbers by their name."""

    figures: dict[str, Figure] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)


def reconstructions(original: Tensor, decoded: Tensor) -> dict[str, Figure]:
    """Images (n, C, S, S) above what became of them."""
    return {"Reconstructions": Grid({"original": original, "decoded": decoded})}


def samples(title: str, images: Tensor) -> dict[str, Figure]:
    """What is made of one noise (n, C, S, S), for all epochs to be set under one another."""
    return {title: Grid({"sample": images}, over_epochs=True)}


def effective_rank(z: Tensor) -> Tensor:
    """How many directions the representations (N, E) fill: (sum of variances)^2 / sum of their squares, a scalar."""
    centred = z - z.mean(0)
    products = centred @ centred.t()  # (N, N), with the covariance's own eigenvalues
    return products.trace().square() / products.square().sum().clamp(min=torch.finfo(z.dtype).tiny)
