"""The contract of a pretraining method: what it reads, what it minimises, what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from methods.encoders import Encoder
from methods.inspection import Inspection
from methods.space import among, between

HIDDEN = -1  # the label of an image whose label the budget does not pay for


@dataclass(frozen=True)
class Batch:
    """One step's images, without any augmentation: a method makes its own views."""

    images: Tensor  # (N, C, H, W) float in [0, 1], on the device, channels_last
    index: Tensor  # (N,) int64, the image's place in the training pool
    labels: Tensor  # (N,) int64, HIDDEN outside the label budget; only `supervised` may read them


@dataclass(frozen=True)
class Config:
    """The five hyperparameters that every study searches; a method overrides defaults and adds its own."""

    batch_size: int = among(64, (32, 64, 128, 256))
    lr: float = between(1e-3, 1e-4, 1e-2, log=True)
    dropout: float = between(0.3, 0.0, 0.6)  # in the encoder while it pretrains, and in the head
    augmentation: float = between(0.5, 0.0, 1.0)  # strength of methods.views, 0 is none
    label_smoothing: float = between(0.1, 0.0, 0.3)  # in a pretext that classifies, and in the head


Embed = Callable[[], Tensor]  # features of the whole pool in pool order, (M, D), the same on every worker


class Method(nn.Module):
    """A pretraining method. `forward` is what DistributedDataParallel wraps, so all of a step happens there.

    Its features are read at the encoder's own tap, unless it says otherwise in its docstring: each encoder names the
    stage and why, and no method was found to want another.
    """

    Config: ClassVar[type[Config]] = Config
    reads_labels: ClassVar[bool] = False  # True: it trains on the labelled images alone, and may read Batch.labels
    trains: ClassVar[bool] = True  # False: the encoder stays as it is drawn, and there is nothing to step
    encoder: Encoder  # what is kept

    def __init__(self, config: Any, encoder: Encoder, classes: int) -> None:
        """`config` is an instance of `self.Config`; `classes` is the number of labels, for `supervised` alone."""
        super().__init__()
        self.config = config
        self.encoder = encoder

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, scalars, already weighted: training minimises their sum."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def optimizer(self) -> Optimizer:
        """One optimizer over all weights; Adam unless the method's source says otherwise."""
        return torch.optim.Adam(self.parameters(), lr=self.config.lr, fused=True)

    def rate(self, progress: float) -> float:
        """Share of every learning rate at `progress` in [0, 1] of the training: half a cosine, down to nothing."""
        return 0.5 * (1 + math.cos(math.pi * progress))

    def begin_pass(self, epoch: int, embed: Embed) -> None:
        """Called before the first epoch, and before each that follows another pass over the pool, on every worker.

        A pass is as many images as the pool has, so one or more epochs. Nothing by default.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch, counted from 0, on every worker. Nothing by default."""

    @property
    def grace_epochs(self) -> int:
        """Epochs before which a search must not stop it: more than 1 where the encoder's turn comes late."""
        return 1

    def inspect(self, batch: Batch) -> Inspection:
        """What shows a person that it works: called after each epoch, on rank 0, in eval mode and without gradient.

        `batch` holds validation images with their true labels, in the same order each time, and random numbers start
        anew, so that one noise is seen in all epochs. Nothing here may change what is trained.
        """
        return Inspection()
