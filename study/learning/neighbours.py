"""Neighbours: what the nearest features say of an image. k-nearest-neighbour votes and image retrieval, by cosine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 512  # queries compared with everything at a time: 20 MB of similarities to 10,000 images


@dataclass(frozen=True)
class Retrieval:
    """How well images find those of their class among all the others."""

    mean_average_precision: float  # in [0, 1]; over the queries whose class has another image
    precision_at_10: float  # in [0, 1]; over all queries


def vote(queries: Tensor, bank: Tensor, labels: Tensor, classes: int, counts: tuple[int, ...]) -> Tensor:
    """The class that most of a query's k nearest in the bank have, for each k of `counts`; the lower on a draw.

    A k above the size of the bank asks the whole bank.

    Shape:
        queries (N, D), bank (M, D), labels (M,) int64 -> (len(counts), N) int64
    """
    most = min(max(counts), len(bank))
    hot = F.one_hot(labels, classes)  # (M, K) int64
    voted = []
    for _, similarities in _compared(queries, bank):
        nearest = similarities.topk(most).indices  # (n, k), nearest first
        votes = hot[nearest].cumsum(1)[:, [min(count, most) - 1 for count in counts]]  # (n, counts, K)
        # argmax leaves open which of equal votes it takes: a later class counts for a little less.
        voted.append((votes * classes - torch.arange(classes, device=votes.device)).argmax(-1))
    return torch.cat(voted).T


def retrieve(features: Tensor, labels: Tensor) -> Retrieval:
    """Let each image find the others, nearest first, by cosine; those of its class are what it should find.

    Shape:
        features (N, D), labels (N,) int64
    """
    found, precise = [], []
    ranks = torch.arange(1, len(features), device=features.device)
    for start, similarities in _compared(features, features):
        rows = torch.arange(len(similarities), device=features.device)
        similarities[rows, start + rows] = -torch.inf  # a query does not find itself: it comes last and is dropped
        order = similarities.argsort(1, descending=True)[:, :-1]  # (n, N - 1)
        relevant = labels[order] == labels[start : start + len(similarities), None]
        hits = relevant.cumsum(1)
        there = hits[:, -1] > 0
        precisions = (hits / ranks * relevant).sum(1)[there] / hits[there, -1]
        found.append(precisions)
        precise.append(relevant[:, :10].float().mean(1))
    together = torch.cat(found)
    return Retrieval(together.mean().item() if len(together) else 0.0, torch.cat(precise).mean().item())


def nearest(features: Tensor, queries: Tensor, count: int) -> Tensor:
    """The places of the `count` images nearest to each image at `queries`, itself left out, nearest first.

    Shape:
        features (N, D), queries (Q,) int64 -> (Q, count) int64
    """
    normed = F.normalize(features)
    similarities = normed[queries] @ normed.T
    similarities[torch.arange(len(queries), device=features.device), queries] = -torch.inf
    return similarities.topk(count).indices


def _compared(queries: Tensor, bank: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Cosines of a block of queries with the whole bank, (n, M), and where in `queries` the block begins."""
    queries, bank = F.normalize(queries), F.normalize(bank)
    for start in range(0, len(queries), _BLOCK):
        yield start, queries[start : start + _BLOCK] @ bank.T
