from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from study.learning.heads import fit_linear

PENALTIES = (1e-3, 1e-2, 1e-1)


@pytest.fixture(scope="module")
def features() -> tuple[torch.Tensor, torch.Tensor]:
    scans, labels = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    wide = torch.tensor(scans, dtype=torch.float32) @ torch.randn(64, 512, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return wide.relu()[order], torch.tensor(labels)[order]


@pytest.mark.parametrize("count", [60, 300, 1000])  # fewer and more than the 512 dimensions
def test_heads_equal_scikit_learns_logistic_regression(features: tuple[torch.Tensor, torch.Tensor], count: int) -> None:
    x, y = features
    head = fit_linear(x[:count], y[:count], 10, PENALTIES)
    ours = head.logits(x[1000:]).log_softmax(-1)
    scaled = ((x - head.mean) / head.scale).numpy()
    for penalty, logits in zip(PENALTIES, ours, strict=True):
        theirs = LogisticRegression(C=1 / (penalty * count), max_iter=2000, tol=1e-6)
        theirs.fit(scaled[:count], y[:count].numpy())
        np.testing.assert_allclose(logits, theirs.predict_log_proba(scaled[1000:]), atol=0.02)


def test_smoothing_pulls_predictions_towards_uniform(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = features
    sharp, smooth = (
        fit_linear(x[:300], y[:300], 10, (1e-4,), smoothing).logits(x[1000:]).softmax(-1).amax(-1).mean()
        for smoothing in (0.0, 0.3)
    )
    assert smooth < sharp - 0.1


def test_a_class_without_labels_is_no_error(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = features
    few = (y < 9).nonzero().flatten()[:50]
    assert fit_linear(x[few], y[few], 10).logits(x[:5]).isfinite().all()
