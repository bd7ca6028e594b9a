"""Maps keep what is near together, stay in their frame, and come out the same again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from study.learning import maps

LABELS = np.repeat(np.arange(3), 40)
FEATURES = (np.eye(60)[LABELS] + np.random.default_rng(0).normal(0, 0.1, (120, 60))).astype(np.float32)


def test_components_are_those_of_features_at_unit_length() -> None:
    found, variance = maps.components(7 * FEATURES, 0)
    exact = PCA(maps.COMPONENTS).fit(FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True))
    assert found.shape == (120, maps.COMPONENTS)
    assert variance == pytest.approx(exact.explained_variance_ratio_.sum(), abs=1e-3)
    np.testing.assert_allclose(found[:, :2].std(0, ddof=1), np.sqrt(exact.explained_variance_[:2]), rtol=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_map_keeps_groups_together_and_is_the_same_again(dimensions: int) -> None:
    points, _ = maps.components(FEATURES, 0)
    drawn = maps.tsne(points, dimensions, 0)
    assert drawn.shape == (120, dimensions)
    assert np.linalg.norm(drawn, axis=1).max() == pytest.approx(1.0)
    near = NearestNeighbors(n_neighbors=6).fit(drawn).kneighbors(return_distance=False)
    assert (LABELS[near] == LABELS[:, None]).mean() > 0.95
    assert np.array_equal(drawn, maps.tsne(points, dimensions, 0))
