"""The vigil: who dies is told of, wherever the main thread is, and what a dead study left running is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from study.cluster import vigil as module
from study.cluster.vigil import RayDiedError, children, end_orphans, vigil

SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]
DRIVER = f"""
import subprocess, sys
from study.cluster.vigil import mark
mark()
print(subprocess.Popen({SLEEPING}, stdout=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.05)
    monkeypatch.setattr(module, "_PATIENCE", 0.2)


def test_the_death_of_a_child_is_told_within_whatever_the_main_thread_does() -> None:
    child = subprocess.Popen(SLEEPING)
    assert any(lives() for lives in children().values())
    with pytest.raises(RayDiedError, match="its child is gone"), vigil({"child": lambda: child.poll() is None}):
        child.kill()
        time.sleep(30)


def test_an_error_that_the_news_was_turned_into_is_the_news() -> None:
    with pytest.raises(RayDiedError, match="its raylet is gone"), vigil({"raylet": lambda: False}):
        try:
            time.sleep(30)
        except RayDiedError as error:
            raise SystemError("a result with an exception set") from error


def test_an_error_of_the_living_is_left_as_it_is() -> None:
    with pytest.raises(ValueError, match="ours"), vigil({"raylet": lambda: True}):
        raise ValueError("ours")


def test_a_main_thread_that_does_not_hear_of_it_is_helped() -> None:
    told: list[str] = []
    with pytest.raises(RayDiedError), vigil({"gcs_server": lambda: False}, told.append):
        try:
            time.sleep(30)
        except RayDiedError:
            time.sleep(1)  # as if it were in a call that does not return
            raise
    assert told == ["Ray died: its gcs_server is gone"]


def test_a_single_look_that_fails_is_no_death() -> None:
    answers = iter([False, False] + [True] * 1000)
    with vigil({"node": lambda: next(answers)}):
        time.sleep(0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_what_a_killed_driver_left_is_ended_and_what_a_living_one_runs_is_not() -> None:
    drivers = [
        subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    left, working = (int(driver.stdout.readline()) for driver in drivers if driver.stdout)
    drivers[0].kill()
    drivers[0].wait()
    try:
        assert end_orphans() >= 1
        assert not module._started(left)
        assert module._started(working)
    finally:
        os.kill(working, 9)
        drivers[1].kill()
        for driver in drivers:
            driver.communicate()
