"""Layers: classifiers of three fully connected layers on fixed features, of all label subsets and settings at once.

Linear, batch norm, ReLU, dropout, twice; then a linear layer to the classes. Weights of all problems stand in one
tensor a layer, so that a step of all is three batched matrix products each way. SGD with Nesterov momentum, as the
classifiers on features of the RotNet paper (Gidaris et al., 2018) are trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from study.learning.schedule import CHECKS, one_cycle
from study.seeds import derive

MOST_UNITS = 4096
STEPS = 160
BATCH = 64  # of each problem; a subset of fewer labels comes several times in it
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
_MOST_WEIGHTS = 16_000_000  # trained together: 64 MB, and as much for each of gradient, momentum and best state
_STATISTICS = 0.1  # how fast the running mean and variance of a batch norm follow


@dataclass(frozen=True)
class Layering:
    """What shapes such a head beside its labels."""

    dropout: float
    smoothing: float  # share of the uniform distribution in the targets


def units_for(features: int) -> int:
    """Units of the two hidden layers: an eighth of the features' number, 64 to 4096."""
    return max(64, min(MOST_UNITS, features // 8))


@dataclass(frozen=True)
class LayeredHeads:
    """P classifiers. Everything that one consists of, running statistics included, is in `state`."""

    state: dict[str, Tensor]  # each (P, ...)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.state["weight1"].device

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (P, M, K) of features (M, D), as they are when not training."""
        x = features.expand(len(self.state["weight1"]), -1, -1)
        for layer in ("1", "2"):
            x = torch.baddbmm(self.state[f"bias{layer}"], x, self.state[f"weight{layer}"])
            mean, variance = self.state[f"mean{layer}"], self.state[f"variance{layer}"]
            x = (x - mean) * (self.state[f"scale{layer}"] * (variance + 1e-5).rsqrt()) + self.state[f"shift{layer}"]
            x = x.relu()
        return torch.baddbmm(self.state["bias3"], x, self.state["weight3"])

    def where(self, chosen: Tensor, others: LayeredHeads) -> LayeredHeads:
        """These where `chosen` (P,) is true, whole, and `others` elsewhere."""
        shaped = chosen[:, None, None]  # all of the state has three axes
        return LayeredHeads({name: torch.where(shaped, mine, others.state[name]) for name, mine in self.state.items()})

    def only(self, places: slice) -> LayeredHeads:
        """Some of them."""
        return LayeredHeads({name: value[places] for name, value in self.state.items()})


def train_layers(
    features: Tensor, labels: Tensor, subsets: Sequence[Tensor], classes: int, chosen: Sequence[Layering], seed: int
) -> Iterator[LayeredHeads]:
    """Train one classifier for each pair of `subsets` and `chosen`, and yield the state of all after each check.

    Yields CHECKS times. The state is not copied: what is to be kept must be, as `where` does.

    Shape:
        features (N, D), labels (N,) int64, each subset (n,) int64 rows of them
    """
    device = features.device
    torch.manual_seed(derive(seed, "layers"))
    state = _drawn(len(subsets), features.shape[1], classes, device)
    trained = [value.requires_grad_() for name, value in state.items() if not name.startswith(("mean", "variance"))]
    optimizer = torch.optim.SGD(trained, LR, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    order = torch.stack([_order(rows, STEPS * BATCH, derive(seed, "order")) for rows in subsets]).to(device)
    dropout = torch.tensor([setting.dropout for setting in chosen], device=device)[:, None, None]  # (P, 1, 1)
    smoothing = torch.tensor([setting.smoothing for setting in chosen], device=device)[:, None, None]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR * one_cycle(step / STEPS)
        rows = order[:, step * BATCH : (step + 1) * BATCH]  # (P, BATCH)
        targets = (1 - smoothing) * F.one_hot(labels[rows], classes) + smoothing / classes  # (P, BATCH, K)
        scores = _training(state, features[rows], dropout)
        loss = -(targets * scores.log_softmax(-1)).sum(-1).mean(-1).sum()  # the problems do not touch one another
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if (step + 1) % (STEPS // CHECKS) == 0:
            yield LayeredHeads({name: value.detach() for name, value in state.items()})


def together(features: int) -> int:
    """How many classifiers are trained at once, so that their weights fit into memory."""
    units = units_for(features)
    return max(1, _MOST_WEIGHTS // (units * (features + units)))


def _drawn(problems: int, features: int, classes: int, device: torch.device) -> dict[str, Tensor]:
    """First weights, the same for all problems: torch's own of a linear layer, uniform within 1 / sqrt(inputs)."""
    units = units_for(features)
    state = {}
    for layer, (inputs, outputs) in enumerate(((features, units), (units, units), (units, classes)), start=1):
        bound = inputs**-0.5
        state[f"weight{layer}"] = torch.empty(1, inputs, outputs).uniform_(-bound, bound)
        state[f"bias{layer}"] = torch.zeros(1, 1, outputs)
        if layer < 3:
            state[f"scale{layer}"], state[f"shift{layer}"] = torch.ones(1, 1, outputs), torch.zeros(1, 1, outputs)
            state[f"mean{layer}"], state[f"variance{layer}"] = torch.zeros(1, 1, outputs), torch.ones(1, 1, outputs)
    return {name: value.repeat(problems, 1, 1).to(device) for name, value in state.items()}


def _training(state: dict[str, Tensor], x: Tensor, dropout: Tensor) -> Tensor:
    """Class scores (P, BATCH, K) by the batch's own statistics, which the running ones follow."""
    for layer in ("1", "2"):
        x = torch.baddbmm(state[f"bias{layer}"], x, state[f"weight{layer}"])  # (P, BATCH, units)
        variance, mean = torch.var_mean(x, 1, keepdim=True, correction=0)
        x = (x - mean) * (state[f"scale{layer}"] * (variance + 1e-5).rsqrt()) + state[f"shift{layer}"]
        with torch.no_grad():
            state[f"mean{layer}"].lerp_(mean, _STATISTICS)
            state[f"variance{layer}"].lerp_(variance * (BATCH / (BATCH - 1)), _STATISTICS)
        x = x.relu()
        x = x * (torch.rand_like(x) >= dropout) / (1 - dropout)
    return torch.baddbmm(state["bias3"], x, state["weight3"])


def _order(rows: Tensor, count: int, seed: int) -> Tensor:
    """The rows again and again, each time in another order: `count` of them."""
    random = np.random.default_rng(seed)
    ordered = rows.sort().values.cpu()
    passes = [torch.from_numpy(random.permutation(len(rows))) for _ in range(-(-count // len(rows)))]
    return ordered[torch.cat(passes)[:count]]
