"""Jobs: what the lanes run. Generators over plain data, which open images and encoders where they are. No Ray."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist

from methods import METHODS
from methods.encoders import ENCODERS, Encoder
from methods.inspection import Inspection, effective_rank
from methods.method import Batch, Config, Method
from methods.precision import Precision
from methods.space import configure
from study.data.dataset import Dataset, load, subset
from study.learning.evaluate import Fitted, Judges, fit_frozen, fit_network, frozen_objective
from study.learning.features import FrozenFeatures
from study.learning.layered import fit_layered
from study.learning.pretrain import Judgement, Place, Plan, pretrain, to_images
from study.learning.uses import MOST_LABELS, Found, measure_uses
from study.records import Budget, Epoch, Mode, Use, Validation, Whose
from study.seeds import derive
from study.storage.folder import Folder
from study.storage.promoted import load_encoder

INSPECTED = 128  # images that a method is shown after each epoch
FROZEN: tuple[Mode, ...] = ("frozen", "frozen_mlp", "random")  # read features of an encoder that does not change
OBJECTIVE_DRAWS = 3  # label subsets that a trial's objective is the mean of


@dataclass(frozen=True)
class Images:
    """Where a worker finds the prepared images, and how they are split."""

    folder: Path
    seed: int
    pool_limit: int | None
    nearby: Callable[[], Path] | None = field(default=None, compare=False)  # where the machine may lack the folder


@functools.lru_cache(maxsize=4)
def _open(images: Images) -> Dataset:
    folder = images.folder if images.nearby is None else images.nearby()
    return load(folder, seed=images.seed, pool_images=images.pool_limit)


def _subset(images: Images, budget: Budget, draw: int) -> NDArray[np.int64]:
    return subset(
        _open(images),
        draw=draw,
        seed=images.seed,
        fraction=budget.fraction,
        labels_per_class=budget.labels_per_class,
    )


@dataclass(frozen=True)
class Pretraining:
    """One trial: what to train, and how its features are judged."""

    images: Images
    plan: Plan
    budget: Budget  # labels of the objective
    draws: int  # of the study
    folder: Folder  # of its checkpoints
    validation: Validation = "heldout"
    stop: int | None = None  # after so many epochs; None is all of the plan's


def run_pretraining(job: Pretraining, place: Place) -> Iterator[Epoch]:
    """Pretrain, and yield each epoch with the validation accuracy of its frozen features."""
    dataset = _open(job.images)
    # A method that reads labels has spent its budget on draw 0: heads on other draws would see more labels.
    draws = 1 if METHODS[job.plan.method].reads_labels else min(job.draws, OBJECTIVE_DRAWS)
    subsets = [_subset(job.images, job.budget, draw) for draw in range(draws)]

    judges = Judges(job.validation, dataset, job.images.seed)
    # What a method shows tells of labels: within the budget, of those that it pays for.
    shown = (dataset.validation if job.validation == "heldout" else np.sort(subsets[0]))[:INSPECTED]

    def judge(method: Method) -> Judgement:
        features = FrozenFeatures(method.encoder, dataset, [*subsets, dataset.validation], place.device)
        accuracy = frozen_objective(features, subsets, judges, method.config.label_smoothing)
        seen = _inspect(method, dataset, shown, place.device)
        rank = effective_rank(features.of(dataset.validation)[0]).item()
        return Judgement(accuracy, {"effective_rank": rank} | seen.numbers, seen.figures)

    yield from islice(pretrain(job.plan, dataset, subsets[0], judge, place, job.folder), job.stop)


@dataclass(frozen=True)
class Replay:
    """A trial that was run before."""

    epochs: tuple[Epoch, ...]
    then: Pretraining  # where more epochs are wanted than it ran


def run_replay(job: Replay, place: Place) -> Iterator[Epoch]:
    """Yield the epochs of before as they were, at once, and pretrain for those that are missing.

    Raises RuntimeError where the pretraining does not come to the same: what follows would be of another encoder.
    """
    yield from job.epochs
    if len(job.epochs) < job.then.plan.epochs:
        again = run_pretraining(job.then, place)
        for before, epoch in zip(job.epochs, again, strict=False):
            if place.rank == 0 and (epoch.loss, epoch.objective) != (before.loss, before.objective):
                raise RuntimeError(f"epoch {epoch.epoch} of the earlier study came out otherwise: --anew runs it again")
        yield from again


def _inspect(method: Method, dataset: Dataset, places: NDArray[np.int64], device: torch.device) -> Inspection:
    """What the method shows of some images, from the same noise each time."""
    images = to_images(torch.from_numpy(dataset.pixels[places]).to(device))
    labels = torch.from_numpy(dataset.labels[places]).to(device)
    method.eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return method.inspect(Batch(images, torch.arange(len(places), device=device), labels))


@dataclass(frozen=True)
class Classifier:
    """One classifier to fit: a mode, a label subset and its settings."""

    mode: Mode
    budget: Budget
    draw: int
    config: Config  # dropout, label smoothing; in the trained modes also batch size, augmentation and the head's lr
    encoder_lr: float  # of the trained modes
    test: bool  # False while tuning: the test images are not looked at
    repeat: int = 0  # which pretraining's encoder; its fits have seeds of their own


@dataclass(frozen=True)
class Fitting:
    """Classifiers that share an encoder."""

    images: Images
    encoder: str
    tap: str | None
    pretrained: Folder | None  # of a promoted encoder; None leaves it as it is drawn
    classifiers: tuple[Classifier, ...]
    seed: int
    validation: Validation = "heldout"
    precision: Precision = "float32"  # in which the trained modes train


@dataclass(frozen=True)
class Outcome:
    """A classifier that was fitted to `labels` labels."""

    classifier: Classifier
    labels: int
    fitted: Fitted


def run_fitting(job: Fitting, place: Place) -> Iterator[Outcome]:
    """Fit each classifier and yield it. The workers of a lane take turns, and rank 0 has them all."""
    mine = _fit(job, job.classifiers[place.rank :: place.world], place.device)
    if place.world == 1:
        yield from mine
        return
    everyone: list[list[Outcome]] = [[] for _ in range(place.world)]
    dist.all_gather_object(everyone, list(mine))
    yield from (outcome for outcomes in everyone for outcome in outcomes)


def _fit(job: Fitting, classifiers: Sequence[Classifier], device: torch.device) -> Iterator[Outcome]:
    """Those that share features together, then the trained ones one by one."""
    together: dict[tuple[Mode, int, float], list[Classifier]] = defaultdict(list)
    for each in classifiers:
        if each.mode in FROZEN:
            together[each.mode, each.draw if each.mode == "random" else 0, each.config.label_smoothing].append(each)
    for (mode, draw, smoothing), group in together.items():
        yield from _fit_frozen(job, mode, draw, smoothing, group, device)
    for each in classifiers:
        if each.mode not in FROZEN:
            yield _fit_network(job, each, device)


def _fit_frozen(
    job: Fitting, mode: Mode, draw: int, smoothing: float, group: Sequence[Classifier], device: torch.device
) -> Iterator[Outcome]:
    dataset = _open(job.images)
    encoder = _encoder(job, draw, dropout=0.0).to(device)
    subsets = [_subset(job.images, each.budget, each.draw) for each in group]
    features = FrozenFeatures(encoder, dataset, [*subsets, dataset.validation, dataset.test], device)
    fit = fit_layered if mode == "frozen_mlp" else fit_frozen
    fitted = fit(features, subsets, Judges(job.validation, dataset, job.seed), smoothing)
    for each, labelled, found in zip(group, subsets, fitted, strict=True):
        yield Outcome(each, len(labelled), found)


def _fit_network(job: Fitting, each: Classifier, device: torch.device) -> Outcome:
    labelled = _subset(job.images, each.budget, each.draw)
    fitted = fit_network(
        lambda: _encoder(job, each.draw, each.config.dropout),
        each.config,
        each.encoder_lr,
        Judges(job.validation, _open(job.images), job.seed),
        labelled,
        seed=derive(job.seed, each.mode, each.draw, *([each.repeat] if each.repeat else [])),
        device=device,
        test=each.test,
        precision=job.precision,
    )
    return Outcome(each, len(labelled), fitted)


@dataclass(frozen=True)
class Using:
    """An encoder whose features are to be put to their other uses."""

    images: Images
    encoder: str
    tap: str | None
    pretrained: Folder | None  # as in Fitting
    budget: Budget  # labels of the objective
    smoothing: float  # of the linear heads' targets
    seed: int
    trial_id: str  # the best trial's


def run_using(job: Using, place: Place) -> Iterator[tuple[Whose, Found]]:
    """Measure all uses, and yield them as one item; rank 0 does it alone."""
    if place.rank > 0:
        return
    dataset = _open(job.images)
    all_of_them = Budget(fraction=min(1.0, MOST_LABELS / len(dataset.train)))
    budgets = {
        len(chosen): chosen for chosen in (_subset(job.images, job.budget, 0), _subset(job.images, all_of_them, 0))
    }
    whose: Whose = "random" if job.pretrained is None else "pretrained"
    yield (
        whose,
        measure_uses(
            _encoder(job, 0, dropout=0.0).to(place.device),
            dataset,
            [chosen for size, chosen in sorted(budgets.items()) if size <= MOST_LABELS],
            job.smoothing,
            job.seed,
            place.device,
            functools.partial(Use, encoder=whose, trial_id=job.trial_id),
        ),
    )


def _encoder(job: Fitting | Using, draw: int, dropout: float) -> Encoder:
    """The pretrained encoder, or an untrained one, another for each draw."""
    _, size, _, channels = _open(job.images).pixels.shape
    torch.manual_seed(derive(job.seed, "encoder", draw))
    encoder = ENCODERS[job.encoder](channels, size, dropout).to(memory_format=torch.channels_last)
    if job.tap is not None:
        encoder.tap_at(job.tap)
    if job.pretrained is not None:
        load_encoder(job.pretrained, encoder)
    return encoder


def classifier_config(params: dict[str, int | float | str | bool]) -> Config:
    """The five common settings among a trial's hyperparameters."""
    common = Config.__dataclass_fields__
    return configure(Config, {name: value for name, value in params.items() if name in common})
