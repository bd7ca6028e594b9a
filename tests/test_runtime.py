"""Starting Ray: what is tried again, and what is not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from ray._private import utils

from study.cluster import runtime
from study.cluster.runtime import ClusterError

SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


class SlowRay:
    """Stands for Ray: fails to start as many times as told, with the message told."""

    def __init__(self, failures: int, message: str) -> None:
        self.failures, self.message = failures, message
        self.started = self.stopped = 0

    def init(self, **_: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Exception(self.message)
        self.started += 1

    def shutdown(self) -> None:
        self.stopped += 1


def test_a_start_that_took_too_long_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowRay(2, SLOW)
    monkeypatch.setattr(runtime, "ray", slow)
    runtime._start(2, 0)
    assert (slow.started, slow.stopped) == (1, 2)


def test_a_machine_that_stays_too_busy_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowRay(9, SLOW)
    monkeypatch.setattr(runtime, "ray", slow)
    with pytest.raises(ClusterError, match="too busy"):
        runtime._start(2, 0)
    assert slow.failures == 6, "three attempts"


def test_any_other_failure_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SlowRay(1, "no permission")
    monkeypatch.setattr(runtime, "ray", broken)
    with pytest.raises(Exception, match="no permission"):
        runtime._start(2, 0)
    assert broken.started == 0


def _ours(signum: int, frame: FrameType | None) -> None:
    raise AssertionError("nobody sends it here")


def _rays(signum: int, frame: FrameType | None) -> None:
    raise AssertionError("nobody sends it here")


@pytest.fixture
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_stays_with_the_command_while_ray_starts(sigterm: None) -> None:
    signal.signal(signal.SIGTERM, _ours)
    with runtime._sigterm_kept():
        utils.set_sigterm_handler(_rays)  # as Ray does before its processes are up
        assert signal.getsignal(signal.SIGTERM) is _ours
        signal.signal(signal.SIGTERM, _rays)  # as its C++ code does, which asks nobody
    assert signal.getsignal(signal.SIGTERM) is _ours
    utils.set_sigterm_handler(_rays)
    assert signal.getsignal(signal.SIGTERM) is _rays, "Ray's own function is back"


def test_sigterm_that_nobody_took_is_rays(sigterm: None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with runtime._sigterm_kept():
        utils.set_sigterm_handler(_rays)
    assert signal.getsignal(signal.SIGTERM) is _rays
