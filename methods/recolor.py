"""recolor: give an image other colours that it could have had, and represent both alike.

A study of colour invariance pulled a U-Net's representations of an image and of its recolouring together; the colours
came from Zhang, Isola and Efros, "Colorful Image Colorization", 2016. It published no figure: rotnet is what to reach.
Here the colorizer is trained on the pool, alone for the first epochs, and further beside the encoder. A recolouring is
a draw from its distribution, not its mean, so an image has many. Pulling together alone collapses: the variance and
covariance terms of Bardes, Ponce and LeCun, "VICReg", 2021, with their weights 25, 25, 1, prevent it, and the buffer
`effective_rank` shows whether they do. Any encoder goes; the study's is `unet`. With augmentation, the two views differ
by crop and jitter as well; at strength 0 only the colours differ, as in the study.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import colour, method
from methods.encoders import Encoder
from methods.inspection import SHOWN, Grid, Inspection, effective_rank
from methods.method import Batch, Method
from methods.precision import MixedPrecision
from methods.space import among, between
from methods.views import augment

INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
EXPANDED = 512  # dimensions in which representations are compared; VICReg's are 8192
SIDE = 4  # largest side of the map that is compared


class Recolor(Method):
    """An encoder with VICReg's expander, and a colorizer of its own that reads lightness."""

    effective_rank: Tensor  # () of the last batch's representations: 1 is collapsed, N - 1 the most

    @dataclass(frozen=True)
    class Config(method.Config):
        """Label smoothing acts in the colorizer, which classifies colours."""

        batch_size: int = among(128, (32, 64, 128, 256))
        label_smoothing: float = between(0.0, 0.0, 0.3)
        colourings: int = among(1, (1, 2, 3))  # recoloured views of each image in a step
        temperature: float = between(0.38, 0.1, 1.0)  # of the annealed mean of a draw; lower is more vivid
        colorizer_epochs: int = 1  # in which the encoder rests

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        colour.require_colour("recolor", encoder.channels)
        d, h, w = encoder.shape()
        side = min(SIDE, h, w)
        self.expander = nn.Sequential(
            nn.AdaptiveAvgPool2d(side),
            nn.Flatten(),
            nn.Linear(d * side * side, EXPANDED, bias=False),
            nn.BatchNorm1d(EXPANDED),
            nn.ReLU(inplace=True),
            nn.Linear(EXPANDED, EXPANDED, bias=False),
        )
        self.palette = colour.Palette()
        self.colorizer = _Colorizer(encoder.size, len(self.palette.bins))
        self.register_buffer("effective_rank", torch.ones(()))
        self.resting = False

    def begin_epoch(self, epoch: int) -> None:
        """The colorizer comes first."""
        self.resting = epoch < self.config.colorizer_epochs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `colour`, the colorizer's, and of the representations `invariance`, `variance` and `covariance`."""
        grey, ab = colour.split(batch.images)
        logits = self.colorizer(grey)  # (N, Q, h, w)
        losses = {"colour": self.palette(logits, ab, self.config.label_smoothing)}
        if self.resting:  # a gradient of 0, for DistributedDataParallel waits for every weight's
            at_rest = [*self.encoder.parameters(), *self.expander.parameters()]
            return losses | {"invariance": 0 * torch.stack([weight.sum() for weight in at_rest]).sum()}
        views = [batch.images]
        for _ in range(self.config.colourings):
            views.append(recolour(batch.images, logits.detach(), self.palette.bins, self.config.temperature))
        views = [augment(view, self.config.augmentation) for view in views]
        joined = torch.cat(views).contiguous(memory_format=torch.channels_last)
        expanded = self.expander(self.encoder(joined)).chunk(len(views))  # of (N, E)
        if self.training:
            self.effective_rank.copy_(effective_rank(expanded[0].detach()))
        terms = torch.stack([torch.stack(spread(view)) for view in expanded]).mean(0)
        pull = torch.stack([F.mse_loss(view, expanded[0]) for view in expanded[1:]]).mean()
        return losses | {
            "invariance": INVARIANCE * pull,
            "variance": VARIANCE * terms[0],
            "covariance": COVARIANCE * terms[1],
        }

    @property
    def grace_epochs(self) -> int:
        """One of the encoder's own."""
        return int(self.config.colorizer_epochs) + 1

    def inspect(self, batch: Batch) -> Inspection:
        """Images, what the colorizer sees of them, and three of the colourings that it draws."""
        images = batch.images[:SHOWN]
        grey, _ = colour.split(images)
        logits = self.colorizer(grey)
        draws = {
            f"recoloured {n}": recolour(images, logits, self.palette.bins, self.config.temperature) for n in (1, 2, 3)
        }
        return Inspection({"Recolourings": Grid({"original": images, "grey": grey} | draws)})


@torch.no_grad()
def recolour(images: Tensor, logits: Tensor, bins: Tensor, temperature: float) -> Tensor:
    """Colour images anew by one draw from the distributions over bins, made smooth by the annealed mean.

    The Gumbel noise that makes a draw of a maximum is shared by all places of an image: each place's colour is a true
    draw as the temperature goes to 0, and places that could have the same colours get the same one.

    Shape:
        images (N, 3, H, W), logits (N, Q, h, w), bins (Q, 2) -> (N, 3, H, W) in [0, 1]
    """
    noise = -torch.empty_like(logits[:, :, :1, :1]).exponential_().clamp_(min=1e-20).log()
    return colour.painted(images, colour.annealed_mean(logits + noise, bins, temperature))


def spread(z: Tensor) -> tuple[Tensor, Tensor]:
    """VICReg's variance and covariance terms of (N, E): 0 where deviations reach 1 and nothing is correlated."""
    centred = z - z.mean(0)
    covariance = centred.t() @ centred / (len(z) - 1)  # (E, E)
    variances = covariance.diagonal()
    outside = covariance.square().sum() - variances.square().sum()
    return F.relu(1 - (variances + 1e-4).sqrt()).mean(), outside / len(covariance)


class _Colorizer(MixedPrecision):
    """Six convolutions from grey to a quarter of its resolution, the later ones dilated as the source's are."""

    def __init__(self, size: int, bins: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for wider, stride, dilation in ((32, 1, 1), (64, 2, 1), (128, 2, 1), (128, 1, 2), (128, 1, 2)):
            layers += [nn.Conv2d(width, wider, 3, stride, padding=dilation, dilation=dilation, bias=False)]
            layers += [nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
            width = wider
        pool = nn.AdaptiveAvgPool2d(size // colour.REDUCTION)
        self.layers = nn.Sequential(*layers, pool, nn.Conv2d(width, bins, 1))

    def forward(self, grey: Tensor) -> Tensor:
        """Shape: (N, 3, H, W) -> logits (N, Q, h, w)."""
        with self.mixed(grey):
            logits: Tensor = self.layers(grey)
        return logits.to(grey.dtype)
