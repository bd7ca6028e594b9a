"""colorization: see only lightness, and say which colour each part of the image has.

Zhang, Isola and Efros, "Colorful Image Colorization", 2016: frozen AlexNet on ImageNet, conv1..conv5 12.5 24.5 30.4
31.5 30.3. From the source: a distribution over bins of ab at a quarter of the resolution, soft encoding into five
bins, and rebalancing by the rarity of colours (lambda 0.5). Departures: 261 bins, not 313 (see colour.ab_bins); the
prior over bins is a running mean over the training images, not counted on ImageNet; Adam at 1e-3 rather than 3e-5; a
small decoder instead of eight blocks, because what is kept is any encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import colour, method
from methods.encoders import Encoder
from methods.inspection import SHOWN, Grid, Inspection
from methods.method import Batch, Method
from methods.space import between
from methods.views import augment

WIDTH = 128  # of the decoder


class Colorization(Method):
    """A decoder from the last feature map to colours.

    The first convolution starts with equal weights for red, green and blue, and stays so, because grey images give
    them equal gradients. So the encoder that is kept sees the mean channel of a colour image, near its lightness.
    """

    @dataclass(frozen=True)
    class Config(method.Config):
        """The soft encoding is smooth enough as published."""

        label_smoothing: float = between(0.0, 0.0, 0.3)

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        colour.require_colour("colorization", encoder.channels)
        with torch.no_grad():
            weight = next(layer.weight for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
            weight.copy_(weight.mean(1, keepdim=True).expand_as(weight))  # the same responses to grey as before
        self.palette = colour.Palette()
        self.decoder = _decoder(encoder, len(self.palette.bins))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Rebalanced cross-entropy of the colours: loss `colour`."""
        grey, ab = colour.split(augment(batch.images, self.config.augmentation))
        logits = self.decoder(self.encoder(grey))  # (N, Q, h, w)
        return {"colour": self.palette(logits, ab, self.config.label_smoothing)}

    def inspect(self, batch: Batch) -> Inspection:
        """Images, what the encoder sees of them, and the annealed mean of the colours that it believes in."""
        images = batch.images[:SHOWN]
        grey, _ = colour.split(images)
        ab = colour.annealed_mean(self.decoder(self.encoder(grey)), self.palette.bins)
        return Inspection(
            {"Colourings": Grid({"original": images, "grey": grey, "coloured": colour.painted(images, ab)})}
        )


def _decoder(encoder: Encoder, bins: int) -> nn.Sequential:
    """The last feature map, doubled by transposed convolutions as far as it goes, then fitted to a quarter side."""
    width, side, _ = encoder.shape()
    target = encoder.size // colour.REDUCTION
    layers: list[nn.Module] = []
    while 2 * side <= target:
        layers += [nn.ConvTranspose2d(width, WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        width, side = WIDTH, 2 * side
    if side < target:
        layers.append(nn.Upsample(target, mode="bilinear"))
    elif side > target:
        layers.append(nn.AdaptiveAvgPool2d(target))
    layers += [nn.Conv2d(width, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, bins, 1))
