"""Clusters are judged by hand-counted figures, and found where they are plain."""

from __future__ import annotations

import numpy as np
import pytest

from study.learning import clustering, maps


def test_hungarian_accuracy_pairs_each_cluster_with_a_class_of_its_own() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    clusters = np.array([1, 1, 1, 1, 1, 0, 2, 0])
    # Cluster 1 has most of both 0 and 1 and can stand for one: 3 right as class 0, then 1 as 1 and 1 as 2.
    assert clustering.hungarian_accuracy(clusters, labels) == 5 / 8
    assert clustering.hungarian_accuracy(labels[::-1].copy() * 2, labels[::-1].copy()) == 1.0


def test_more_classes_than_clusters_leave_some_wrong() -> None:
    assert clustering.hungarian_accuracy(np.zeros(4, dtype=np.int64), np.arange(4)) == 0.25


def test_plain_groups_are_found_and_scrambled_labels_agree_with_nothing() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    features = (np.eye(4)[labels] + random.normal(0, 0.02, (200, 4))).astype(np.float32)
    clusters = clustering.cluster(maps.components(features, 0)[0], 4, 0)
    found = clustering.agreement(clusters, labels)
    assert found.accuracy == found.nmi == found.ari == pytest.approx(1.0)
    chance = clustering.agreement(clusters, random.permutation(labels))
    assert chance.accuracy < 0.4 and chance.nmi < 0.1 and abs(chance.ari) < 0.05


def test_collapsed_features_are_no_error() -> None:
    features = np.ones((30, 8), dtype=np.float32)
    reduced, variance = maps.components(features, 0)
    assert variance == 1.0 and not maps.tsne(reduced, 2, 0).any()
    assert clustering.agreement(clustering.cluster(reduced, 3, 0), np.repeat(np.arange(3), 10)).accuracy == 1 / 3
