"""rotnet: predict by how many quarter turns an image was rotated.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", 2018. The recipe is
that of a study on SVHN (Adam 1e-3, batches of 32, label smoothing 0.1, colour jitter, one rotation an image), which
reached 79.0 % with 500 labels on frozen features. It departs in a learning rate that falls along a cosine. The paper
itself trains on all four copies with SGD: `copies = 4`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import method
from methods.encoders import Encoder
from methods.inspection import Inspection, Matrix
from methods.method import Batch, Method
from methods.space import among
from methods.views import augment

TURNS = 4
EXAMINED = 48  # images, four views of each, when a person is shown which turns are told


class RotNet(Method):
    """A linear classifier of the quarter turn on the whole last feature map, as the recipe's 3x3 convolution is."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """Study A's recipe."""

        batch_size: int = among(32, (32, 64, 128))
        copies: int = 1  # rotations of each image in a step: 1, drawn at random, or all 4

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        if config.copies not in (1, TURNS):
            raise ValueError(f"rotnet's copies must be 1 or {TURNS}, not {config.copies}")
        d, h, w = encoder.shape()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(d * h * w, TURNS))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the predicted turn: loss `rotation`."""
        images = augment(batch.images, self.config.augmentation)
        views, turns = rotate(images, self.config.copies)
        logits = self.head(self.encoder(views))  # (N * copies, 4)
        return {"rotation": F.cross_entropy(logits, turns, label_smoothing=self.config.label_smoothing)}

    def inspect(self, batch: Batch) -> Inspection:
        """Which turn is taken for which, and the share that is told right."""
        views, turns = rotate(batch.images[:EXAMINED], TURNS)
        told = self.head(self.encoder.in_parts(views)).argmax(1)
        counts = (TURNS * turns + told).bincount(minlength=TURNS * TURNS).view(TURNS, TURNS)
        names = tuple(f"{90 * turn}°" for turn in range(TURNS))
        return Inspection(
            {"Rotations: true, down, and predicted, across": Matrix(counts, names, names)},
            {"rotation_accuracy": (told == turns).double().mean().item()},
        )


def rotate(images: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """Turn square images by multiples of 90 degrees.

    With one copy the batch is cut into four equal runs, one a turn: batches are in random order, so each image's turn
    is random, the turns are balanced, and nothing waits for a random index.

    Shape:
        images (N, C, S, S) -> views (N * copies, C, S, S), turns (N * copies,) int64
    """
    parts = [images] * TURNS if copies == TURNS else images.tensor_split(TURNS)
    views = torch.cat([torch.rot90(part, turn, (2, 3)) for turn, part in enumerate(parts)])
    views = views.contiguous(memory_format=torch.channels_last)
    turns = torch.cat([torch.full((len(part),), turn, device=images.device) for turn, part in enumerate(parts)])
    return views, turns
