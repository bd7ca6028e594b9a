"""Logistic regressions of many label subsets and many settings, solved together by L-BFGS until the gradient is small.

Each problem is convex and stands alone; they share matrix products. Features come in the eigenbasis of their own second
moments, where a bound of the Hessian is diagonal (Boehning, "Multinomial logistic regression algorithm", 1992) and
preconditions L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.4). Scores are linear in the weights, so
a line search costs no matrix product. Settings that have converged leave, and the slowest do not hold up the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-4  # norm of the gradient, over features whose mean square norm is 1
_MOST_ITERATIONS = 500
_MEMORY = 5
_HESSIAN = 0.1  # of the second moments: p (1 - p) lies between 0 and 1/4, and near this for ten classes at the start


@dataclass(frozen=True)
class Problems:
    """B label subsets, each with S settings. A subset of fewer rows or directions than others is padded with zeros.

    The minimised loss of each is mean cross-entropy + penalty / 2 * |weights|^2; the bias is not penalised.
    """

    coordinates: Tensor  # (B, n, R), of orthogonal columns
    share: Tensor  # (B, n): what a row counts, 1 by the rows of its subset, 0 where it is padding
    targets: Tensor  # (B, S, K, n): the distribution over classes that each row is to have
    penalties: Tensor  # (S,)


@dataclass(frozen=True)
class Solutions:
    """Weights of all problems, and how near to the minimum they are."""

    weights: Tensor  # (B, S, K, R)
    bias: Tensor  # (B, S, K)
    gradient: Tensor  # (B, S): its norm


def solve(problems: Problems, tolerance: float = TOLERANCE) -> Solutions:
    """Minimise every problem from zero until the norm of its gradient is at most `tolerance`."""
    descent = _Descent(problems)
    running = torch.arange(len(problems.penalties), device=problems.penalties.device)
    weights = torch.zeros_like(descent.weights)
    gradient = weights.new_zeros(weights.shape[:2])
    for iteration in range(_MOST_ITERATIONS + 1):
        norm = descent.gradient.square().sum((2, 3)).sqrt()
        going_on = (norm > tolerance).any(0)  # (S,)
        if iteration == _MOST_ITERATIONS or not going_on.all():
            weights[:, running], gradient[:, running] = descent.weights, norm
            if iteration == _MOST_ITERATIONS or not going_on.any():
                break
            running = running[going_on]
            descent.keep(going_on)
        descent.step()
    return Solutions(weights[..., :-1], weights[..., -1], gradient)


class _Descent:
    """The settings that still run, (B, S) problems over x (B, n, R + 1) whose last column is the bias."""

    def __init__(self, problems: Problems) -> None:
        real = (problems.share > 0).to(problems.coordinates)
        self.x = torch.cat([problems.coordinates, real[..., None]], 2)
        self.share = problems.share[:, None, None]  # (B, 1, 1, n)
        self.targets = problems.targets
        self.penalty = problems.penalties[None, :, None, None] * self.x.new_ones(1, 1, 1, self.x.shape[2])
        self.penalty[..., -1] = 0
        self.penalty = self.penalty.expand(len(self.x), -1, -1, -1)  # (B, S, 1, R + 1)
        moments = (self.x.square() * problems.share[..., None]).sum(1)[:, None, None]  # (B, 1, 1, R + 1)
        self.inverse = 1 / (_HESSIAN * moments + self.penalty)  # of the Hessian's bound
        self.weights = self.x.new_zeros(*self.targets.shape[:3], self.x.shape[2])  # (B, S, K, R + 1)
        self.scores = torch.zeros_like(self.targets)  # (B, S, K, n)
        self.gradient = self._gradient()
        self.memory: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of the gradient, 1 / their product

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the settings alone."""
        self.targets, self.penalty, self.inverse = (
            each[:, chosen] for each in (self.targets, self.penalty, self.inverse)
        )
        self.weights, self.scores, self.gradient = (
            each[:, chosen] for each in (self.weights, self.scores, self.gradient)
        )
        self.memory = [(s[:, chosen], y[:, chosen], r[:, chosen]) for s, y, r in self.memory]

    def step(self) -> None:
        """One iteration: a direction, how far to go along it, and the gradient there."""
        direction = self._direction()
        change = torch.bmm(direction.flatten(1, 2), self.x.mT).view_as(self.scores)
        length = self._length(direction, change)
        self.weights = self.weights + length * direction
        self.scores = self.scores + length * change
        before, self.gradient = self.gradient, self._gradient()
        bend = self.gradient - before
        curvature = length * _product(direction, bend)
        self.memory = [*self.memory, (length * direction, bend, 1 / curvature.clamp_min(1e-20))][-_MEMORY:]

    def _gradient(self) -> Tensor:
        error = (self.scores.softmax(2) - self.targets) * self.share  # (B, S, K, n)
        return torch.bmm(error.flatten(1, 2), self.x).view_as(self.weights) + self.penalty * self.weights

    def _direction(self) -> Tensor:
        """Two loops over the memory: minus an approximate inverse of the Hessian, times the gradient."""
        direction = -self.gradient
        shares: list[Tensor] = []
        for step, bend, inverse in reversed(self.memory):
            shares.append(inverse * _product(step, direction))
            direction = direction - shares[-1] * bend
        direction = self.inverse * direction
        if self.memory:
            step, bend, _ = self.memory[-1]
            direction = direction * (_product(step, bend) / _product(bend, self.inverse * bend).clamp_min(1e-20))
        for (step, bend, inverse), share in zip(self.memory, reversed(shares), strict=True):
            direction = direction + (share - inverse * _product(bend, direction)) * step
        return direction

    def _length(self, direction: Tensor, change: Tensor) -> Tensor:
        """Where a Newton step along the line ends that starts at length 1: (B, S, 1, 1)."""
        predicted = (self.scores + change).softmax(2)
        mean = (predicted * change).sum(2, keepdim=True)  # (B, S, 1, n)
        slope = ((mean - (self.targets * change).sum(2, keepdim=True)) * self.share).sum(3, keepdim=True)
        slope = slope + _product(self.penalty * (self.weights + direction), direction)
        variance = (predicted * change.square()).sum(2, keepdim=True) - mean.square()
        bend = (variance * self.share).sum(3, keepdim=True) + _product(self.penalty * direction, direction)
        return (1 - slope / bend.clamp_min(1e-20)).clamp(0.05, 10)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each problem's weights: (B, S, K, R) twice -> (B, S, 1, 1)."""
    return torch.einsum("bskr,bskr->bs", a, b)[..., None, None]
