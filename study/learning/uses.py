"""Uses: what frozen features are good for beside the curve: linear heads by stage, neighbours, clusters, retrieval.

Test images are looked at as they are for the curve: after the search, and for nothing that is chosen. What is chosen, a
head's penalty and a number of neighbours, validation chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.encoders import Encoder
from study.data.dataset import Dataset
from study.data.splits import stratified_order
from study.learning import clustering, maps, neighbours
from study.learning.features import FrozenFeatures, score
from study.learning.heads import settings
from study.records import Use
from study.seeds import derive
from study.storage.uses import Shown

# What bounds the work on large sets; the images are a stratified part, the same for all encoders.
MOST_LABELS = 10_000
MOST_TEST_IMAGES = 10_000
MOST_MAPPED = 2_000
QUERIES, FOUND = 10, 9  # retrieved images that are shown
NEIGHBOURS = (1, 5, 20, 50, 200)  # k that validation chooses from

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """What one encoder's features are good for."""

    figures: tuple[Use, ...]
    shown: Shown


def measure_uses(
    encoder: Encoder,
    dataset: Dataset,
    budgets: Sequence[Places],
    smoothing: float,
    seed: int,
    device: torch.device,
    record: Callable[..., Use],
) -> Found:
    """Measure everything; `encoder` comes back as it was.

    `budgets` are the images whose labels are learned from, the largest last. `smoothing` is the label smoothing of the
    linear heads. `record` makes a Use and knows its encoder and trial.
    """
    order = stratified_order(dataset.labels[dataset.test], np.random.default_rng(derive(seed, "uses")))
    test = dataset.test[order[:MOST_TEST_IMAGES]]
    record = partial(record, images=len(test))
    kept = encoder.default_tap
    figures: list[Use] = []
    for stage in encoder.stages:
        encoder.tap_at(stage)
        reading = _Reading(encoder, dataset, budgets, test, seed, device)
        for labelled, logits in zip(budgets, reading.heads(budgets, smoothing), strict=True):
            on = partial(record, use="linear", stage=stage, labels=len(labelled), neighbours=None)
            figures += [on(measure=name, value=value) for name, value in vars(score(logits, reading.labels)).items()]
        if stage == kept:
            figures += reading.neighbours(budgets, partial(record, stage=stage))
            figures += reading.unsupervised(partial(record, stage=stage, labels=0, neighbours=None))
            shown = reading.shown(logits)
    encoder.tap_at(kept)
    return Found(tuple(figures), shown)


class _Reading:
    """The features of one stage."""

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        budgets: Sequence[Places],
        test: Places,
        seed: int,
        device: torch.device,
    ) -> None:
        self._features = FrozenFeatures(encoder, dataset, [*budgets, dataset.validation, test], device)
        self._classes, self._seed = len(dataset.classes), seed
        self._validation = self._features.of(dataset.validation)
        self._places = torch.from_numpy(test)
        self._test, self.labels = self._features.of(test)  # (n, D), (n,)

    def heads(self, budgets: Sequence[Places], smoothing: float) -> list[Tensor]:
        """Test logits (n, K) of each budget's linear head, at the penalty that is best on validation."""
        x, labels = self._validation
        said = []
        for heads in self._features.heads(budgets, settings(smoothing)):
            accuracies = [score(logits, labels).accuracy for logits in heads.logits(x)]
            said.append(heads.only(int(np.argmax(accuracies))).logits(self._test)[0])
        return said

    def neighbours(self, budgets: Sequence[Places], record: Callable[..., Use]) -> Iterator[Use]:
        """Accuracy of the nearest neighbours' vote, as many as are best on validation."""
        x, labels = self._validation
        for labelled in budgets:
            bank, known = self._features.of(labelled)
            counts = tuple(count for count in NEIGHBOURS if count <= len(bank))
            right = neighbours.vote(x, bank, known, self._classes, counts) == labels  # (counts, validation images)
            best = counts[int(right.float().mean(1).argmax())]
            right = neighbours.vote(self._test, bank, known, self._classes, (best,)) == self.labels
            value = right.float().mean().item()
            yield record(use="neighbours", measure="accuracy", labels=len(bank), neighbours=best, value=value)

    def unsupervised(self, record: Callable[..., Use]) -> Iterator[Use]:
        """Clusters and retrieval, which need no label but to be judged."""
        reduced, _ = self._components
        clusters = clustering.cluster(reduced, self._classes, derive(self._seed, "clusters"))
        found = vars(clustering.agreement(clusters, self.labels.cpu().numpy()))
        yield from (record(use="clustering", measure=name, value=value) for name, value in found.items())
        found = vars(neighbours.retrieve(self._test, self.labels))
        yield from (record(use="retrieval", measure=name, value=value) for name, value in found.items())

    def shown(self, logits: Tensor) -> Shown:
        """What there is to look at; the first test images, one of each class among them, ask and are mapped."""
        confusion = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        true, said = self.labels.cpu(), logits.argmax(-1).cpu()
        confusion.index_put_((true, said), torch.ones_like(true), accumulate=True)
        queries = torch.arange(min(QUERIES, len(self._test)), device=self._test.device)
        found = neighbours.nearest(self._test, queries, min(FOUND, len(self._test) - 1))
        reduced, variance = self._components
        reduced = reduced[:MOST_MAPPED]
        plane, space = (maps.tsne(reduced, dimensions, derive(self._seed, "map", dimensions)) for dimensions in (2, 3))
        return Shown(
            confusion=confusion,
            retrieved=self._places[torch.cat([queries[:, None], found], 1).cpu()],
            mapped=self._places[:MOST_MAPPED],
            components=torch.from_numpy(reduced),
            variance=torch.tensor(variance),
            plane=torch.from_numpy(plane),
            space=torch.from_numpy(space),
        )

    @cached_property
    def _components(self) -> tuple[NDArray[np.float32], float]:
        return maps.components(self._test.cpu().numpy(), derive(self._seed, "components"))
