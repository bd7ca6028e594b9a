"""Heads: linear classifiers on fixed features, all penalties at once.

Multinomial logistic regression with an L2 penalty, solved by accelerated steps under Boehning's fixed bound of the
Hessian (Boehning, "Multinomial logistic regression algorithm", 1992). In the eigenbasis of the features that bound is
diagonal, so an iteration is two matrix products for all penalties together, without step sizes or line searches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # L2 penalties that validation chooses from
_ITERATIONS = 200


@dataclass(frozen=True)
class LinearHead:
    """Fitted problems over one feature space: P penalties of one label subset.

    Shape:
        features (M, D) -> logits (P, M, K)
    """

    mean: Tensor  # (D,)
    scale: Tensor  # scalar
    basis: Tensor  # (D, R): orthogonal directions that the features span
    weights: Tensor  # (R + 1, P, K); the last row is the bias

    def logits(self, features: Tensor) -> Tensor:
        """Class scores of each penalty's head."""
        coordinates = _with_bias(((features - self.mean) / self.scale) @ self.basis)  # (M, R + 1)
        scores = coordinates @ self.weights.flatten(1)  # (M, P * K)
        return scores.view(len(features), *self.weights.shape[1:]).transpose(0, 1)


def fit_linear(
    features: Tensor, labels: Tensor, classes: int, penalties: tuple[float, ...] = PENALTIES, smoothing: float = 0.0
) -> LinearHead:
    """Fit one head a penalty to the same labelled features.

    The minimised loss is mean cross-entropy + penalty / 2 * |weights|^2 on features centred and divided by their root
    mean square norm; the bias is not penalised. `smoothing` mixes that share of the uniform distribution into the
    targets.

    Shape:
        features (n, D), labels (n,) int64
    """
    n = len(features)
    mean = features.mean(0)
    centred = features - mean
    scale = centred.square().sum(1).mean().sqrt().clamp_min(1e-8)
    centred = centred / scale
    basis, spread = _eigenbasis(centred)  # (D, R), (R,): weights outside the span of the features stay zero
    x = _with_bias(centred @ basis)  # (n, R + 1), orthogonal columns
    targets = torch.full((n, classes), smoothing / classes, device=x.device)
    targets[torch.arange(n, device=x.device), labels] += 1 - smoothing

    strength = torch.tensor(penalties, device=x.device)[None, :, None]  # (1, P, 1)
    penalised = torch.cat([torch.ones_like(spread), spread.new_zeros(1)])[:, None, None]  # (R + 1, 1, 1)
    # Boehning: the Hessian is at most (1/2) X'X / n; X'X is diagonal here. The bias column has squared norm n.
    curvature = 0.5 * torch.cat([spread, spread.new_full((1,), float(n))])[:, None, None] / n
    step = 1 / (curvature + strength * penalised)

    weights = x.new_zeros(x.shape[1], len(penalties), classes)  # (R + 1, P, K): all penalties in one matrix product
    previous = weights
    momentum = 1.0
    for _ in range(_ITERATIONS):
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = weights + (momentum - 1) / following * (weights - previous)
        scores = (x @ ahead.flatten(1)).view(n, *ahead.shape[1:])  # (n, P, K)
        error = scores.softmax(-1) - targets[:, None]
        gradient = (x.T @ error.flatten(1)).view_as(ahead) / n + strength * penalised * ahead
        previous, weights = weights, ahead - step * gradient
        # Restart the acceleration of a problem that it drives uphill (O'Donoghue and Candes, 2015).
        uphill = ((ahead - weights) * (weights - previous)).sum((0, 2), keepdim=True) > 0
        previous = torch.where(uphill, weights, previous)
        momentum = following
    return LinearHead(mean, scale, basis, weights)


def _eigenbasis(x: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions of centred features and the squared length along each: (n, D) -> (D, R), (R,)."""
    if x.shape[0] < x.shape[1]:
        values, vectors = torch.linalg.eigh(x @ x.T)
        kept = values > values[-1] * 1e-6
        values, vectors = values[kept], vectors[:, kept]
        return x.T @ (vectors / values.sqrt()), values
    values, vectors = torch.linalg.eigh(x.T @ x)
    kept = values > values[-1] * 1e-6
    return vectors[:, kept], values[kept]


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)
