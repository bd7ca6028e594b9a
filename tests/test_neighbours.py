"""Neighbours vote and images are retrieved as scikit-learn, or a loop, has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from study.learning import neighbours

CLASSES = 5


def made(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that lean towards their class, at lengths that only a cosine overlooks."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    middles = torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(0))
    features = middles[labels] + 1.5 * torch.randn(count, 16, generator=generator)
    return features * (0.1 + 9 * torch.rand(count, 1, generator=generator)), labels


def test_votes_equal_scikit_learns_classifier() -> None:
    bank, labels = made(300, 1)
    queries, _ = made(700, 2)  # more than one block
    counts = (1, 4, 20)  # an even one has draws
    voted = neighbours.vote(queries, bank, labels, CLASSES, counts)
    for count, ours in zip(counts, voted, strict=True):
        theirs = KNeighborsClassifier(count, metric="cosine").fit(bank.numpy(), labels.numpy()).predict(queries.numpy())
        assert np.array_equal(ours.numpy(), theirs)


def test_more_neighbours_than_there_are_ask_all() -> None:
    bank, labels = made(7, 1)
    voted = neighbours.vote(made(9, 2)[0], bank, labels, CLASSES, (200,))
    assert set(voted[0].tolist()) == {int(labels.bincount().argmax())}


@pytest.mark.parametrize("count", [40, 130])  # one block and three
def test_retrieval_equals_scikit_learns_average_precision_query_by_query(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 50)
    features, labels = made(count, 3)
    found = neighbours.retrieve(features, labels)
    normed = torch.nn.functional.normalize(features).numpy()
    average, precision = [], []
    for query in range(count):
        others = np.delete(np.arange(count), query)
        similarity = normed[others] @ normed[query]
        relevant = (labels[others] == labels[query]).numpy()
        average.append(average_precision_score(relevant, similarity))
        precision.append(relevant[np.argsort(-similarity)[:10]].mean())
    assert found.mean_average_precision == pytest.approx(np.mean(average), abs=1e-5)
    assert found.precision_at_10 == pytest.approx(np.mean(precision), abs=1e-6)


def test_an_image_alone_in_its_class_asks_for_nothing() -> None:
    features, labels = torch.eye(5), torch.tensor([0, 0, 1, 2, 3])
    features[1] += features[0]
    assert neighbours.retrieve(features, labels).mean_average_precision == 1.0


def test_an_image_is_not_its_own_neighbour() -> None:
    features, _ = made(50, 4)
    queries = torch.tensor([3, 7])
    found = neighbours.nearest(features, queries, 49)
    for query, places in zip(queries.tolist(), found.tolist(), strict=True):
        cosines = torch.cosine_similarity(features, features[query], dim=1)
        assert query not in places
        assert places == [place for place in cosines.argsort(descending=True).tolist() if place != query]
