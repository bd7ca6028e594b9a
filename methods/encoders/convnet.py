"""convnet: four convolutions of 3x3 and 2x2 kernels with dropout in two places, for small images."""

from __future__ import annotations

from torch import nn

from methods.encoders.convolution import Convolution
from methods.encoders.encoder import Encoder


def convnet(channels: int, size: int, dropout: float) -> Encoder:
    """The network of a study of rotation features on SVHN, small enough to train on a processor.

    Pooling comes before batch norm, as there. Maps of conv1..conv4: 32 pixels 16 7 4 3, 224 pixels 112 55 52 51, for
    only two poolings halve: larger images want another encoder. 0.90 M weights; torch's own initialisation. Dropout
    ends conv2 and conv4. Raises ValueError below 24 pixels, where the last map would be empty.
    """
    if size < 24:
        raise ValueError(f"convnet needs images of at least 24 pixels a side, not {size}: raise --image-size")
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.MaxPool2d(2), *_norm(64)),
        "conv2": nn.Sequential(nn.Conv2d(64, 128, 3), nn.MaxPool2d(2), *_norm(128), nn.Dropout(dropout)),
        "conv3": nn.Sequential(Convolution(128, 256, 3), nn.MaxPool2d(2, 1), *_norm(256)),
        "conv4": nn.Sequential(Convolution(256, 512, 2), *_norm(512), nn.Dropout(dropout)),
    }
    return Encoder(stages, channels, size)


def _norm(width: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(width), nn.ReLU(inplace=True)
