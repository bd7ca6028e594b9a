"""Which labels were used: those that tuned the study, and how much they flatter what they chose."""

from __future__ import annotations

import pandas as pd

from study.analysis.optimism import optimism
from study.records import Study
from study.reporting.pages import Section, Table
from study.reporting.plots import MODES
from study.reporting.wording import points


def labels_used(study: Study, curves: pd.DataFrame) -> Section:
    """How many labels tuned the study, and validation minus test accuracy of what they chose."""
    trained = round(study.objective_fraction * study.train_labels)
    if study.validation_labels:
        first = (
            f"The search chose hyperparameters and epochs by accuracy on {study.validation_labels:,} labelled "
            f"validation images, with about {trained:,} labels to learn from (fraction {study.objective_fraction:g}). "
            f"The {study.validation_labels:,} labels come on top of the label counts above: whoever has only the "
            "labels of the axis could not have tuned this way."
        )
    else:
        first = (
            "The search chose hyperparameters by cross-validation inside the label budget "
            f"(about {trained:,} labels, fraction {study.objective_fraction:g}) and used no other labels. Each "
            "classifier's penalty, or the moment to stop its training, was chosen by stratified folds of its own "
            "labels, five or as many as its smallest class has images; with one label of a class there are no folds, "
            "and a fixed penalty and the full training stand in. Points with fewer labels than the search had still "
            "profit from its hyperparameters, and from learning rates tuned at its budget."
        )
    second = (
        f"Pretraining saw {study.pool_images:,} images without labels; {study.train_labels:,} of them are the labelled "
        f"images that fraction 1 stands for. The {study.test_images:,} test images were used for the curve alone."
    )
    told = [first, second]
    if study.warm_start:
        told.append(
            f"Trials 1 to {len(study.warm_start)} tried settings that did best in earlier studies: the labels that "
            "chose them there are not counted here."
        )
    found = optimism(curves)
    if not found:
        return Section("Which labels were used", tuple(told))
    modes = [mode for mode in MODES if any(each.mode == mode for each in found)]
    places = sorted({(each.fraction, each.labels) for each in found})
    known = {(each.mode, each.fraction, each.labels): points(each.difference) for each in found}
    rows = [
        (f"{labels:,}", *(known.get((mode, fraction, labels), "none") for mode in modes)) for fraction, labels in places
    ]
    what = (
        "the held-out choice: validation minus test accuracy of the chosen settings"
        if study.validation_labels
        else "the choice by folds: cross-validated minus test accuracy of the chosen settings"
    )
    third = (
        f"Optimism of {what}, mean [95 % t-interval] over draws. It holds what choosing the best on the same labels "
        "flatters, the difference between the two sets of images, and, with folds, that each fold learned from fewer "
        "labels."
    )
    return Section("Which labels were used", (*told, third), (Table(("labels", *modes), tuple(rows)),))
