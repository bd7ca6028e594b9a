"""unet: an encoder and a decoder with skips between maps of equal size, for pretexts that paint or read every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.encoders.dropout import Dropout
from methods.encoders.encoder import Encoder

WIDTHS = (32, 64, 128)  # of down1..down3 and up3..up1; the bottom is twice the last
BOTTOM = 256


class UNet(Encoder):
    """Stages down1.., bottom, ..up1. Each `up` also reads the map of the `down` of its number."""

    def forward(self, images: Tensor, tap: str | None = None) -> Tensor:
        """Run as far as the stage `tap` (up1 unless told) and return its feature map."""
        self._check(tap)
        x = self.read(images)
        skips: list[Tensor] = []
        with self.mixed(x):
            for name, stage in self.stages.items():
                x = stage(x, skips.pop()) if name.startswith("up") else stage(x)
                if name.startswith("down"):
                    skips.append(x)
                if name == tap:
                    break
        return x.to(images.dtype)


class Up(nn.Module):
    """Double the map, put the skip beside it, and convolve both."""

    def __init__(self, width: int, narrower: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(width, narrower, 2, 2)
        self.convolve = nn.Sequential(*_convolutions(2 * narrower, narrower))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Shape: (N, width, h, w) and (N, narrower, 2h, 2w) -> (N, narrower, 2h, 2w)."""
        convolved: Tensor = self.convolve(torch.cat((self.enlarge(x), skip), 1))
        return convolved


def unet(channels: int, size: int, dropout: float) -> Encoder:
    """Ronneberger, Fischer and Brox's U-Net (2015), for the small: half its widths, three poolings instead of four.

    Convolutions are padded, so that maps of one level have one size, and followed by batch norm. Maps of down1..down3,
    bottom, up3..up1: 32 pixels 32 16 8 4 8 16 32, 224 pixels 224 112 56 28 56 112 224. 1.93 M weights; torch's own
    initialisation.

    Features are tapped at the bottom, the narrowest place. There ends, as in the source, the contracting path in its
    dropout. Raises ValueError unless the side is a multiple of 8, from 16 on.
    """
    if size < 16 or size % 8:
        raise ValueError(f"unet needs a multiple of 8 pixels a side, at least 16, not {size}: set --image-size")
    stages: dict[str, nn.Module] = {}
    width = channels
    for number, wider in enumerate(WIDTHS, start=1):
        pool = [nn.MaxPool2d(2)] if number > 1 else []
        stages[f"down{number}"] = nn.Sequential(*pool, *_convolutions(width, wider))
        width = wider
    stages["bottom"] = nn.Sequential(nn.MaxPool2d(2), *_convolutions(width, BOTTOM), Dropout(dropout))
    width = BOTTOM
    for number, narrower in reversed(list(enumerate(WIDTHS, start=1))):
        stages[f"up{number}"] = Up(width, narrower)
        width = narrower
    return UNet(stages, channels, size, default_tap="bottom")


def _convolutions(width: int, wider: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs in (width, wider):
        layers += [nn.Conv2d(inputs, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
    return layers
