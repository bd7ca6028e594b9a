"""Optimism: how much higher accuracy is on the labels that chose the settings than on test images."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from study.analysis.statistics import Interval, t_interval


@dataclass(frozen=True)
class Optimism:
    """Validation minus test accuracy of the chosen classifiers of one mode at one label count."""

    mode: str
    fraction: float
    labels: int
    difference: Interval  # over draws


def optimism(curves: pd.DataFrame) -> list[Optimism]:
    """The optimism of each point of one study's curves that was measured on both splits.

    `curves` has the columns of curves.parquet. Validation is held-out images, or folds of the budget itself.
    """
    found = []
    for _, rows in curves.groupby(["mode", "fraction", "labels"], sort=True):
        first = rows.iloc[0]
        by_draw = rows.pivot_table(index="draw", columns="split", values="accuracy")
        if {"validation", "test"} <= set(by_draw):
            differences = (by_draw["validation"] - by_draw["test"]).dropna()
            if len(differences):
                interval = t_interval(differences.tolist())
                found.append(Optimism(first["mode"], float(first["fraction"]), int(first["labels"]), interval))
    return found
