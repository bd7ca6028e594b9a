"""Whole studies that survive: what a kill at the worst moments leaves, --resume makes equal to the uninterrupted.

`python -m tests.faults` causes many more faults and takes an hour; these few guard what they found.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.faults import kills, stores, two
from tests.faults.bench import Bench, Fault, Tried

pytestmark = pytest.mark.slow  # whole commands, each with its own Ray


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as running:
        yield running


def _fault(name: str) -> Fault:
    return next(fault for fault in (*kills.FAULTS, *stores.FAULTS, *two.FAULTS) if fault.name == name)


def _whole(tried: Tried) -> None:
    assert tried.survived(but_tables=False), tried


@pytest.mark.parametrize(
    "change",
    [
        "rename /trials/003.json",  # its encoder may be kept already, and its own word is still to come
        "remove /running/003.json",  # finished, and noted as running
        "rename /checkpoints/best/encoder.safetensors",
        "rename /report.html",
    ],
)
def test_a_driver_killed_just_before_a_change_of_a_file_loses_nothing(bench: Bench, change: str) -> None:
    case = kills.killed_before(bench, 1 + next(n for n, line in enumerate(bench.changes) if line.startswith(change)))
    _whole(case)


@pytest.mark.parametrize("name", ["driver", "worker", "gcs"])
def test_a_study_whose_process_is_killed_finds_the_same(bench: Bench, name: str) -> None:
    _whole(_fault(name).cause(bench, Random(name)))


def test_a_study_that_is_started_twice_is_refused_the_second_time(bench: Bench) -> None:
    _whole(_fault("twice").cause(bench, Random(0)))
