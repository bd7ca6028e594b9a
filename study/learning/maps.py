"""Maps: features in few dimensions, for a person to look at. Principal components, and t-SNE of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COMPONENTS = 50  # as van der Maaten and Hinton (2008) reduce features before t-SNE
PERPLEXITY = 30.0

Points = NDArray[np.float32]


def components(features: Points, seed: int) -> tuple[Points, float]:
    """The first principal components of features (N, D) at unit length: (N, C), and the share of variance they hold."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    normed = features / np.maximum(lengths, np.float32(1e-8))
    count = min(COMPONENTS, *features.shape)
    if not np.ptp(normed, axis=0).any():  # collapsed to one point, whose variance has no shares
        return np.zeros((len(features), count), dtype=np.float32), 1.0
    from sklearn.decomposition import PCA  # here, as below: scikit-learn takes every process that imports it a second

    reduction = PCA(count, svd_solver="randomized", random_state=seed % 2**32)
    reduced: Points = reduction.fit_transform(normed).astype(np.float32)
    return reduced, float(reduction.explained_variance_ratio_.sum())


def tsne(points: Points, dimensions: int, seed: int) -> Points:
    """t-SNE of points (N, C) in 2 or 3 dimensions, scaled so that the farthest lies at 1 from the middle: (N, d)."""
    if not np.ptp(points, axis=0).any():
        return np.zeros((len(points), dimensions), dtype=np.float32)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    from sklearn.manifold import TSNE

    drawn = TSNE(dimensions, perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(points)
    drawn = drawn - drawn.mean(0)
    scaled: Points = (drawn / max(float(np.linalg.norm(drawn, axis=1).max()), 1e-8)).astype(np.float32)
    return scaled
