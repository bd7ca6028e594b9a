"""alexnet: the five convolutions of torchvision's AlexNet, each followed by batch norm, fitted to small images."""

from __future__ import annotations

from torch import nn

from methods.encoders.dropout import Dropout
from methods.encoders.encoder import Encoder

SMALL = 96  # pixels; below it the stem of 11x11, stride 4, leaves too little of the map


def alexnet(channels: int, size: int, dropout: float) -> Encoder:
    """Krizhevsky's "One weird trick" network (2014), the backbone of RotNet on ImageNet.

    Batch norm follows each convolution, as in RotNet's and DeepCluster's; torchvision has none. From 96 pixels the stem
    is torchvision's, 11x11 with stride 4; below, 5x5 with stride 1, and all else is the same. Maps of conv1..conv5:
    224 pixels 27 13 13 13 6, 96 pixels 11 5 5 5 2, 32 pixels 15 7 7 7 3. 2.47 M weights on colour images, 2.45 M with
    the small stem; torch's own initialisation.

    Features are tapped at conv4, the best layer of DeepCluster under a linear probe: the last ones turn to the pretext.
    The source drops out only in its classifier, so here one dropout ends conv5. Raises ValueError below 16 pixels.
    """
    if size < 16:
        raise ValueError(f"alexnet needs images of at least 16 pixels a side, not {size}: raise --image-size")
    kernel, stride = (5, 1) if size < SMALL else (11, 4)
    stem = nn.Conv2d(channels, 64, kernel, stride, padding=2, bias=False)
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(stem, *_norm(64), nn.MaxPool2d(3, 2)),
        "conv2": nn.Sequential(nn.Conv2d(64, 192, 5, padding=2, bias=False), *_norm(192), nn.MaxPool2d(3, 2)),
        "conv3": nn.Sequential(nn.Conv2d(192, 384, 3, padding=1, bias=False), *_norm(384)),
        "conv4": nn.Sequential(nn.Conv2d(384, 256, 3, padding=1, bias=False), *_norm(256)),
        "conv5": nn.Sequential(
            nn.Conv2d(256, 256, 3, padding=1, bias=False), *_norm(256), nn.MaxPool2d(3, 2), Dropout(dropout)
        ),
    }
    return Encoder(stages, channels, size, default_tap="conv4")


def _norm(width: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(width), nn.ReLU(inplace=True)
