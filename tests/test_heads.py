from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from study.learning.heads import LinearHeads, Setting, fit_linear, settings

SETTINGS = settings(0.0, (1e-3, 1e-2, 1e-1))
COUNTS = (60, 70, 300, 1000)  # fewer and more than the 512 dimensions; the first two are solved as one problem


@dataclass(frozen=True)
class Digits:
    """Wide features of scanned digits, in a random order."""

    x: Tensor  # (1797, 512)
    y: Tensor  # (1797,)

    def fit(self, counts: tuple[int, ...], chosen: tuple[Setting, ...] = SETTINGS) -> list[LinearHeads]:
        return fit_linear(self.x, self.y, [torch.arange(count) for count in counts], 10, chosen, tolerance=1e-5)


@pytest.fixture(scope="module")
def digits() -> Digits:
    scans, labels = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    wide = torch.tensor(scans, dtype=torch.float32) @ torch.randn(64, 512, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return Digits(wide.relu()[order], torch.tensor(labels)[order])


@pytest.fixture(scope="module")
def fitted(digits: Digits) -> dict[int, LinearHeads]:
    return dict(zip(COUNTS, digits.fit(COUNTS), strict=True))


@pytest.mark.parametrize("count", COUNTS)
def test_heads_fitted_together_equal_scikit_learns_fitted_one_by_one(
    digits: Digits, fitted: dict[int, LinearHeads], count: int
) -> None:
    heads = fitted[count]
    ours = heads.logits(digits.x[1000:]).softmax(-1)
    scaled = ((digits.x - digits.x[:count].mean(0)) / heads.scale).double().numpy()
    for setting, probabilities in zip(SETTINGS, ours, strict=True):
        theirs = LogisticRegression(C=1 / (setting.penalty * count), max_iter=5000, tol=1e-7)
        theirs.fit(scaled[:count], digits.y[:count].numpy())
        np.testing.assert_allclose(probabilities, theirs.predict_proba(scaled[1000:]), atol=2e-3)


def test_every_fit_ends_where_the_gradient_of_its_loss_vanishes(digits: Digits, fitted: dict[int, LinearHeads]) -> None:
    chosen = (Setting(1e-4, 0.2), Setting(1e-5), Setting(1e-2, 0.1))
    for count, heads in zip((60, 300), digits.fit((60, 300), chosen), strict=True):
        x = ((digits.x[:count] - digits.x[:count].mean(0)) / heads.scale).double()
        for place, setting in enumerate(chosen):
            weights = (heads.weights[place] * heads.scale).double().requires_grad_()
            bias = (heads.bias[place] + heads.weights[place] @ digits.x[:count].mean(0)).double().requires_grad_()
            loss = (
                torch.nn.functional.cross_entropy(
                    x @ weights.T + bias, digits.y[:count], label_smoothing=setting.smoothing
                )
                + setting.penalty / 2 * weights.square().sum()
            )
            slopes = torch.autograd.grad(loss, (weights, bias))
            norm = torch.cat([slope.flatten() for slope in slopes]).norm().item()
            assert norm < 3e-5  # asked for 1e-5, in single precision
            assert heads.gradient[place] <= 1e-5


def test_a_fit_does_not_depend_on_what_is_fitted_beside_it_nor_on_the_order_of_its_labels(digits: Digits) -> None:
    mixed = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    alone = digits.fit((60,))[0].logits(digits.x[1000:])
    beside = fit_linear(digits.x, digits.y, [torch.arange(70), mixed, mixed], 10, SETTINGS, tolerance=1e-5)
    torch.testing.assert_close(beside[1].logits(digits.x[1000:]), alone, atol=0.02, rtol=0.02)
    assert torch.equal(beside[1].weights, beside[2].weights)


def test_smoothing_pulls_predictions_towards_uniform(digits: Digits) -> None:
    (heads,) = digits.fit((300,), (Setting(1e-4), Setting(1e-4, 0.3)))
    sharp, smooth = heads.logits(digits.x[1000:]).softmax(-1).amax(-1).mean(-1)
    assert smooth < sharp - 0.1


def test_a_class_without_labels_is_no_error(digits: Digits) -> None:
    few = (digits.y < 9).nonzero().flatten()[:50]
    (heads,) = fit_linear(digits.x, digits.y, [few], 10, settings(0.0))
    assert heads.logits(digits.x[:5]).isfinite().all() and (heads.gradient <= 1e-4).all()


def test_features_that_do_not_differ_give_each_class_its_share() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    (heads,) = fit_linear(torch.ones(4, 8), labels, [torch.arange(4)], 2, settings(0.0, (1e-3,)))
    torch.testing.assert_close(
        heads.logits(torch.ones(1, 8)).softmax(-1)[0, 0], torch.tensor([0.75, 0.25]), atol=1e-3, rtol=0
    )
