"""Clustering: PCA, whitening and k-means on tensors; the same numbers from the same points, on every worker."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

SAMPLE = 1024  # rows that PCA is fitted to where points have more dimensions than this
ITERATIONS = 20  # of k-means: faiss's, as DeepCluster's
_NUDGE = 1 / 1024  # faiss's: how far the halves of a split cluster are moved, relatively
_PIECE = 2**24  # floats of distances that are held at once


def cluster(features: Tensor, clusters: int, dimensions: int, generator: Generator) -> Tensor:
    """DeepCluster's clustering: PCA to at most `dimensions`, whitening, unit length, k-means from random points.

    Shape:
        features (M, D) -> the cluster of each, (M,) int64 in [0, clusters); with fewer points, in [0, M)
    """
    points = F.normalize(whiten(features, dimensions))
    start = torch.randperm(len(points), generator=generator)[:clusters].to(points.device)
    return kmeans(points, points[start])[0]


def whiten(points: Tensor, dimensions: int) -> Tensor:
    """Principal components of unit variance, (M, D) -> (M, d), d = min(dimensions, D, M - 1).

    Exact up to SAMPLE dimensions; above, the axes are those of SAMPLE points, evenly spaced.
    """
    centred = points - points.mean(0)
    d = min(dimensions, points.shape[1], len(points) - 1)
    sample = centred
    if points.shape[1] > SAMPLE and len(points) > SAMPLE:
        sample = centred[torch.linspace(0, len(points) - 1, SAMPLE, device=points.device).long()]
    tall = len(sample) >= sample.shape[1]
    values, axes = torch.linalg.eigh(sample.t() @ sample if tall else sample @ sample.t())  # ascending
    values, axes = values[-d:].flip(0), axes[:, -d:].flip(1)
    values = values.clamp(min=values[0] * 1e-6 + 1e-12)  # a dead dimension stays small
    if not tall:  # from the points' own products to axes in their space
        axes = sample.t() @ (axes / values.sqrt())  # (D, d)
    whitened: Tensor = centred @ axes * ((len(sample) - 1) / values).sqrt()
    return whitened


def kmeans(points: Tensor, start: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm; after each step empty clusters take half of a large one.

    Shape:
        points (M, D), start (K, D) -> cluster of each point (M,) int64, centroids (K, D)
    """
    centroids = start
    for _ in range(iterations):
        assigned = nearest(points, centroids)
        sums, sizes = _sum(points, assigned, len(start))
        moved = refill(torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centroids), sizes)
        if torch.equal(moved, centroids):
            break
        centroids = moved
    return nearest(points, centroids), centroids


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """The place of the nearest centroid (K, D) of each point (M, D), (M,) int64."""
    lengths = centroids.square().sum(1)
    rows = max(1, _PIECE // len(centroids))
    pieces = [points[start : start + rows] for start in range(0, len(points), rows)]
    return torch.cat([torch.addmm(lengths, piece, centroids.t(), alpha=-2).argmin(1) for piece in pieces])


def _sum(points: Tensor, assigned: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Sums (K, D) and sizes (K,) of clusters. A matrix product: index_add_ on a GPU adds in any order."""
    sums = points.new_zeros(clusters, points.shape[1])
    sizes = points.new_zeros(clusters)
    rows = max(1, _PIECE // clusters)
    for start in range(0, len(points), rows):
        members = F.one_hot(assigned[start : start + rows], clusters).to(points.dtype)  # (m, K)
        sums = sums + members.t() @ points[start : start + rows]
        sizes = sizes + members.sum(0)
    return sums, sizes


def refill(centroids: Tensor, sizes: Tensor) -> Tensor:
    """Put the centroid of each empty cluster beside that of a large one, and nudge the two apart."""
    order = sizes.argsort(descending=True, stable=True)
    count = min(int((sizes == 0).sum()), int((sizes > 1).sum()))
    large, empty = order[:count], order[len(order) - count :]
    signs = torch.ones_like(centroids[0])
    signs[1::2] = -1
    split = centroids.clone()
    split[empty] = centroids[large] * (1 + _NUDGE * signs)
    split[large] = centroids[large] * (1 - _NUDGE * signs)
    return split
