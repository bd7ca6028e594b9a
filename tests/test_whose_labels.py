"""Whole fits of a curve, as a lane runs them, under labels that were scrambled: who has seen which of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.method import Config
from study.data.dataset import Dataset, prepare, subset
from study.data.sources import open_source
from study.learning import jobs
from study.learning.jobs import Classifier, Fitting, Images, Outcome, Pretraining, run_fitting, run_pretraining
from study.learning.pretrain import Place, Plan
from study.records import Budget, Mode, Validation
from study.storage.folder import Folder

MODES: tuple[Mode, ...] = ("frozen", "random", "finetuned")
SMALL, LARGE = Budget(labels_per_class=2), Budget(labels_per_class=6)
CONFIG = Config(batch_size=16, lr=1e-3, dropout=0.0, augmentation=0.0, label_smoothing=0.1)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Small images, so that whole fits take seconds."""
    return prepare(open_source("photo-digits:1257"), size=24, cache=tmp_path_factory.mktemp("cache"), seed=0)


@pytest.fixture
def job(few: Dataset, monkeypatch: pytest.MonkeyPatch) -> Fitting:
    """A frozen, a random and a fine-tuned classifier for each of two budgets; the trained ones see few images."""
    monkeypatch.setattr("study.learning.network.images_for", lambda labels: 192)
    classifiers = tuple(
        Classifier(mode, budget, 0, CONFIG, 1e-3, test=True) for mode in MODES for budget in (SMALL, LARGE)
    )
    return Fitting(Images(few.folder, 0, None), "convnet", None, None, classifiers, 0)


def scrambled(dataset: Dataset, places: np.ndarray) -> Dataset:
    """The same images, with the labels at `places` handed round."""
    labels = dataset.labels.copy()
    labels[places] = np.random.default_rng(1).permutation(labels[places])
    assert (labels[places] != dataset.labels[places]).mean() > 0.5
    return replace(dataset, labels=labels)


def fits(job: Fitting, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What the job yields where `dataset` is what lies in the folder."""
    monkeypatch.setattr(jobs, "_open", lambda images: dataset)
    return list(run_fitting(job, Place()))


@pytest.mark.parametrize("validation", ["heldout", "within-budget"])
def test_scrambled_test_labels_change_test_accuracies_alone(
    job: Fitting, few: Dataset, validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, validation=validation, classifiers=job.classifiers[:5])
    honest, other = (fits(job, data, monkeypatch) for data in (few, scrambled(few, few.test)))
    assert [each.fitted.validation for each in honest] == [each.fitted.validation for each in other]
    assert all(a.fitted.test != b.fitted.test for a, b in zip(honest, other, strict=True))


def test_hidden_labels_of_the_pool_change_nothing_where_the_budget_does_not_hold_them(
    job: Fitting, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which images a budget labels is drawn from the true classes, by whoever labels them: that choice stays.
    chosen = {
        budget: subset(few, draw=0, seed=0, labels_per_class=budget.labels_per_class) for budget in (SMALL, LARGE)
    }
    monkeypatch.setattr(jobs, "_subset", lambda images, budget, draw: chosen[budget])
    hidden = np.setdiff1d(few.train, chosen[SMALL])
    honest, other = (fits(job, data, monkeypatch) for data in (few, scrambled(few, hidden)))
    for one, two in zip(honest, other, strict=True):
        same = one.fitted.validation == two.fitted.validation and one.fitted.test == two.fitted.test
        assert same == (one.classifier.budget == SMALL)


def test_within_the_budget_no_validation_label_is_read(
    job: Fitting, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job, validation="within-budget", classifiers=job.classifiers[:5])
    honest, other = (fits(job, data, monkeypatch) for data in (few, scrambled(few, few.validation)))
    for one, two in zip(honest, other, strict=True):
        assert one.fitted.validation == two.fitted.validation and one.fitted.test == two.fitted.test
        assert one.fitted.validation is not None


def test_within_the_budget_a_search_reads_no_validation_label(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within, held_out = [], []
    for number, data in enumerate((few, scrambled(few, few.validation))):
        monkeypatch.setattr(jobs, "_open", lambda images, data=data: data)
        plan = Plan("rotnet", "convnet", {"lr": 1e-3}, epochs=1, epoch_images=64, seed=0)
        job = Pretraining(Images(few.folder, 0, None), plan, Budget(fraction=0.1), 2, Folder.of(tmp_path / str(number)))
        held_out.append([each.objective for each in run_pretraining(job, Place())])
        job = replace(job, validation="within-budget", folder=Folder.of(tmp_path) / f"within-{number}")
        within.append([(each.objective, each.numbers) for each in run_pretraining(job, Place())])
    assert within[0] == within[1]
    assert held_out[0] != held_out[1], "held out, they are read"


def test_one_label_a_class_takes_the_fixed_penalty_and_has_no_validation(
    job: Fitting, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifiers = tuple(replace(each, budget=Budget(labels_per_class=1)) for each in job.classifiers[::2])
    job = replace(job, validation="within-budget", classifiers=classifiers)
    for outcome in fits(job, few, monkeypatch):
        assert outcome.fitted.validation is None
        assert outcome.fitted.test is not None and outcome.fitted.test.accuracy > 0.1


def test_frozen_fits_leave_every_tensor_of_the_encoder_bit_equal(
    job: Fitting, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = jobs._encoder(job, 0, 0.0)
    before = {name: value.clone() for name, value in drawn.state_dict().items()}
    monkeypatch.setattr(jobs, "_encoder", lambda *_, **__: drawn)
    for validation in ("heldout", "within-budget"):
        frozen = tuple(each for each in job.classifiers if each.mode in ("frozen", "random"))
        fits(replace(job, classifiers=frozen, validation=validation), few, monkeypatch)
        after = drawn.state_dict()
        assert any("running_mean" in name for name in after), "buffers are among them"
        assert all(torch.equal(value, before[name]) for name, value in after.items())
    trained = tuple(each for each in job.classifiers[-1:])
    fits(replace(job, classifiers=trained), few, monkeypatch)
    assert not all(torch.equal(value, before[name]) for name, value in drawn.state_dict().items())
