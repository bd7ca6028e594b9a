"""The contract of a backbone: named stages, any of which can be tapped."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor, nn

from methods.precision import MixedPrecision
from methods.views import slopes

PART = 64  # images of a forward without gradient: a processor's caches like that, too


class Encoder(MixedPrecision):
    """A chain of named stages over images in [0, 1].

    Shape:
        images (N, C, H, W) float in [0, 1] -> the feature map of the tapped stage (N, D, h, w)
    """

    def __init__(self, stages: dict[str, nn.Module], channels: int, size: int, default_tap: str | None = None) -> None:
        """`default_tap` is the stage whose features are kept; the last one unless told."""
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.channels = channels  # C
        self.size = size  # H = W, pixels
        self.default_tap = default_tap or next(reversed(stages))
        self.reads_slopes = False  # True: it sees views.slopes of the images; kept with the weights

    def forward(self, images: Tensor, tap: str | None = None) -> Tensor:
        """Run as far as the stage `tap` (the last stage unless told) and return its feature map."""
        self._check(tap)
        x = self.read(images)
        with self.mixed(x):
            for name, stage in self.stages.items():
                x = stage(x)
                if name == tap:
                    break
        return x.to(images.dtype)

    def in_parts(self, images: Tensor) -> Tensor:
        """`forward` of images (N, C, H, W) of which nothing is learned, PART at a time, for early maps are large."""
        return torch.cat([self(part) for part in torch.split(images, PART)])

    def read(self, images: Tensor) -> Tensor:
        """What the first stage is given."""
        return centred(slopes(images) if self.reads_slopes else images)

    def get_extra_state(self) -> Tensor:
        """Whether it reads slopes, as a tensor, which is all that a checkpoint holds."""
        return torch.tensor(self.reads_slopes)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` gave."""
        self.reads_slopes = bool(state)

    def tap_at(self, tap: str) -> None:
        """Make `tap` the default. Raises ValueError where there is no such stage."""
        self._check(tap)
        self.default_tap = tap

    def shape(self, tap: str | None = None) -> tuple[int, int, int]:
        """The (D, h, w) of a stage's feature map, found by one forward of zeros in eval mode."""
        training = self.training
        self.eval()
        device = next(self.parameters()).device
        with torch.inference_mode():
            zeros = torch.zeros(1, self.channels, self.size, self.size, device=device)
            _, d, h, w = self(zeros, tap).shape
        self.train(training)
        return d, h, w

    def _check(self, tap: str | None) -> None:
        if tap is not None and tap not in self.stages:
            (nearest,) = difflib.get_close_matches(tap, self.stages, n=1, cutoff=0.0)
            raise ValueError(f"no stage {tap!r}: did you mean {nearest}? There are {', '.join(self.stages)}")


def centred(images: Tensor) -> Tensor:
    """Images in [0, 1] about zero with unit spread: natural images have a standard deviation of about a quarter."""
    return (images - 0.5) * 4
