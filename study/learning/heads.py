"""Heads: linear classifiers on fixed features, those of all label subsets and all settings at once.

Multinomial logistic regression with an L2 penalty. A subset's own features span few directions, so each problem is
solved in the eigenbasis of what it has seen, which changes nothing of the minimum and makes small subsets cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from study.learning.logistic import TOLERANCE, Problems, solve

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # L2 penalties that validation chooses from
_PADDED = 1.3  # a subset is solved together with those that have at most so many times its rows
_MOST_NUMBERS = 50_000_000  # scores solved together, 200 MB; a larger subset is solved alone


@dataclass(frozen=True)
class Setting:
    """What shapes a linear head beside its labels."""

    penalty: float  # L2
    smoothing: float = 0.0  # share of the uniform distribution in the targets


def settings(smoothing: float, penalties: Sequence[float] = PENALTIES) -> tuple[Setting, ...]:
    """One setting a penalty."""
    return tuple(Setting(penalty, smoothing) for penalty in penalties)


@dataclass(frozen=True)
class LinearHeads:
    """The heads of one label subset, one a setting.

    Shape:
        features (M, D) -> logits (S, M, K)
    """

    weights: Tensor  # (S, K, D)
    bias: Tensor  # (S, K)
    scale: float  # root mean square norm of the subset's centred features, in whose units penalties are
    gradient: Tensor  # (S,): norm of the loss's gradient, in the same units

    def logits(self, features: Tensor) -> Tensor:
        """Class scores of each setting's head."""
        scores = features @ self.weights.flatten(0, 1).T + self.bias.flatten()  # (M, S * K)
        return scores.view(len(features), *self.bias.shape).transpose(0, 1)

    def only(self, place: int) -> LinearHeads:
        """The head of one setting."""
        one = slice(place, place + 1)
        return replace(self, weights=self.weights[one], bias=self.bias[one], gradient=self.gradient[one])


def fit_linear(
    features: Tensor,
    labels: Tensor,
    subsets: Sequence[Tensor],
    classes: int,
    chosen: Sequence[Setting],
    tolerance: float = TOLERANCE,
) -> list[LinearHeads]:
    """Fit the heads of each subset, whose rows of `features` it names; a subset that comes twice is fitted once.

    The minimised loss is mean cross-entropy + penalty / 2 * |weights|^2 on features centred and divided by their root
    mean square norm; the bias is not penalised.

    Shape:
        features (N, D), labels (N,) int64, each subset (n,) int64
    """
    rows = [subset.sort().values for subset in subsets]  # the order of the labels changes nothing
    names = [tuple(each.tolist()) for each in rows]
    spans = {name: _Span.of(features[each], labels[each]) for name, each in dict(zip(names, rows, strict=True)).items()}
    found: dict[tuple[int, ...], LinearHeads] = {}
    for group in _alike({name: span.coordinates.shape for name, span in spans.items()}, len(chosen) * classes):
        problems = _problems([spans[name] for name in group], classes, chosen)
        solutions = solve(problems, tolerance)
        for place, name in enumerate(group):
            weights, bias = spans[name].lift(solutions.weights[place], solutions.bias[place])
            found[name] = LinearHeads(weights, bias, spans[name].scale.item(), solutions.gradient[place])
    return [found[name] for name in names]


@dataclass(frozen=True)
class _Span:
    """A subset in the coordinates of the directions that its centred, scaled features span."""

    coordinates: Tensor  # (n, R), orthogonal columns
    labels: Tensor  # (n,)
    mean: Tensor  # (D,)
    scale: Tensor  # scalar
    directions: tuple[Tensor, ...]  # whose product is (R, D)

    @classmethod
    def of(cls, features: Tensor, labels: Tensor) -> _Span:
        mean = features.mean(0)
        centred = features - mean
        scale = centred.square().sum(1).mean().sqrt().clamp_min(1e-8)
        centred = centred / scale
        if centred.shape[0] < centred.shape[1]:
            values, vectors = _eigen(centred @ centred.T)
            lengths = values.sqrt()
            return cls(vectors * lengths, labels, mean, scale, ((vectors / lengths).T, centred))
        _, vectors = _eigen(centred.T @ centred)
        return cls(centred @ vectors, labels, mean, scale, (vectors.T,))

    def lift(self, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (S, K, R) and bias (S, K) as they act on the features themselves: (S, K, D), (S, K)."""
        weights = weights[..., : self.coordinates.shape[1]] / self.scale
        for factor in self.directions:
            weights = weights @ factor
        return weights, bias - weights @ self.mean


def _eigen(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues that are not rounding, (R,), and their vectors, (n, R)."""
    values, vectors = torch.linalg.eigh(moments)
    kept = values > values[-1] * 1e-6
    return values[kept], vectors[:, kept]


def _alike(shapes: dict[tuple[int, ...], torch.Size], width: int) -> Iterator[list[tuple[int, ...]]]:
    """Groups of subsets of about the same size, by name: what is solved together is padded to the largest."""
    group: list[tuple[int, ...]] = []
    for name in sorted(shapes, key=lambda name: sum(shapes[name])):
        numbers = (len(group) + 1) * width * sum(shapes[name])
        if group and (sum(shapes[name]) > _PADDED * sum(shapes[group[0]]) or numbers > _MOST_NUMBERS):
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _problems(spans: Sequence[_Span], classes: int, chosen: Sequence[Setting]) -> Problems:
    """Pad the subsets to one shape, and smooth their labels."""
    first = spans[0].coordinates
    most = max(len(span.coordinates) for span in spans)
    widest = max(span.coordinates.shape[1] for span in spans)
    coordinates = first.new_zeros(len(spans), most, widest)
    share = first.new_zeros(len(spans), most)
    targets = first.new_zeros(len(spans), len(chosen), classes, most)
    smoothing = first.new_tensor([setting.smoothing for setting in chosen])[:, None, None]  # (S, 1, 1)
    for place, span in enumerate(spans):
        n, directions = span.coordinates.shape
        coordinates[place, :n, :directions] = span.coordinates
        share[place, :n] = 1 / n
        hot = F.one_hot(span.labels, classes).T.to(first)  # (K, n)
        targets[place, :, :, :n] = (1 - smoothing) * hot + smoothing / classes
    return Problems(coordinates, share, targets, first.new_tensor([setting.penalty for setting in chosen]))
