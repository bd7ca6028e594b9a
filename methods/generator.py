"""What adversarial methods share: a generator of images, and how a player runs its opponent without training it."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from methods.precision import MixedPrecision

NARROWEST = 4  # pixels, about: the side of the map that the latent code becomes
WIDEST = 512  # channels


class Generator(MixedPrecision):
    """DCGAN's generator (Radford, Metz and Chintala, 2015) for grey or colour images of any side.

    The code is projected to a map of about 4x4, which transposed 4x4 convolutions of stride 2 double until it covers
    the image; what stands over is cut off evenly. Each but the last is followed by batch norm and ReLU; widths halve
    from layer to layer down to `width`. Weights start normal with a standard deviation of 0.02, as in the source. Its
    tanh is a sigmoid here, for images lie in [0, 1].

    Shape:
        codes (N, Z) -> images (N, C, S, S) in [0, 1]
    """

    def __init__(self, latent: int, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        doublings = max(1, round(math.log2(size / NARROWEST)))
        widths = [min(WIDEST, width * 2**n) for n in reversed(range(doublings))]
        side = math.ceil(size / 2**doublings)
        self.size = size
        layers: list[nn.Module] = [
            nn.Linear(latent, widths[0] * side * side, bias=False),
            nn.Unflatten(1, (widths[0], side, side)),
        ]
        for wide, narrow in pairwise(widths):
            layers += [nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
            layers.append(nn.ConvTranspose2d(wide, narrow, 4, 2, padding=1, bias=False))
        last = nn.ConvTranspose2d(widths[-1], channels, 4, 2, padding=1)
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), last]
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.02)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, 0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """Paint one image a code."""
        with self.mixed(codes):
            images: Tensor = self.layers(codes)
        images = images.to(codes.dtype).sigmoid()
        edge = (images.shape[2] - self.size) // 2
        return images[:, :, edge : edge + self.size, edge : edge + self.size]


def uniform_codes(images: Tensor, latent: int) -> Tensor:
    """Draw a code for each of N images, uniform in [-1, 1]: (N, Z)."""
    return torch.rand(len(images), latent, device=images.device) * 2 - 1


def aside(module: nn.Module) -> dict[str, Tensor]:
    """Copies of a module's buffers, for torch.func.functional_call: made-up images then move no running statistics.

    Batch norm still normalises each pass by its own batch, but what the frozen encoder later uses are statistics of
    real images alone.
    """
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def frozen(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights without gradient, its buffers aside: running it so trains only what made its input."""
    return {name: weight.detach() for name, weight in module.named_parameters()} | aside(module)
