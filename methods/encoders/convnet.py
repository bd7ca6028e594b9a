"""convnet: the four-convolution SVHN network of study A (references.md), 3x3 and 2x2 kernels, dropout in two places."""

from __future__ import annotations

from torch import nn

from methods.encoders.encoder import Encoder


def convnet(channels: int, size: int, dropout: float) -> Encoder:
    """Build it for (N, `channels`, `size`, `size`) images: 32 pixels give a last map of (512, 3, 3), 0.88 M weights.

    Raises ValueError below 24 pixels, where the last map would be empty.
    """
    if size < 24:
        raise ValueError(f"convnet needs images of at least 24 pixels a side, not {size}: raise --image-size")
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(64), nn.ReLU()),
        "conv2": nn.Sequential(
            nn.Conv2d(64, 128, 3), nn.MaxPool2d(2), nn.BatchNorm2d(128), nn.ReLU(), nn.Dropout(dropout)
        ),
        "conv3": nn.Sequential(nn.Conv2d(128, 256, 3), nn.MaxPool2d(2, 1), nn.BatchNorm2d(256), nn.ReLU()),
        "conv4": nn.Sequential(nn.Conv2d(256, 512, 2), nn.BatchNorm2d(512), nn.ReLU(), nn.Dropout(dropout)),
    }
    return Encoder(stages, channels, size)
