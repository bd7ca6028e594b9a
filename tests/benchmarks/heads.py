"""heads: scikit-learn's logistic regressions, one fit after another, against all heads as one batched problem.

Both fit the heads of a curve: 7 fractions x 5 draws of the labels x 16 penalties, on the features of a convnet that
learned rotations for two epochs. They minimise the same loss on the same numbers, in single precision, and stop by the
gradient; scikit-learn's is measured after its fit, so that a reader sees who was the more exact.
"""

from __future__ import annotations

import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from methods.method import Method
from study.data.dataset import Dataset, prepare, subset
from study.data.sources import open_source
from study.learning.features import extract
from study.learning.heads import LinearHeads, Setting, fit_linear, settings
from study.learning.pretrain import Judgement, Place, Plan, pretrain
from study.options import FRACTIONS

DRAWS = 5
PENALTIES = tuple(np.logspace(-5, -1, 16).tolist())
TOLERANCES = (1e-4, 1e-6)  # scikit-learn's: its own default, and one about as exact as ours
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Theirs:
    """What scikit-learn makes of all fits, one after another."""

    seconds: float
    seconds_of_distinct: float  # leaving out subsets that were there before: with all labels the draws are one
    accuracies: Tensor  # (subsets, penalties), on test
    gradient: float  # the largest norm


def main() -> None:
    """Print `heads ratio R` at each of scikit-learn's tolerances."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
            _compare(prepare(open_source("photo-digits"), size=32, cache=Path(folder), seed=0))
    finally:
        torch.set_num_threads(threads)


def _compare(dataset: Dataset) -> None:
    encoder = _pretrained(dataset).encoder
    features, test = (extract(encoder, dataset, places, CPU) for places in (dataset.train, dataset.test))
    labels, test_labels = (torch.from_numpy(dataset.labels[places]) for places in (dataset.train, dataset.test))
    row = {place: number for number, place in enumerate(dataset.train.tolist())}
    subsets = [
        torch.tensor([row[place] for place in subset(dataset, draw=draw, seed=0, fraction=fraction).tolist()])
        for fraction in FRACTIONS
        for draw in range(DRAWS)
    ]
    chosen = settings(0.0, PENALTIES)
    fit_linear(features, labels, subsets[:1], len(dataset.classes), chosen)  # warms up
    started = time.thread_time()
    heads = fit_linear(features, labels, subsets, len(dataset.classes), chosen)
    ours = time.thread_time() - started
    accuracies = torch.stack([(each.logits(test).argmax(-1) == test_labels).float().mean(-1) for each in heads])
    worst = max(each.gradient.max().item() for each in heads)
    for tolerance in TOLERANCES:
        theirs = _one_by_one(features, labels, subsets, heads, chosen, test, test_labels, tolerance)
        differences = (theirs.accuracies - accuracies).abs()
        distinct = len({tuple(sorted(each.tolist())) for each in subsets})
        print(
            f"heads ratio {theirs.seconds / ours:.1f}  scikit-learn one by one {theirs.seconds:.1f} s (tol "
            f"{tolerance:g}, gradient at most {theirs.gradient:.1g}), batched {ours:.2f} s (gradient at most "
            f"{worst:.1g}); {theirs.seconds_of_distinct / ours:.1f} over the {distinct} subsets that differ; largest "
            f"difference in test accuracy {differences.max():.4f}, mean {differences.mean():.5f} ({len(test)} images); "
            f"n = {accuracies.numel()} heads: {len(FRACTIONS)} fractions x {DRAWS} draws x {len(chosen)} penalties on "
            f"{len(features):,} labels and {features.shape[1]:,} features; CPU seconds of one thread, "
            f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, "
            f"scikit-learn {sklearn.__version__}",
            flush=True,
        )


def _one_by_one(
    features: Tensor,
    labels: Tensor,
    subsets: list[Tensor],
    heads: list[LinearHeads],
    chosen: tuple[Setting, ...],
    test: Tensor,
    test_labels: Tensor,
    tolerance: float,
) -> Theirs:
    seconds = distinct = gradient = 0.0
    accuracies = torch.zeros(len(subsets), len(chosen))
    seen: set[tuple[int, ...]] = set()
    for place, rows in enumerate(subsets):
        mean, scale = features[rows].mean(0), heads[place].scale
        x, y = ((features[rows] - mean) / scale).numpy(), labels[rows].numpy()
        unseen = ((test - mean) / scale).numpy()
        for number, setting in enumerate(chosen):
            started = time.thread_time()
            model = LogisticRegression(C=1 / (setting.penalty * len(rows)), tol=tolerance, max_iter=10_000).fit(x, y)
            took = time.thread_time() - started
            seconds += took
            distinct += 0 if tuple(sorted(rows.tolist())) in seen else took
            accuracies[place, number] = float(model.score(unseen, test_labels.numpy()))
            gradient = max(gradient, _gradient(model, x, y, setting.penalty))
        seen.add(tuple(sorted(rows.tolist())))
    return Theirs(seconds, distinct, accuracies, gradient)


def _gradient(model: LogisticRegression, x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Norm of the gradient of mean cross-entropy + penalty / 2 * |weights|^2."""
    error = (model.predict_proba(x) - np.eye(len(model.classes_))[y]) / len(x)  # (n, K)
    slope = error.T @ x + penalty * model.coef_  # (K, D)
    return float(np.sqrt(np.square(slope).sum() + np.square(error.sum(0)).sum()))


def _pretrained(dataset: Dataset) -> Method:
    plan = Plan("rotnet", "convnet", {}, epochs=2, epoch_images=len(dataset.train), seed=0)
    seen: list[Method] = []

    def keep(method: Method) -> Judgement:
        seen.append(method)
        return Judgement(0.0)

    for _ in pretrain(plan, dataset, dataset.train, keep, Place()):
        pass
    return seen[-1]
