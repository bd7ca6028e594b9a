from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from methods import METHODS
from methods.method import Config, Method
from methods.space import Among, Between, among, between, configure, defaults, searched


def test_a_range_stands_beside_its_default() -> None:
    @dataclass(frozen=True)
    class Own(Config):
        temperature: float = between(0.2, 0.05, 1.0, log=True)
        copies: int = 4

    assert searched(Own)["temperature"] == Between(0.05, 1.0, log=True)
    assert "copies" not in searched(Own)
    assert defaults(Own)["temperature"] == 0.2
    assert configure(Own, {"temperature": 0.5}).temperature == 0.5


@pytest.mark.parametrize("declare", [lambda: between(2.0, 0.0, 1.0), lambda: among("c", ("a", "b"))])
def test_a_default_outside_its_range_is_refused(declare: Callable[[], object]) -> None:

    with pytest.raises(ValueError, match="outside its own range"):
        declare()


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"has no setting nonsense; it has .*dropout"):
        configure(Config, {"nonsense": 1})


@pytest.mark.parametrize("method", METHODS.values())
def test_every_method_searches_the_five_common_settings(method: type[Method]) -> None:
    names = set(searched(method.Config))
    assert {"batch_size", "lr", "dropout", "augmentation", "label_smoothing"} <= names


def test_choices_and_bounds_know_their_members() -> None:
    assert 32 in Among((32, 64)) and 48 not in Among((32, 64))
    assert 0.5 in Between(0, 1) and 1.5 not in Between(0, 1) and "a" not in Between(0, 1)
