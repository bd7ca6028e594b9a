"""Backbones by name: `ENCODERS[name](channels, size, dropout)` builds an Encoder for images of that size."""

from __future__ import annotations

from collections.abc import Callable

from methods.encoders.convnet import convnet
from methods.encoders.encoder import Encoder

ENCODERS: dict[str, Callable[[int, int, float], Encoder]] = {
    "convnet": convnet,
}

__all__ = ["ENCODERS", "Encoder"]
