from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import cast

import pytest

from methods import METHODS
from methods.method import Config, Method
from methods.space import Among, Between, among, between, configure, defaults, near_defaults, searched


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


@pytest.mark.parametrize("method", METHODS.values())
def test_settings_near_the_recipe_lie_in_their_ranges(method: type[Method]) -> None:
    random, recipe = Random(0), defaults(method.Config)
    for _ in range(50):
        near = near_defaults(method.Config, random)
        assert all(value in searched(method.Config)[name] for name, value in near.items())
        assert {name: type(value) for name, value in near.items()} == {k: type(v) for k, v in recipe.items()}
        configure(method.Config, near)


def test_settings_near_the_recipe_are_drawn_around_it() -> None:
    @dataclass(frozen=True)
    class Own(Config):
        temperature: float = between(0.1, 0.01, 1.0, log=True)
        clusters: int = among(30, (30, 100, 300))
        steps: int = between(5, 1, 9)

    random = Random(0)
    drawn = [near_defaults(Own, random) for _ in range(4000)]
    logs = [math.log10(cast(float, each["temperature"])) for each in drawn]
    assert statistics.mean(logs) == pytest.approx(-1, abs=0.03)
    assert statistics.stdev(logs) == pytest.approx(0.44, abs=0.02), "a normal of 0.5 cut off at two deviations"
    assert Counter(each["clusters"] for each in drawn)[30] / 4000 == pytest.approx(1 / 2 + 1 / 6, abs=0.03)
    assert {each["steps"] for each in drawn} == set(range(1, 10))


def test_choices_and_bounds_know_their_members() -> None:
    assert 32 in Among((32, 64)) and 48 not in Among((32, 64))
    assert 0.5 in Between(0, 1) and 1.5 not in Between(0, 1) and "a" not in Between(0, 1)
