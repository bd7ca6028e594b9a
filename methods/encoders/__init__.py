"""Backbones by name: `ENCODERS[name](channels, size, dropout)` builds an Encoder for images of that size."""

from __future__ import annotations

from collections.abc import Callable

from methods.encoders.alexnet import alexnet
from methods.encoders.convnet import convnet
from methods.encoders.encoder import Encoder
from methods.encoders.nin import nin
from methods.encoders.resnet18 import resnet18
from methods.encoders.unet import unet
from methods.encoders.vgg16 import vgg16

ENCODERS: dict[str, Callable[[int, int, float], Encoder]] = {
    "convnet": convnet,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "nin": nin,
    "resnet18": resnet18,
    "unet": unet,
}

__all__ = ["ENCODERS", "Encoder"]
