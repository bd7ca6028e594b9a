"""deepcluster: cluster the encoder's own features, and learn to tell the clusters apart; over and over.

Caron, Bojanowski, Joulin and Douze, "Deep Clustering for Unsupervised Learning of Visual Features", 2018: frozen
AlexNet on ImageNet, conv1..conv5 12.9 29.2 38.2 39.8 36.1. From the source: Sobel slopes as the encoder's input, PCA to
256, whitening, unit length and k-means before each pass over the pool, a new head then, ten times as many clusters as
classes, and SGD, without momentum in the head. Departures: beside the two slopes the encoder sees their steepness, for
it has three channels to read; where they draw images uniformly over clusters, an image here counts by the inverse size
of its cluster, the same loss in expectation; what is clustered is the features that are kept, with no layer after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from methods import method, views
from methods.clustering import cluster
from methods.encoders import Encoder
from methods.inspection import SHOWN, Figure, Grid, Inspection
from methods.method import Batch, Embed, Method
from methods.space import among, between

MOMENTUM, DECAY = 0.9, 1e-5
DIMENSIONS = 256  # of the features, when they are clustered
HEAD_SPREAD = 0.01  # standard deviation of a new head's weights
CLUSTERS_SHOWN = 6
NONE = -1.0  # no share


class DeepCluster(Method):
    """A linear classifier of clusters on the whole last feature map.

    A pass starts by finding the clusters from weights that are part of the state, and so finds the same ones on every
    worker. They are part of the state too: the pass may take several epochs, and go on after a restart.
    """

    clusters: Tensor  # (M,) int64, of each image of the pool
    sizes: Tensor  # (K,) images in each cluster
    moved: Tensor  # () share of the pool that changed its cluster at the last clustering; NONE at the first
    seed: Tensor  # () int64, drawn with the weights, so that all workers share it

    @dataclass(frozen=True)
    class Config(method.Config):
        """The authors' optimizer, and their ten clusters a class, of ten classes."""

        batch_size: int = among(64, (32, 64, 128, 256))  # theirs, 256, are few steps where a pool is small
        lr: float = between(0.05, 5e-3, 0.5, log=True)
        label_smoothing: float = between(0.0, 0.0, 0.3)
        clusters: int = among(100, (30, 100, 300))
        sobel: bool = among(True, (True, False))  # the encoder sees slopes instead of colours, now and when it is used

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        encoder.reads_slopes = config.sobel
        d, h, w = encoder.shape()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(d * h * w, config.clusters))
        self.register_buffer("seed", torch.randint(2**31, ()))
        # Until the first clustering, images are told apart by their place alone.
        self.register_buffer("clusters", torch.arange(config.clusters), persistent=False)
        self.register_buffer("sizes", torch.ones(config.clusters), persistent=False)
        self.register_buffer("moved", torch.tensor(NONE))

    def optimizer(self) -> Optimizer:
        """SGD; the authors' head has no momentum, for what it remembers would be of other clusters."""
        groups: list[dict[str, Any]] = [
            {"params": self.encoder.parameters()},
            {"params": self.head.parameters(), "momentum": 0.0},
        ]
        return SGD(groups, lr=self.config.lr, momentum=MOMENTUM, weight_decay=DECAY)

    @torch.no_grad()
    def begin_pass(self, epoch: int, embed: Embed) -> None:
        """Cluster the pool's features, and start the head anew."""
        generator = Generator().manual_seed(int(self.seed) + epoch)
        before = self.clusters
        self.clusters = cluster(embed(), self.config.clusters, DIMENSIONS, generator)
        self.moved.fill_(moved(before, self.clusters) if len(before) == len(self.clusters) else NONE)
        self._count()
        weight, bias = self.head[1].parameters()
        weight.copy_(HEAD_SPREAD * torch.randn(weight.shape, generator=generator))
        bias.zero_()

    def get_extra_state(self) -> Tensor:
        """The clusters, whose number is the pool's: no buffer, for its size is not known when the method is built."""
        return self.clusters

    def set_extra_state(self, state: Tensor) -> None:
        """Take the clusters back."""
        self.clusters = state.to(self.seed.device)
        self._count()

    def _count(self) -> None:
        self.sizes = self.clusters.bincount(minlength=self.config.clusters).float()

    def inspect(self, batch: Batch) -> Inspection:
        """The largest clusters as images, how pure the clusters are of one class, and how many images moved.

        Clusters here are those that the head tells for images that were not clustered.
        """
        told = self.head(self.encoder.in_parts(batch.images)).argmax(1)  # (N,)
        largest = told.bincount(minlength=self.config.clusters).topk(CLUSTERS_SHOWN).indices.tolist()
        rows = {f"cluster {k}": batch.images[told == k][:SHOWN] for k in largest if (told == k).any()}
        figures: dict[str, Figure] = {"The largest clusters": Grid(rows)}
        numbers = {"purity": purity(told, batch.labels)}
        return Inspection(figures, numbers if self.moved == NONE else numbers | {"moved": self.moved.item()})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the image's cluster: loss `cluster`."""
        targets = self.clusters[batch.index % len(self.clusters)]
        images = views.augment(batch.images, self.config.augmentation)
        logits = self.head(self.encoder(images))  # (N, K)
        losses = F.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing, reduction="none")
        rarity = len(self.clusters) / (self.config.clusters * self.sizes[targets])  # (N,), mean 1 over the pool
        return {"cluster": (rarity * losses).mean()}


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Share of images whose class is the commonest of their cluster; both (N,) int64."""
    return _overlap(clusters, labels).amax(1).sum().item() / len(labels)


def moved(before: Tensor, after: Tensor) -> float:
    """Share of images that left the cluster which most of their new one's images come from; both (M,) int64."""
    return 1 - purity(after, before)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """How many images lie in each pair of groups, (A, B)."""
    a, b = int(one.max()) + 1, int(other.max()) + 1
    return (b * one + other).bincount(minlength=a * b).view(a, b)
