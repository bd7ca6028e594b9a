"""Checks: what a command asks for, as a study; and what cannot work, refused before anything starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from methods.method import Method
from methods.precision import quickest
from methods.space import Value
from study.cluster.curve import modes_of
from study.cluster.layout import Layout
from study.data.dataset import Dataset, subset
from study.learning.evaluate import ONE_LABEL
from study.learning.folds import folds
from study.learning.pretrain import Plan, build
from study.options import Options
from study.records import Study
from study.storage.files import STUDY, read_study
from study.warm_start import best_settings, check_test_images

# Images in an epoch by default. With fewer, looking at validation would cost more than training; with more, the first
# rung of ASHA would cost more than it tells.
LEAST_EPOCH, MOST_EPOCH = 1000, 10_000


def check_folders(options: Options, names: Sequence[str]) -> None:
    """Raise ValueError where nothing can be written, or where a study is that nobody said what to do with."""
    if (path := options.results.path) is not None:
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise ValueError(f"{existing} is no folder that can be written to: choose another with --results")
    for name in names:
        folder = options.results / name
        # A study that was killed while it began has left nothing but a part of a file.
        if not (options.resume or options.overwrite) and folder.names():
            raise ValueError(f"{folder} exists: --resume goes on with it, --overwrite deletes it, --name names another")


def study_of(options: Options, method: str, built: Method, name: str, dataset: Dataset, layout: Layout) -> Study:
    """What the options ask for, of these images and on these lanes.

    Raises ValueError where it would begin with what an earlier study chose by what are test images now.
    """
    pool = len(dataset.train) if built.reads_labels else len(dataset.pool)
    study = Study(
        name=name,
        dataset=dataset.name,
        method=method,
        encoder=options.encoder,
        image_size=dataset.pixels.shape[1],
        trials=None if options.budget else options.trials,
        budget_seconds=options.budget,
        epochs=options.epochs if built.trains else 1,
        epoch_images=options.epoch_images or min(pool, MOST_EPOCH, max(len(dataset.train), LEAST_EPOCH)),
        fractions=() if options.labels_per_class else tuple(sorted(options.fractions)),
        labels_per_class=tuple(sorted(options.labels_per_class)),
        draws=options.draws,
        objective_fraction=options.objective_fraction,
        seed=options.seed,
        workers=layout.workers,
        gpus_per_worker=layout.gpus_per_worker,
        lanes=layout.lanes,
        pool_limit=options.pool_images,
        data_hash=dataset.hash,
        classes=dataset.classes,
        pool_images=len(dataset.pool),
        train_labels=len(dataset.train),
        validation_labels=len(dataset.validation) if options.validation == "heldout" else 0,
        validation=options.validation,
        test_images=len(dataset.test),
        tap=built.encoder.default_tap,
        grace_epochs=built.grace_epochs,
        modes=options.modes,
        repeats=options.repeats,
        warm_start=warm_start(options, method, name),
        patience=options.patience,
        precision=options.precision or quickest(on_gpus=layout.gpus_per_worker > 0),
    )
    check_test_images(study, _earlier(options, name))
    return study


def warm_start(options: Options, method: str, name: str) -> tuple[dict[str, Value], ...]:
    """The settings that a study begins with. Raises ValueError where a study that is named cannot give any.

    A study that has begun has its own: see `resumed`.
    """
    earlier = _earlier(options, name)
    return best_settings(method, options.validation, earlier) if earlier else ()


def _earlier(options: Options, name: str) -> list[Path]:
    """The studies that a new one begins with."""
    results = options.results.path
    if not options.warm_start:
        return []
    if results is None:
        raise ValueError("--warm-start reads studies of a folder on a disk: copy them there, or leave it out")
    if options.resume and (results / name / STUDY).exists():
        return []
    return [results / each for each in options.warm_start]


def check_method(options: Options, method: str, dataset: Dataset) -> Method:
    """Build what the first trial builds and draw what the curve draws: what they refuse is refused now."""
    modes_of(method, options.modes)
    built = build(Plan(method, options.encoder, {}, options.epochs, 1, options.seed, options.tap), dataset)
    for count in options.labels_per_class:
        subset(dataset, draw=0, seed=options.seed, labels_per_class=count)
    if options.validation == "within-budget":
        _check_folds(options, method, built, dataset)
    return built


def _check_folds(options: Options, method: str, built: Method, dataset: Dataset) -> None:
    if built.reads_labels:
        raise ValueError(
            f"--validation within-budget cannot search {method}: its encoder learns the labels of every fold; leave "
            f"{method} out, or the option (the curve of another method has the mode supervised)"
        )
    labelled = subset(dataset, draw=0, seed=options.seed, fraction=options.objective_fraction)
    if not folds(labelled, dataset.labels, options.seed):
        raise ValueError(ONE_LABEL)


# A resumed study may grow, and run elsewhere; anything else would mix two studies in one table.
_MAY_CHANGE = {"trials", "budget_seconds", "lanes", "gpus_per_worker", "repeats", "patience"}


def resumed(options: Options, study: Study, folder: Path) -> Study:
    """The study to go on with, in the precision and from the settings that it began with.

    Raises ValueError where another study is in the folder.
    """
    if not (folder / STUDY).exists():
        return study  # killed before it began, or the second of two methods: --resume may be given at any time
    before, _ = read_study(folder)
    if options.warm_start and not before.warm_start:
        raise ValueError(f"{study.name} began without --warm-start: leave it out, or begin another with --name")
    study = dataclasses.replace(study, warm_start=before.warm_start, precision=options.precision or before.precision)
    differences = [
        f"{field.name} was {getattr(before, field.name)} and is {getattr(study, field.name)}"
        for field in dataclasses.fields(Study)
        if field.name not in _MAY_CHANGE and getattr(before, field.name) != getattr(study, field.name)
    ]
    if differences:
        raise ValueError(f"{study.name} cannot be resumed with another configuration: {'; '.join(differences)}")
    return study
