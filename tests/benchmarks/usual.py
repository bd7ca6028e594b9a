"""The script that people write without this platform: rotations learned through a DataLoader, one image at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Images
from torchvision.transforms import v2

from methods import views
from methods.encoders import ENCODERS, Encoder
from study.data.dataset import Dataset


class Rotations(Images[tuple[Tensor, int]]):
    """One image after another: augmented by torchvision as `views.augment` would, and turned."""

    def __init__(self, dataset: Dataset, strength: float) -> None:
        self._pixels, self._pool = dataset.pixels, dataset.pool
        size, widest = dataset.pixels.shape[1], views.WIDEST**strength
        self._augment = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomResizedCrop(size, (1 - strength * (1 - views.LEAST_AREA), 1), (1 / widest, widest)),
                v2.ColorJitter(strength * views.BRIGHTNESS, strength * views.CONTRAST, strength * views.SATURATION),
            ]
        )

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = self._augment(torch.from_numpy(self._pixels[self._pool[place]].copy()).permute(2, 0, 1))
        turn = int(torch.randint(4, ()))
        return torch.rot90(image, turn, (1, 2)), turn


def network(dataset: Dataset, dropout: float) -> tuple[Encoder, nn.Module]:
    """A convnet, and the classifier of turns that it is in."""
    encoder = ENCODERS["convnet"](3, dataset.pixels.shape[1], dropout)
    d, h, w = encoder.shape()
    return encoder, nn.Sequential(encoder, nn.Flatten(), nn.Linear(d * h * w, 4))


def loader(dataset: Dataset, strength: float, batch: int, workers: int) -> DataLoader[Any]:
    """The pool's images in batches, prepared by `workers` processes."""
    return DataLoader(
        Rotations(dataset, strength),
        batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )


def steps(
    classifier: nn.Module, optimizer: Optimizer, batches: DataLoader[Any], smoothing: float, autocast: bool
) -> Iterator[float]:
    """Train, pass after pass, and yield each step's loss, read as scripts do for their progress bar."""
    while True:
        for images, turns in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = classifier(images)
            loss = F.cross_entropy(logits.float(), turns, label_smoothing=smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            yield loss.item()
