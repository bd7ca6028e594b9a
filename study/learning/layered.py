"""Layered: three fully connected layers on frozen features, for all label subsets, and which state is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.learning.evaluate import Fitted, Judges, pooled, watched
from study.learning.features import FrozenFeatures, Score, score
from study.learning.layers import LayeredHeads, Layering, together, train_layers
from study.learning.schedule import CHECKS, PATIENCE
from study.seeds import derive

Places = NDArray[np.int64]

DROPOUTS = (0.0, 0.5)  # what validation chooses from
_IMAGES = 1000  # scored at a time


def fit_layered(features: FrozenFeatures, subsets: Sequence[Places], judges: Judges, smoothing: float) -> list[Fitted]:
    """Three layers on fixed features for each label subset, trained together; the best dropout is tested.

    Held out: the state that was best on validation is restored whole. Within the budget: folds tell the dropout and
    when to stop; without folds the first dropout is trained to its end. The seconds of each are its share of the whole.
    """
    started = time.perf_counter()
    scaled = _Scaled.of(features, subsets, judges)
    choose = _held_out if judges.validation == "heldout" else _within_budget
    scored = list(choose(scaled, subsets, smoothing))
    seconds = (time.perf_counter() - started) / max(1, len(scored))
    return [Fitted(on_validation, on_test, seconds) for on_validation, on_test in scored]


@dataclass(frozen=True)
class _Scaled:
    """Features centred and scaled as those of the labelled images are; batch norm undoes what is left of it."""

    features: FrozenFeatures
    judges: Judges
    union: Places  # of all subsets, in order
    labelled: Tensor  # (N, D), theirs
    labels: Tensor  # (N,)
    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: FrozenFeatures, subsets: Sequence[Places], judges: Judges) -> _Scaled:
        union = np.unique(np.concatenate(subsets))
        x, labels = features.of(union)
        mean = x.mean(0)
        spread = (x - mean).square().mean().sqrt().clamp_min(1e-8)
        return cls(features, judges, union, (x - mean) / spread, labels, mean, spread)

    def train(self, subsets: Sequence[Places], chosen: Sequence[Layering]) -> Iterator[LayeredHeads]:
        """The heads of all pairs of a subset and a setting, after each check."""
        rows = [torch.from_numpy(np.searchsorted(self.union, subset)) for subset in subsets]
        seed, classes = derive(self.judges.seed, "layered"), len(self.judges.dataset.classes)
        return train_layers(self.labelled, self.labels, rows, classes, chosen, seed)

    def scores(self, heads: LayeredHeads, places: Places) -> list[Score]:
        """How each of the heads does on some images."""
        x, labels = self.features.of(places)
        with torch.inference_mode():
            blocks = [
                heads.logits((x[start : start + _IMAGES] - self.mean) / self.spread)
                for start in range(0, len(x), _IMAGES)
            ]
        return [score(logits, labels) for logits in torch.cat(blocks, 1)]

    def blocks(self, count: int, each: int) -> Iterator[slice]:
        """Parts of `count` subsets, so small that `each` heads of all in one fit into memory."""
        size = max(1, together(self.labelled.shape[1]) // each)
        yield from (slice(start, min(start + size, count)) for start in range(0, count, size))


def _held_out(scaled: _Scaled, subsets: Sequence[Places], smoothing: float) -> Iterator[tuple[Score | None, Score]]:
    dataset = scaled.judges.dataset
    seen = watched(scaled.judges, max(len(subset) for subset in subsets))
    for part in scaled.blocks(len(subsets), len(DROPOUTS)):
        pairs = [(subset, Layering(dropout, smoothing)) for subset in subsets[part] for dropout in DROPOUTS]
        kept = _best_of(
            scaled.train([subset for subset, _ in pairs], [layering for _, layering in pairs]),
            lambda heads: [found.accuracy for found in scaled.scores(heads, seen)],
        )
        on_validation = scaled.scores(kept, dataset.validation)
        for place in range(0, len(pairs), len(DROPOUTS)):
            best = max(range(place, place + len(DROPOUTS)), key=lambda each: on_validation[each].accuracy)
            (on_test,) = scaled.scores(kept.only(slice(best, best + 1)), dataset.test)
            yield on_validation[best], on_test


def _best_of(training: Iterable[LayeredHeads], accuracies: Callable[[LayeredHeads], Sequence[float]]) -> LayeredHeads:
    """Each head's state at the check where its accuracy was highest, the later on a draw; none after it has stopped."""
    kept: LayeredHeads | None = None
    best = since = torch.empty(0)
    for heads in training:
        found = torch.tensor(accuracies(heads))
        if kept is None:
            kept, best, since = (
                heads.where(torch.ones_like(found, dtype=torch.bool), heads),
                found,
                torch.zeros_like(found),
            )
            continue
        running = since <= PATIENCE
        kept = heads.where((running & (found >= best)).to(heads.device), kept)
        since = torch.where(found > best, 0, since + 1).where(running, since)
        best = found.maximum(best).where(running, best)
        if not running.any():
            break
    assert kept is not None, "a training is looked at once at least"
    return kept


def _within_budget(
    scaled: _Scaled, subsets: Sequence[Places], smoothing: float
) -> Iterator[tuple[Score | None, Score]]:
    for subset in subsets:
        parts = scaled.judges.folds(subset)
        pairs = [(fold, Layering(dropout, smoothing)) for dropout in DROPOUTS for fold in parts]
        told: list[list[Score]] = [[] for _ in pairs]  # pairs x checks
        for part in scaled.blocks(len(pairs), 1):
            for heads in scaled.train([fold.learned for fold, _ in pairs[part]], [each for _, each in pairs[part]]):
                for place, (fold, _) in enumerate(pairs[part]):
                    told[part.start + place] += scaled.scores(heads.only(slice(place, place + 1)), fold.told)
        dropout, last, found = DROPOUTS[0], CHECKS - 1, None
        for number, each in enumerate(DROPOUTS):
            over_folds = told[number * len(parts) : (number + 1) * len(parts)]
            by_check = pooled([(scores, len(fold.told)) for scores, fold in zip(over_folds, parts, strict=True)])
            for check, reached in enumerate(by_check):
                if found is None or reached.accuracy > found.accuracy:
                    dropout, last, found = each, check, reached
        heads = next(islice(scaled.train([subset], [Layering(dropout, smoothing)]), last, None))
        (on_test,) = scaled.scores(heads, scaled.judges.dataset.test)
        yield found, on_test
