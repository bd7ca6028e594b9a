"""Which classifiers a curve consists of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from methods import METHODS
from methods.encoders import ENCODERS
from study.cluster.curve import modes
from study.records import Mode
from tests import made_up


@pytest.mark.parametrize(
    ("method", "asked", "drawn"),
    [
        ("rotnet", (), ("frozen", "finetuned", "supervised", "random")),
        ("rotnet", ("random", "frozen"), ("frozen", "random")),
        ("rotnet", ("frozen_mlp", "frozen"), ("frozen", "frozen_mlp")),
        ("supervised", ("frozen_mlp", "random"), ("random",)),
        ("supervised", (), ("supervised", "random")),
        ("random", (), ("frozen", "supervised", "random")),
    ],
)
def test_a_curve_has_the_modes_that_make_sense_and_are_asked_for(
    method: str, asked: tuple[Mode, ...], drawn: tuple[Mode, ...]
) -> None:
    assert modes(replace(made_up.study(), method=method, modes=asked)) == drawn


@pytest.mark.parametrize(("method", "epochs"), [("rotnet", 1), ("recolor", 2), ("stacked_autoencoder", 5)])
def test_no_trial_is_pruned_before_its_encoder_had_its_turn(method: str, epochs: int) -> None:
    kind = METHODS[method]
    assert kind(kind.Config(), ENCODERS["convnet"](3, 32, 0.0), 10).grace_epochs == epochs
