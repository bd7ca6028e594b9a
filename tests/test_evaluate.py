from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.encoders import ENCODERS, Encoder
from methods.method import Config
from study.data.dataset import Dataset, subset
from study.learning.evaluate import Fitted, Judges, fit_frozen, fit_network
from study.learning.features import FrozenFeatures, score
from study.learning.schedule import images_for, one_cycle

CPU = torch.device("cpu")
CONFIG = Config(batch_size=32, lr=1e-3, dropout=0.1, augmentation=0.0, label_smoothing=0.0)


def encoder() -> Encoder:
    torch.manual_seed(3)
    return ENCODERS["convnet"](3, 32, 0.3).to(memory_format=torch.channels_last)


def frozen(dataset: Dataset, chosen: Encoder) -> Fitted:
    places = [dataset.train, dataset.validation, dataset.test]
    features = FrozenFeatures(chosen, dataset, places, CPU)
    labelled = subset(dataset, draw=0, seed=0, fraction=0.2)
    return fit_frozen(features, [labelled], Judges("heldout", dataset, 0), 0.0)[0]


def trained(dataset: Dataset) -> Fitted:
    labelled = subset(dataset, draw=0, seed=0, fraction=0.05)
    return fit_network(encoder, CONFIG, 1e-3, Judges("heldout", dataset, 0), labelled, seed=0, device=CPU, test=True)


def test_frozen_evaluation_leaves_every_tensor_of_the_encoder_bit_equal(photo_digits: Dataset) -> None:
    chosen = encoder()
    chosen.train()
    before = {name: value.clone() for name, value in chosen.state_dict().items()}
    fitted = frozen(photo_digits, chosen)
    assert all(torch.equal(value, before[name]) for name, value in chosen.state_dict().items())
    assert chosen.training, "it is handed back as it came"
    assert fitted.test is not None and fitted.test.accuracy > 0.4  # a tenth would be chance


@pytest.mark.parametrize("fit", [lambda data: frozen(data, encoder()), trained], ids=["frozen", "trained"])
def test_scrambled_test_labels_change_test_scores_alone(
    fit: Callable[[Dataset], Fitted], photo_digits: Dataset
) -> None:
    labels = photo_digits.labels.copy()
    labels[photo_digits.test] = np.random.default_rng(0).permutation(labels[photo_digits.test])
    honest, scrambled = fit(photo_digits), fit(replace(photo_digits, labels=labels))
    assert honest.validation == scrambled.validation
    assert honest.test is not None and scrambled.test is not None
    assert honest.test.accuracy > scrambled.test.accuracy


def test_hidden_labels_of_the_pool_change_nothing(photo_digits: Dataset) -> None:
    labelled = subset(photo_digits, draw=0, seed=0, fraction=0.05)
    labels = photo_digits.labels.copy()
    hidden = np.setdiff1d(photo_digits.train, labelled)
    labels[hidden] = np.random.default_rng(0).permutation(labels[hidden])
    changed = replace(photo_digits, labels=labels)
    both = [
        fit_network(encoder, CONFIG, 1e-3, Judges("heldout", data, 0), labelled, seed=0, device=CPU, test=True)
        for data in (photo_digits, changed)
    ]
    assert both[0].validation == both[1].validation and both[0].test == both[1].test


def test_the_best_weights_come_back_with_their_batch_norm_statistics(photo_digits: Dataset) -> None:
    chosen = encoder()
    labelled = subset(photo_digits, draw=0, seed=0, fraction=0.05)
    fitted = fit_network(
        lambda: chosen, CONFIG, 1e-3, Judges("heldout", photo_digits, 0), labelled, seed=0, device=CPU, test=False
    )
    assert fitted.test is None, "tuning does not look at the test images"
    norms = [value for name, value in chosen.state_dict().items() if name.endswith("running_mean")]
    assert norms and all(value.abs().sum() > 0 for value in norms)


def test_scores_count_the_right_ones() -> None:
    logits = torch.eye(6)[[0, 1, 2, 3]] + torch.linspace(0, 0.1, 6)
    found = score(logits, torch.tensor([0, 1, 2, 0]))
    assert found.accuracy == 0.75 and found.top5 == 0.75


def test_one_cycle_rises_then_falls_to_nothing() -> None:
    assert one_cycle(0.0) == pytest.approx(0.1) and one_cycle(0.1) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.0)
    assert all(one_cycle(x / 100) >= one_cycle((x + 1) / 100) for x in range(10, 100))


def test_a_fit_sees_more_images_the_more_labels_it_has() -> None:
    seen = [images_for(count) for count in (13, 126, 1257)]
    assert seen == sorted(seen) and seen[0] / 13 > seen[1] / 126 > seen[2] / 1257
