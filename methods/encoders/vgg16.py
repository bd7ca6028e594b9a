"""vgg16: the thirteen convolutions of torchvision's VGG-16 with batch norm, in their five blocks."""

from __future__ import annotations

from torch import nn

from methods.encoders.dropout import Dropout
from methods.encoders.encoder import Encoder

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width and number of convolutions


def vgg16(channels: int, size: int, dropout: float) -> Encoder:
    """Simonyan and Zisserman's VGG-16 (2014), configuration D with batch norm, as DeepCluster trains it.

    Each block ends in a 2x2 max pooling, but where that would leave less than 2x2: then the block keeps its map, so
    that small images still have one. Maps of conv1..conv5: 224 pixels 112 56 28 14 7, 96 pixels 48 24 12 6 3, 32
    pixels 16 8 4 2 2. 14.7 M weights; initialised as torchvision's, normal with the fan-out.

    The source drops out only in its classifier, so here one dropout ends conv5. Raises ValueError below 16 pixels.
    """
    if size < 16:
        raise ValueError(f"vgg16 needs images of at least 16 pixels a side, not {size}: raise --image-size")
    stages: dict[str, nn.Module] = {}
    width, side = channels, size
    for number, (wider, convolutions) in enumerate(BLOCKS, start=1):
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [_convolution(width, wider), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
            width = wider
        if side >= 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        if number == len(BLOCKS):
            layers.append(Dropout(dropout))
        stages[f"conv{number}"] = nn.Sequential(*layers)
    return Encoder(stages, channels, size)


def _convolution(width: int, wider: int) -> nn.Conv2d:
    convolution = nn.Conv2d(width, wider, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
