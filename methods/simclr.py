"""simclr: find an image's other view among the views of all images.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", 2020. It
must reach 90.74 % on CIFAR-10 (linear, ResNet-18, 1000 epochs, as solo-learn prints it).

From the paper: two views an image, NT-Xent over the batch of all workers, a projection of two layers to 128 numbers on
the averaged feature map, thrown away afterwards; its recipe for CIFAR-10, which is colour of half strength, no blur and
a temperature of 0.5. Departures: `augmentation` scales all of the views, 1 being the paper's; images are mirrored only
where `flip` says so, because that turns some digits into other signs; blur begins at 96 pixels; Adam, not LARS, for
batches are small; batch norm sees a worker's own images, not all workers'. `label_smoothing` has nothing to act on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from methods import method, views
from methods.encoders import Encoder
from methods.inspection import SHOWN, Grid, Inspection
from methods.method import Batch, Method
from methods.space import among, between

LEAST_AREA, WIDEST = 0.08, 4 / 3  # of the crop
BRIGHTNESS, CONTRAST, SATURATION, HUE, RECOLOURED = 0.4, 0.4, 0.4, 0.1, 0.8  # the paper's 0.8 0.8 0.8 0.2, halved
GREY, BLURRED = 0.2, 0.5  # shares of the views
BLUR_FROM = 96  # pixels; on smaller images the paper's kernel, a tenth of a side, blurs nothing


class SimCLR(Method):
    """The encoder and a projection whose directions agree for two views of one image."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """The paper's recipe for CIFAR-10."""

        batch_size: int = among(256, (64, 128, 256, 512))
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(1.0, 0.0, 1.0)
        temperature: float = between(0.5, 0.05, 1.0, log=True)
        flip: bool = among(False, (False, True))
        width: int = 128  # of the projection

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        d, _, _ = encoder.shape()
        self.projection = nn.Sequential(
            nn.Linear(d, d, bias=False), nn.BatchNorm1d(d), nn.ReLU(inplace=True), nn.Linear(d, config.width)
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the other view among all: loss `contrast`."""
        pairs = torch.cat((batch.images, batch.images))  # (2N, C, H, W)
        seen = make_views(pairs, self.config.augmentation, self.config.flip)
        features = self.encoder(seen.contiguous(memory_format=torch.channels_last)).mean((2, 3))  # (2N, D)
        return {"contrast": nt_xent(F.normalize(self.projection(features)), self.config.temperature)}

    def inspect(self, batch: Batch) -> Inspection:
        """Two views of some images, and how often a view finds the other among all views of the batch."""
        pairs = torch.cat((batch.images, batch.images)).contiguous(memory_format=torch.channels_last)
        seen = make_views(pairs, self.config.augmentation, self.config.flip)
        directions = F.normalize(self.projection(self.encoder.in_parts(seen).mean((2, 3))))
        similarity = (directions @ directions.T).fill_diagonal_(-math.inf)
        count = len(batch.images)
        found = (similarity.argmax(1) + count) % (2 * count) == torch.arange(2 * count, device=seen.device)
        rows = {"original": batch.images[:SHOWN], "one view": seen[:SHOWN], "other view": seen[count : count + SHOWN]}
        return Inspection({"Views": Grid(rows)}, {"pairs_found": found.double().mean().item()})


def make_views(images: Tensor, strength: float, flip: bool) -> Tensor:
    """Crop, recolour and, from 96 pixels, blur, at `strength` times the paper's; mirror half of the images if told.

    Raises ValueError for a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"augmentation strength {strength} is outside [0, 1]: 0 is none, 1 is the paper's")
    if flip:
        images = views.random_flip(images)
    if strength == 0:
        return images
    images = views.random_crop(images, 1 - strength * (1 - LEAST_AREA), WIDEST**strength)
    brightness, contrast, saturation, hue = (strength * reach for reach in (BRIGHTNESS, CONTRAST, SATURATION, HUE))
    images = views.random_colour(images, brightness, contrast, saturation, hue, RECOLOURED)
    images = views.random_grey(images, strength * GREY)
    return views.random_blur(images, strength * BLURRED) if images.shape[3] >= BLUR_FROM else images


def nt_xent(directions: Tensor, temperature: float) -> Tensor:
    """Mean over views of -log softmax(cosine / temperature) at the other view of the same image, itself left out.

    Under several workers the softmax runs over the views of all of them, with gradient to each.

    Shape:
        directions (2N, D), unit vectors, image n's two views at n and N + n -> scalar
    """
    count = len(directions)
    everyone, start = directions, 0
    if dist.is_available() and dist.is_initialized():
        everyone = gather(directions)  # (2NW, D)
        start = dist.get_rank() * count  # where this worker's views stand
    similarity = directions @ everyone.T / temperature  # (2N, 2NW)
    similarity.diagonal(start).fill_(-math.inf)
    others = torch.arange(count, device=directions.device).roll(count // 2) + start  # (2N,)
    return F.cross_entropy(similarity, others)


def gather(rows: Tensor) -> Tensor:
    """The rows (n, D) of every worker, one under another by rank (nW, D). A row's gradient is summed over workers."""
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()  # (nW, D)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
