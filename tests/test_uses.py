"""Other uses of features: their figures fit the curve's, nothing of the encoder changes, test labels judge alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from methods.encoders import Encoder
from study.data.dataset import Dataset, subset
from study.learning import uses
from study.learning.evaluate import Judges, fit_frozen
from study.learning.features import FrozenFeatures
from study.learning.uses import Found, measure_uses
from study.records import Use
from study.storage.uses import SHOWN, Uses, album, read_uses, write_uses

CPU = torch.device("cpu")


def encoder() -> Encoder:
    """Two small stages, the first of which is read; what must not change in them would, were they in training."""
    torch.manual_seed(3)
    stages: dict[str, nn.Module] = {
        "conv1": nn.Sequential(nn.Conv2d(3, 16, 5, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)),
        "conv2": nn.Sequential(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU()),
    }
    return Encoder(stages, 3, 32, default_tap="conv1")


@pytest.fixture(scope="module")
def digits(photo_digits: Dataset) -> Dataset:
    """A third of the labels and of the test images."""
    return replace(photo_digits, train=photo_digits.train[::3], test=photo_digits.test[::3])


def measured(dataset: Dataset, chosen: Encoder) -> Found:
    budgets = [subset(dataset, draw=0, seed=0, fraction=fraction) for fraction in (0.1, 1.0)]
    return measure_uses(chosen, dataset, budgets, 0.1, 0, CPU, partial(Use, encoder="random", trial_id="t"))


@pytest.fixture(scope="module")
def chosen() -> Encoder:
    return encoder().train()


@pytest.fixture(scope="module")
def found(digits: Dataset, chosen: Encoder) -> Found:
    return measured(digits, chosen)


def value(found: Found, **wanted: object) -> float:
    (use,) = [use for use in found.figures if all(getattr(use, name) == each for name, each in wanted.items())]
    return use.value


def test_every_tensor_of_the_encoder_stays_bit_equal(found: Found, chosen: Encoder) -> None:
    before = encoder().state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in chosen.state_dict().items())
    assert chosen.training and chosen.default_tap == encoder().default_tap, "it is handed back as it came"


def test_every_stage_and_budget_has_its_figures(found: Found, digits: Dataset) -> None:
    linear = {(use.stage, use.labels) for use in found.figures if use.use == "linear" and use.measure == "accuracy"}
    assert linear == {(stage, labels) for stage in ("conv1", "conv2") for labels in (42, 419)}
    others = [(use.use, use.measure, use.labels) for use in found.figures if use.use != "linear"]
    assert others == [
        *(("neighbours", "accuracy", labels) for labels in (42, 419)),
        *(("clustering", measure, 0) for measure in ("accuracy", "nmi", "ari")),
        *(("retrieval", measure, 0) for measure in ("mean_average_precision", "precision_at_10")),
    ]
    assert {use.images for use in found.figures} == {len(digits.test)}
    assert {use.stage for use in found.figures if use.use != "linear"} == {"conv1"}
    assert all(0 < use.value <= 1 for use in found.figures)


def test_the_linear_head_and_its_confusion_are_those_of_the_curve(found: Found, digits: Dataset) -> None:
    data = digits
    features = FrozenFeatures(encoder(), data, [data.train, data.validation, data.test], CPU)
    labelled = subset(data, draw=0, seed=0, fraction=1.0)
    curve = fit_frozen(features, [labelled], Judges("heldout", data, 0), 0.1)[0].test
    assert curve is not None
    accuracy = value(found, use="linear", stage="conv1", labels=419, measure="accuracy")
    assert accuracy == curve.accuracy
    confusion = found.shown.confusion
    assert confusion.diag().sum().item() / len(data.test) == pytest.approx(accuracy)
    assert torch.equal(confusion.sum(1), torch.from_numpy(np.bincount(data.labels[data.test])))


def test_test_labels_choose_nothing(found: Found, digits: Dataset) -> None:
    labels = digits.labels.copy()
    labels[digits.test] = np.roll(labels[digits.test], 1)
    # Their stratified order depends on their labels, and with it goes which are mapped, but not what is fitted.
    scrambled = measured(replace(digits, labels=labels), encoder())
    assert [use.neighbours for use in scrambled.figures] == [use.neighbours for use in found.figures]
    assert torch.equal(scrambled.shown.confusion.sum(0), found.shown.confusion.sum(0)), "the heads say the same"
    learned = [use for use in scrambled.figures if use.use in ("linear", "neighbours") and use.measure == "accuracy"]
    assert all(use.value < 0.3 for use in learned), "none knows the scrambled labels"


def test_large_sets_are_bounded(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "MOST_TEST_IMAGES", 60)
    monkeypatch.setattr(uses, "MOST_MAPPED", 40)
    found = measured(digits, encoder())
    assert {use.images for use in found.figures} == {60}
    shown = found.shown
    assert shown.plane.shape == (40, 2) and shown.space.shape == (40, 3) and len(shown.components) == 40
    assert set(shown.retrieved.flatten().tolist()) <= set(digits.test.tolist())


def test_the_images_that_ask_have_one_of_each_class(found: Found, digits: Dataset) -> None:
    retrieved, data = found.shown.retrieved.numpy(), digits
    assert retrieved.shape == (10, 10)
    assert sorted(data.labels[retrieved[:, 0]]) == list(range(10))
    assert all(query not in row for query, *row in retrieved.tolist())


def kept(found: Found, dataset: Dataset) -> Uses:
    return Uses(found.figures, {"random": found.shown}, album(dataset, [found.shown]))


def test_uses_come_back_as_they_were_kept_and_only_for_their_trial(
    found: Found, digits: Dataset, tmp_path: Path
) -> None:
    assert read_uses(tmp_path, "t") is None
    written = kept(found, digits)
    write_uses(tmp_path, written)
    again = read_uses(tmp_path, "t")
    assert again is not None and again.figures == written.figures
    for name, tensor in vars(written.shown["random"]).items():
        assert torch.equal(tensor, getattr(again.shown["random"], name))
    assert torch.equal(again.album.pixels, written.album.pixels)
    assert read_uses(tmp_path, "another") is None
    (tmp_path / SHOWN).write_bytes(b"?")
    with pytest.raises(ValueError, match=r"shown\.safetensors cannot be read .* run again with --resume"):
        read_uses(tmp_path, "t")


def test_the_album_has_the_images_that_are_shown(found: Found, digits: Dataset) -> None:
    shown, images = found.shown, album(digits, [found.shown])
    assert set(images.places.tolist()) == set(shown.retrieved.flatten().tolist()) | set(shown.mapped.tolist())
    asked = shown.retrieved[2, 5]
    assert images.classes(asked).item() == digits.labels[asked]
    pixels = torch.tensor(digits.pixels[asked]).permute(2, 0, 1)
    assert torch.equal((images.images(asked) * 255).round().byte(), pixels)


def test_large_images_are_shown_small(found: Found, digits: Dataset) -> None:
    large = replace(digits, pixels=digits.pixels.repeat(3, 1).repeat(3, 2))
    small = album(large, [found.shown])
    assert small.pixels.shape[1:] == (48, 48, 3)
    same = album(digits, [found.shown]).pixels.float().mean().item()
    assert small.pixels.float().mean().item() == pytest.approx(same, abs=0.1)
