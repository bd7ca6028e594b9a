"""Evaluation: one classifier from one label subset, in the four modes of the curve.

`frozen` and `random` read the features of an encoder that does not change with a linear head; `finetuned` and
`supervised` train one and the same network, from the pretrained encoder and from scratch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.encoders import Encoder
from methods.method import Batch, Config
from methods.supervised import Supervised
from study.data.dataset import Dataset
from study.learning.features import FrozenFeatures, Score, score
from study.learning.heads import settings
from study.learning.pretrain import Pool, to_images
from study.seeds import derive

Places = NDArray[np.int64]

_CHECKS = 8  # how often a fit looks at validation
_PATIENCE = 3  # checks without a better one, after which it stops


@dataclass(frozen=True)
class Fitted:
    """What came of one classifier."""

    validation: Score
    test: Score | None  # None while tuning: the test images are not looked at
    seconds: float


def fit_frozen(
    features: FrozenFeatures, subsets: Sequence[Places], validation: Places, test: Places, smoothing: float
) -> list[Fitted]:
    """A linear head on fixed features for each label subset, all fitted together; validation chooses its penalty.

    The seconds of each are its share of the whole.
    """
    started = time.perf_counter()
    scored = []
    for heads in features.heads(subsets, settings(smoothing)):
        found = features.scores(heads, validation)
        best = max(range(len(found)), key=lambda place: found[place].accuracy)
        scored.append((found[best], *features.scores(heads.only(best), test)))
    seconds = (time.perf_counter() - started) / max(1, len(scored))
    return [Fitted(on_validation, on_test, seconds) for on_validation, on_test in scored]


def frozen_objective(
    features: FrozenFeatures, subsets: Sequence[Places], validation: Places, smoothing: float
) -> float:
    """What a search maximises: validation accuracy of linear heads, the mean over `subsets`, at the best penalty."""
    accuracies = [
        [found.accuracy for found in features.scores(heads, validation)]
        for heads in features.heads(subsets, settings(smoothing))
    ]  # subsets x penalties
    return float(np.mean(accuracies, axis=0).max())


def fit_network(
    encoder: Encoder,
    config: Config,
    encoder_lr: float,
    dataset: Dataset,
    subset: Places,
    *,
    seed: int,
    device: torch.device,
    test: bool,
) -> Fitted:
    """Train encoder and a linear head on the images at `subset`, then score the weights that were best on validation.

    Adam under one cycle of the learning rate: `config.lr` for the head, `encoder_lr` for the encoder, which is changed.
    Validation and test images are never augmented; the best weights come back whole, BatchNorm statistics included.
    """
    started = time.perf_counter()
    torch.manual_seed(derive(seed, "network"))
    network = Supervised(config, encoder, len(dataset.classes)).to(device).to(memory_format=torch.channels_last)
    head = [weight for name, weight in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": head, "lr": config.lr}, {"params": encoder.parameters(), "lr": encoder_lr}]
    optimizer = torch.optim.Adam(groups, fused=True)
    pool = Pool(dataset, subset, device, labelled_only=True)
    size = min(config.batch_size, len(pool))
    steps = images_for(len(pool)) // size
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps))
    check_every = max(1, steps // _CHECKS)
    best, best_state, checks_since = Score(-1.0, -1.0), copy.deepcopy(network.state_dict()), 0
    for step, batch in enumerate(batches(pool, size, steps, seed), start=1):
        network.train()
        optimizer.zero_grad()
        torch.autograd.backward(network(batch)["class"])
        optimizer.step()
        rates.step()
        if step % check_every and step < steps:
            continue
        found = score(
            predict(network, dataset, dataset.validation, device), _labels(dataset, dataset.validation, device)
        )
        checks_since += 1
        if found.accuracy >= best.accuracy:  # a draw goes to the longer trained
            checks_since = 0 if found.accuracy > best.accuracy else checks_since
            best, best_state = found, copy.deepcopy(network.state_dict())
        if checks_since > _PATIENCE:
            break
    network.load_state_dict(best_state)
    on_test = (
        score(predict(network, dataset, dataset.test, device), _labels(dataset, dataset.test, device)) if test else None
    )
    return Fitted(best, on_test, time.perf_counter() - started)


def images_for(labels: int) -> int:
    """How many images a fit sees at most: 60 epochs of 13 labels, 8 of 1,257; both trained modes get the same."""
    return int(200 * labels**0.55)


def one_cycle(progress: float) -> float:
    """Share of the top learning rate at `progress` in [0, 1]: up for a tenth, down along a cosine."""
    warm = 0.1
    if progress < warm:
        return 0.1 + 0.9 * progress / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))


def batches(pool: Pool, size: int, steps: int, seed: int) -> Iterator[Batch]:
    """`steps` batches, epoch after epoch in another order."""
    order: Places = np.empty(0, dtype=np.int64)
    epoch = 0
    for step in range(steps):
        if len(order) < size:
            order = np.concatenate([order, np.random.default_rng(derive(seed, "fit", epoch)).permutation(len(pool))])
            epoch += 1
        torch.manual_seed(derive(seed, "views", step))
        yield pool.batch(order[:size])
        order = order[size:]


def predict(network: Supervised, dataset: Dataset, places: Places, device: torch.device) -> Tensor:
    """Class scores of the images at `places`, in eval mode, without augmentation: (n, K)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(places), 256):
            pixels = torch.from_numpy(dataset.pixels[places[start : start + 256]]).to(device)
            parts.append(network.head(network.encoder(to_images(pixels))))
    return torch.cat(parts)


def _labels(dataset: Dataset, places: Places, device: torch.device) -> Tensor:
    return torch.from_numpy(dataset.labels[places]).to(device)
