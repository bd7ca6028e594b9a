"""nin: the Network in Network of RotNet for CIFAR-10, four blocks of three convolutions."""

from __future__ import annotations

from torch import nn

from methods.encoders.dropout import Dropout
from methods.encoders.encoder import Encoder


def nin(channels: int, size: int, dropout: float) -> Encoder:
    """Lin, Chen and Yan's network (2013) as Gidaris, Singh and Komodakis (2018) train it to tell rotations.

    Block 1 has kernels 5, 1, 1 and widths 192, 160, 96; block 2 kernels 5, 1, 1, blocks 3 and 4 kernels 3, 1, 1, all
    192 wide. A 3x3 max pooling ends block 1, a 3x3 average pooling block 2, both of stride 2. Maps of conv1..conv4:
    32 pixels 16 8 8 8, 224 pixels 112 56 56 56. 1.41 M weights; initialised as theirs, normal with the fan-out.

    Features are tapped at conv2: the paper's 89.06 and 91.16 on CIFAR-10 are of the second block, for the later ones
    turn to the pretext. They use no dropout; here one ends conv4. Raises ValueError below 8 pixels.
    """
    if size < 8:
        raise ValueError(f"nin needs images of at least 8 pixels a side, not {size}: raise --image-size")
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(*_block(channels, (192, 160, 96), 5), nn.MaxPool2d(3, 2, padding=1)),
        "conv2": nn.Sequential(*_block(96, (192, 192, 192), 5), nn.AvgPool2d(3, 2, padding=1)),
        "conv3": nn.Sequential(*_block(192, (192, 192, 192), 3)),
        "conv4": nn.Sequential(*_block(192, (192, 192, 192), 3), Dropout(dropout)),
    }
    return Encoder(stages, channels, size, default_tap="conv2")


def _block(width: int, widths: tuple[int, int, int], kernel: int) -> list[nn.Module]:
    """One convolution that looks around and two of 1x1."""
    layers: list[nn.Module] = []
    for wider, side in zip(widths, (kernel, 1, 1), strict=True):
        convolution = nn.Conv2d(width, wider, side, padding=side // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
        width = wider
    return layers
