"""Features: what a frozen encoder says of images, and how well a linear head reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from methods.encoders import Encoder
from study.data.dataset import Dataset
from study.learning.heads import LinearHeads, Setting, fit_linear
from study.learning.pretrain import batch_size_of, to_images

MOST_DIMENSIONS = 4096  # larger feature maps are averaged over space until they fit


def extract(encoder: Encoder, dataset: Dataset, places: NDArray[np.int64], device: torch.device) -> Tensor:
    """Features of the images at `places` of `dataset.pixels`: the default tap's map, flattened, (n, D) float32.

    The encoder is in eval mode meanwhile, so that nothing of it changes, BatchNorm statistics included.
    """
    training = encoder.training
    encoder.eval()
    features, size = torch.empty(0), batch_size_of(device)
    with torch.no_grad():
        for start in range(0, len(places), size):
            pixels = torch.from_numpy(dataset.pixels[places[start : start + size]]).to(device)
            feature_map = encoder(to_images(pixels), encoder.default_tap)  # (n, D, h, w)
            side = feature_map.shape[-1]
            while side > 1 and feature_map.shape[1] * side * side > MOST_DIMENSIONS:
                side -= 1
            part = F.adaptive_avg_pool2d(feature_map, side).flatten(1)
            if not start:
                features = part.new_empty(len(places), part.shape[1])
            features[start : start + size] = part
    encoder.train(training)
    return features


@dataclass(frozen=True)
class Score:
    """Shares of images classified right, in [0, 1]."""

    accuracy: float
    top5: float  # equal to 1 where there are five classes or fewer


def score(logits: Tensor, labels: Tensor) -> Score:
    """Compare class scores (n, K) with labels (n,)."""
    ranked = logits.topk(min(5, logits.shape[-1]), -1).indices  # (n, 5)
    right = ranked == labels[:, None]
    return Score(right[:, 0].float().mean().item(), right.any(1).float().mean().item())


class FrozenFeatures:
    """An encoder's features of all labelled images, computed once; linear heads for any label subsets."""

    def __init__(
        self, encoder: Encoder, dataset: Dataset, places: Sequence[NDArray[np.int64]], device: torch.device
    ) -> None:
        """`places` are the sets of images that will be asked for; each image's features are computed once."""
        wanted = np.unique(np.concatenate(places))
        self._row = np.full(len(dataset.pixels), -1, dtype=np.int64)
        self._row[wanted] = np.arange(len(wanted))
        self._features = extract(encoder, dataset, wanted, device)
        self._labels = torch.from_numpy(dataset.labels[wanted]).to(device)
        self._classes = len(dataset.classes)

    def of(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features (n, D) and labels (n,) of some of the images."""
        rows = self._rows(places)
        return self._features[rows], self._labels[rows]

    def heads(self, subsets: Sequence[NDArray[np.int64]], chosen: Sequence[Setting]) -> list[LinearHeads]:
        """The linear heads of each label subset, one a setting, all fitted together."""
        rows = [self._rows(places) for places in subsets]
        return fit_linear(self._features, self._labels, rows, self._classes, chosen)

    def scores(self, heads: LinearHeads, places: NDArray[np.int64]) -> list[Score]:
        """How well each of the heads does on some of the images."""
        features, labels = self.of(places)
        return [score(logits, labels) for logits in heads.logits(features)]

    def _rows(self, places: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._row[places]).to(self._features.device)
