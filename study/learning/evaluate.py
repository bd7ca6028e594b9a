"""Evaluation: classifiers from label subsets, in the modes of the curve, and which labels decide between them.

`frozen` and `random` read the features of an encoder that does not change with a linear head; `finetuned` and
`supervised` train one and the same network, from the pretrained encoder and from scratch. Held-out validation images
choose settings and the moment to stop, or, within the budget, folds of the label subset itself; where there are no
folds, settings are fixed and training goes on to its end.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from methods.encoders import Encoder
from methods.method import Config
from methods.precision import Precision
from methods.supervised import Supervised
from study.data.dataset import Dataset
from study.learning.features import FrozenFeatures, Score
from study.learning.folds import Fold, folds, stratified
from study.learning.heads import PENALTIES, LinearHeads, settings
from study.learning.network import score_network, train_network
from study.learning.schedule import CHECKS, PATIENCE, images_for
from study.records import Validation
from study.seeds import derive

Places = NDArray[np.int64]

FIXED_PENALTY = 1e-4  # where one label a class leaves nothing to choose it by
LEAST_WATCHED, MOST_WATCHED = 200, 1000  # validation images that tell a network when to stop

ONE_LABEL = (
    "--validation within-budget needs two labels of each class behind the objective, for one to tell what was learned "
    "from the other: raise --objective-fraction"
)


@dataclass(frozen=True)
class Judges:
    """Which images decide, and which are looked at in the end."""

    validation: Validation
    dataset: Dataset
    seed: int  # of the folds

    def folds(self, subset: Places) -> list[Fold]:
        """The folds of a label subset."""
        return folds(subset, self.dataset.labels, derive(self.seed, "folds"))


@dataclass(frozen=True)
class Fitted:
    """What came of one classifier."""

    validation: Score | None  # on held-out images, or over the folds; None where no folds exist
    test: Score | None  # None while tuning: the test images are not looked at
    seconds: float


def fit_frozen(features: FrozenFeatures, subsets: Sequence[Places], judges: Judges, smoothing: float) -> list[Fitted]:
    """A linear head on fixed features for each label subset, all fitted together; the best penalty is tested.

    The seconds of each are its share of the whole.
    """
    started = time.perf_counter()
    fitted = features.heads(subsets, settings(smoothing))
    held_out = judges.validation == "heldout"
    found = _held_out(features, fitted, judges) if held_out else _over_folds(features, subsets, judges, smoothing)
    scored: list[tuple[Score | None, Score]] = []
    for heads, on_validation in zip(fitted, found, strict=True):
        best = _best(on_validation)
        (on_test,) = features.scores(heads.only(best), judges.dataset.test)
        scored.append((on_validation[best] if on_validation else None, on_test))
    seconds = (time.perf_counter() - started) / max(1, len(scored))
    return [Fitted(on_validation, on_test, seconds) for on_validation, on_test in scored]


def frozen_objective(features: FrozenFeatures, subsets: Sequence[Places], judges: Judges, smoothing: float) -> float:
    """What a search maximises: validation accuracy of linear heads, the mean over `subsets`, at the best penalty.

    Raises ValueError within the budget where a class has one label only.
    """
    if judges.validation == "heldout":
        found = _held_out(features, features.heads(subsets, settings(smoothing)), judges)
    else:
        found = _over_folds(features, subsets, judges, smoothing)
    if not all(found):
        raise ValueError(ONE_LABEL)
    return float(np.mean([[each.accuracy for each in scores] for scores in found], axis=0).max())


def _held_out(features: FrozenFeatures, fitted: Sequence[LinearHeads], judges: Judges) -> list[list[Score]]:
    """For each subset's heads the score of each penalty on the validation images."""
    return [features.scores(heads, judges.dataset.validation) for heads in fitted]


def _over_folds(
    features: FrozenFeatures, subsets: Sequence[Places], judges: Judges, smoothing: float
) -> list[list[Score]]:
    """For each subset the score of each penalty over its folds; none where it has no folds."""
    split = [judges.folds(subset) for subset in subsets]
    every = [fold for parts in split for fold in parts]
    heads = iter(features.heads([fold.learned for fold in every], settings(smoothing)))
    return [pooled([(features.scores(next(heads), fold.told), len(fold.told)) for fold in parts]) for parts in split]


def pooled(told: Sequence[tuple[Sequence[Score], int]]) -> list[Score]:
    """The scores of each setting, or check, over all folds, each fold counted by its images."""
    if not told:
        return []
    counts = np.array([count for _, count in told])
    accuracies = np.average([[each.accuracy for each in scores] for scores, _ in told], axis=0, weights=counts)
    top5 = np.average([[each.top5 for each in scores] for scores, _ in told], axis=0, weights=counts)
    return [Score(float(one), float(five)) for one, five in zip(accuracies, top5, strict=True)]


def _best(scores: Sequence[Score]) -> int:
    """Which penalty: the best one, and the fixed one where nothing was told."""
    if not scores:
        return PENALTIES.index(FIXED_PENALTY)
    return max(range(len(scores)), key=lambda place: scores[place].accuracy)


def fit_network(
    draw: Callable[[], Encoder],
    config: Config,
    encoder_lr: float,
    judges: Judges,
    subset: Places,
    *,
    seed: int,
    device: torch.device,
    test: bool,
    precision: Precision = "float32",
) -> Fitted:
    """Train the encoder that `draw` gives and a linear head on the images at `subset`.

    Held out: the weights that were best on validation come back whole, BatchNorm statistics included; a draw goes to
    the longer trained. Within the budget: folds tell after which check to stop, and that is where training on all of
    the subset ends. Validation and test images are never augmented.
    """
    started = time.perf_counter()
    dataset = judges.dataset
    train = partial(
        train_network,
        config=config,
        encoder_lr=encoder_lr,
        dataset=dataset,
        seed=seed,
        device=device,
        precision=precision,
    )
    found: Score | None
    if judges.validation == "heldout":
        network, found = _best_weights(train(draw(), subset=subset), judges, len(subset), device)
    else:
        told = [
            ([score_network(each, dataset, fold.told, device) for each in train(draw(), subset=fold.learned)], fold)
            for fold in judges.folds(subset)
        ]
        by_check = pooled([(scores, len(fold.told)) for scores, fold in told])
        last = max(range(CHECKS), key=lambda check: (by_check[check].accuracy, check)) if by_check else CHECKS - 1
        network, found = next(islice(train(draw(), subset=subset), last, None)), by_check[last] if by_check else None
    on_test = score_network(network, dataset, dataset.test, device) if test else None
    return Fitted(found, on_test, time.perf_counter() - started)


def _best_weights(
    training: Iterator[Supervised], judges: Judges, labels: int, device: torch.device
) -> tuple[Supervised, Score]:
    """The network with its best weights, whole, and how it does on all validation images."""
    dataset, seen = judges.dataset, watched(judges, labels)
    best, since = -1.0, 0
    for network in training:
        found = score_network(network, dataset, seen, device).accuracy
        since = 0 if found > best else since + 1
        if found >= best:  # a draw goes to the longer trained
            best, state = found, copy.deepcopy(network.state_dict())
        if since > PATIENCE:
            break
    network.load_state_dict(state)
    return network, score_network(network, dataset, dataset.validation, device)


def watched(judges: Judges, labels: int) -> Places:
    """The validation images that tell a fit to so many labels when to stop: a part of them, stratified.

    To look at all of them eight times would cost more than a training on few labels; the end is scored on all.
    """
    most = max(LEAST_WATCHED, min(MOST_WATCHED, images_for(labels) // 4))
    return stratified(judges.dataset.validation, judges.dataset.labels, most, derive(judges.seed, "watched"))
