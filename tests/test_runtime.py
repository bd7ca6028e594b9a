"""Starting Ray: what is tried again, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

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
