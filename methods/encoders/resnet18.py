"""resnet18: torchvision's ResNet-18 without its classifier, with a small stem for small images."""

from __future__ import annotations

from torch import nn

from methods.encoders.dropout import Dropout
from methods.encoders.encoder import Encoder

SMALL = 96  # pixels; below it the ImageNet stem, which divides by four, leaves too little of the map


def resnet18(channels: int, size: int, dropout: float) -> Encoder:
    """He, Zhang, Ren and Sun's ResNet-18 (2015), the backbone of most self-supervised work since SimCLR.

    From 96 pixels the stem is torchvision's: 7x7 with stride 2 and a max pooling. Below, SimCLR's for CIFAR-10: 3x3
    with stride 1 and no pooling. Maps of stem, layer1..layer4: 32 pixels 32 32 16 8 4, 96 pixels 24 24 12 6 3, 224
    pixels 56 56 28 14 7. 11.2 M weights; initialised as torchvision's, normal with the fan-out.

    The source has no dropout; here one ends layer4. Raises ValueError below 16 pixels.
    """
    if size < 16:
        raise ValueError(f"resnet18 needs images of at least 16 pixels a side, not {size}: raise --image-size")
    from torchvision.models import resnet18 as whole  # here, for its import takes every process two seconds

    network = whole(num_classes=1)
    kernel, stride = (3, 1) if size < SMALL else (7, 2)
    first = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    pool = [] if size < SMALL else [network.maxpool]
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(first, network.bn1, network.relu, *pool),
        "layer1": network.layer1,
        "layer2": network.layer2,
        "layer3": network.layer3,
        "layer4": nn.Sequential(*network.layer4, Dropout(dropout)),
    }
    return Encoder(stages, channels, size)
