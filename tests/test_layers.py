"""Three fully connected layers on fixed features, many problems at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.learning import layers
from study.learning.layered import _best_of
from study.learning.layers import LayeredHeads, Layering, train_layers, units_for
from study.learning.schedule import CHECKS, PATIENCE, one_cycle
from study.seeds import derive

CLASSES, FEATURES = 3, 20
ROWS = [torch.arange(12), torch.arange(100), torch.arange(40, 160)]
PLAIN = Layering(0.0, 0.1)


@pytest.fixture(scope="module")
def blobs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    return centres[labels] + torch.randn(300, FEATURES, generator=generator), labels


def states(blobs: tuple[Tensor, Tensor], rows: list[Tensor], setting: Layering = PLAIN) -> list[LayeredHeads]:
    training = train_layers(*blobs, rows, CLASSES, [setting] * len(rows), seed=0)
    return [LayeredHeads({name: value.clone() for name, value in each.state.items()}) for each in training]


def test_training_together_equals_torchs_own_layers_one_problem_at_a_time(blobs: tuple[Tensor, Tensor]) -> None:
    x, labels = blobs
    together = states(blobs, ROWS)
    assert len(together) == CHECKS
    units = units_for(FEATURES)
    for place, rows in enumerate(ROWS):
        torch.manual_seed(derive(0, "layers"))
        first = layers._drawn(1, FEATURES, CLASSES, torch.device("cpu"))
        network = nn.Sequential(
            *(nn.Linear(FEATURES, units), nn.BatchNorm1d(units), nn.ReLU()),
            *(nn.Linear(units, units), nn.BatchNorm1d(units), nn.ReLU()),
            nn.Linear(units, CLASSES),
        )
        for number, layer in enumerate((network[0], network[3], network[6]), start=1):
            assert isinstance(layer, nn.Linear)
            layer.weight.data.copy_(first[f"weight{number}"][0].T)
            layer.bias.data.zero_()
        optimizer = torch.optim.SGD(
            network.parameters(), layers.LR, layers.MOMENTUM, nesterov=True, weight_decay=layers.WEIGHT_DECAY
        )
        order = layers._order(rows, layers.STEPS * layers.BATCH, derive(0, "order"))
        for step, chosen in enumerate(order.view(layers.STEPS, layers.BATCH)):
            optimizer.param_groups[0]["lr"] = layers.LR * one_cycle(step / layers.STEPS)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(network(x[chosen]), labels[chosen], label_smoothing=0.1))
            optimizer.step()
        network.eval()
        with torch.no_grad():
            theirs = network(x).softmax(-1)
        torch.testing.assert_close(together[-1].logits(x)[place].softmax(-1), theirs, atol=0.02, rtol=0)


def test_they_learn_what_a_fresh_image_is(blobs: tuple[Tensor, Tensor]) -> None:
    x, labels = blobs
    last = states(blobs, [torch.arange(200)], Layering(0.5, 0.0))[-1]
    assert (last.logits(x[200:])[0].argmax(-1) == labels[200:]).float().mean() > 0.85  # a third would be chance


def test_the_best_state_comes_back_whole_and_none_after_a_fit_has_stopped(blobs: tuple[Tensor, Tensor]) -> None:
    seen = states(blobs, ROWS)
    told = [[0.1] * CHECKS, [0.5, 0.9, 0.2, 0.9, *[0.3] * (CHECKS - 4)], [0.5, *[0.2] * (PATIENCE + 1), *[1.0] * 3]]
    accuracies = iter(zip(*told, strict=True))

    def training() -> Iterator[LayeredHeads]:
        yield from seen

    kept = _best_of(training(), lambda heads: list(next(accuracies)))
    for place, check in enumerate((PATIENCE + 1, 3, 0)):  # of equals the later, until it stops
        for name, value in kept.state.items():
            assert torch.equal(value[place], seen[check].state[name][place]), (name, place)


def test_units_follow_the_number_of_features_up_to_4096() -> None:
    assert [units_for(count) for count in (20, 4096, 8192, 100_000)] == [64, 512, 1024, 4096]
