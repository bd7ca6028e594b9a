from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.train.v2._internal.execution.controller.controller import TrainController
from torch import distributed as dist

from study.cluster.lanes import Lanes
from study.cluster.layout import Layout
from study.cluster.messages import Failure, Job
from study.cluster.proposals import Watch
from study.cluster.search import search
from study.learning.pretrain import DivergedError, Place
from study.records import Trial
from study.storage.folder import StorageError
from tests import made_up
from tests.benchmarks import no_op


def counting(last: int, place: Place) -> Iterator[int]:
    yield from range(last)


def raising(after: int, place: Place) -> Iterator[int]:
    yield from range(after)
    raise ValueError("a setting\nthat does not work")


def diverging(argument: None, place: Place) -> Iterator[int]:
    yield 0
    raise DivergedError("the loss is not finite")


def dying(folder: Path, place: Place) -> Iterator[int]:
    """Ends its own process once, after the second item; its notes in `folder` play the checkpoint."""
    for item in range(4):
        note = folder / str(item)
        if item == 2 and not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def dying_always(argument: None, place: Place) -> Iterator[int]:
    yield 0
    os.kill(os.getpid(), signal.SIGKILL)


def summing(values: tuple[int, ...], place: Place) -> Iterator[int]:
    """Each item needs every worker of the lane."""
    for value in values:
        total = torch.tensor(value * (place.rank + 1))
        dist.all_reduce(total)
        yield int(total)


@pytest.fixture(scope="module")
def lanes(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    with Lanes(Layout(2, 1, 1.0, 0.0), tmp_path_factory.mktemp("scratch")) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def pair(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    with Lanes(Layout(1, 2, 1.0, 0.0), tmp_path_factory.mktemp("scratch")) as running:
        running.wait_until_ready()
        yield running


def test_a_search_starts_no_process(lanes: Lanes, tmp_path: Path) -> None:
    study = replace(made_up.study(), method="rotnet", trials=16, budget_seconds=None, epochs=no_op.EPOCHS)
    before, ended = set(ray._private.state.actors()), list[Trial]()
    search(study, no_op.make_job, lanes, [], [], Watch(lambda _: None, lambda *_: None, ended.append), tmp_path)
    assert sorted(trial.number for trial in ended) == list(range(16))
    assert set(ray._private.state.actors()) == before


def test_jobs_are_spread_over_the_lanes_and_none_is_lost(lanes: Lanes) -> None:
    found = list(lanes.run(Job(f"count-{n}", counting, n) for n in range(12)))
    assert sorted((job.argument, item) for job, item in found) == [(n, i) for n in range(12) for i in range(n)]


def test_a_job_that_fails_is_a_result_and_the_lane_lives_on(lanes: Lanes) -> None:
    found = list(lanes.run([Job("raise", raising, 1), Job("diverge", diverging, None), Job("after", counting, 2)]))
    failures = {job.name: item.reason for job, item in found if isinstance(item, Failure)}
    assert failures == {
        "raise": "ValueError: a setting that does not work",
        "diverge": "DivergedError: the loss is not finite",
    }
    assert [item for job, item in found if job.name == "after"] == [0, 1]


def test_a_killed_worker_is_restarted_and_its_job_goes_on(lanes: Lanes, tmp_path: Path) -> None:
    found = list(lanes.run([Job("die", dying, tmp_path)]))
    assert [item for _, item in found] == [0, 1, 2, 3], "each item once, though two were computed twice"


@pytest.mark.slow  # three restarts of a worker group
def test_a_job_that_kills_its_workers_every_time_fails_in_the_end(lanes: Lanes) -> None:
    *_, (_, failure) = lanes.run([Job("die-always", dying_always, None)])
    assert isinstance(failure, Failure) and "died 3 times" in failure.reason
    assert [item for _, item in lanes.run([Job("alive", counting, 1)])] == [0]


def sleeping(argument: None, place: Place) -> Iterator[int]:
    yield 0
    time.sleep(1e6)


def spinning(argument: None, place: Place) -> Iterator[int]:
    yield 0
    while True:
        pass


def holding_the_interpreter(argument: None, place: Place) -> Iterator[int]:
    yield 0
    ctypes.PyDLL(None).sleep(10**6)  # a C call that never lets another thread run


def stepping(argument: None, place: Place) -> Iterator[int]:
    """Takes twice the time limit of the watchdog, a step at a time."""
    layer = torch.nn.Linear(1, 1)
    for _ in range(16):
        time.sleep(0.5)
        layer(torch.zeros(1))
    yield 0


@pytest.fixture(scope="module")
def watched(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    with Lanes(Layout(1, 1, 1.0, 0.0), tmp_path_factory.mktemp("scratch"), hang_after=4.0) as running:
        running.wait_until_ready()
        yield running


@pytest.mark.slow  # two restarts of a worker group each
@pytest.mark.parametrize("work", [sleeping, spinning])
def test_a_job_that_hangs_fails_and_the_lane_lives_on(watched: Lanes, work: Callable[..., Iterator[int]]) -> None:
    first, failure = [item for _, item in watched.run([Job(work.__name__, work, None)])]
    assert first == 0
    assert isinstance(failure, Failure) and "made no progress" in failure.reason and work.__name__ in failure.detail
    assert [item for _, item in watched.run([Job(f"after {work.__name__}", counting, 1)])] == [0]


@pytest.mark.slow  # three times the limit and its grace
def test_a_job_that_holds_the_interpreter_is_ended_too(watched: Lanes) -> None:
    *_, failure = [item for _, item in watched.run([Job("holding", holding_the_interpreter, None)])]
    assert isinstance(failure, Failure) and "died 3 times" in failure.reason


def test_a_slow_job_that_makes_progress_is_left_alone(watched: Lanes) -> None:
    assert [item for _, item in watched.run([Job("stepping", stepping, None)])] == [0]


def test_a_post_office_that_is_killed_comes_back_and_the_job_with_it(lanes: Lanes, tmp_path: Path) -> None:
    found = []
    for _, item in lanes.run([Job("robbed", slow, None)]):
        found.append(item)
        if item == 2:
            ray.kill(lanes.office, no_restart=False)
    assert found == list(range(10))


def test_a_lane_whose_controller_fails_comes_back_and_holds_no_more_than_before(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn: Any = TrainController._run_control_loop_iteration
    failing = threading.Event()

    async def failing_once(controller: TrainController) -> None:
        if failing.is_set():
            failing.clear()
            raise RuntimeError("the controller fails")
        await turn(controller)

    monkeypatch.setattr(TrainController, "_run_control_loop_iteration", failing_once)
    with Lanes(Layout(1, 1, 1.0, 0.0), tmp_path) as running:
        running.wait_until_ready()
        before = ray.available_resources()["CPU"]
        found = []
        for _, item in running.run([Job("orphaned", slow, None)]):
            found.append(item)
            if len(found) == 2:
                failing.set()
        assert found == list(range(10)) and not failing.is_set()
        assert ray.available_resources()["CPU"] == before


def test_nothing_can_be_written_any_more_ends_all_jobs(lanes: Lanes) -> None:
    with pytest.raises(StorageError, match="no room"):
        list(lanes.run([Job("full", filling, None), Job("behind", counting, 2)]))


def filling(argument: None, place: Place) -> Iterator[int]:
    yield 0
    raise StorageError("no room")


def test_workers_compute_no_item_that_nobody_asked_for(lanes: Lanes, tmp_path: Path) -> None:
    lane = lanes.lanes[0]
    job = Job("lazy", touching, tmp_path)
    lane.start(job.sealed())
    assert lane.receive(job.name, 0) == (0,)
    time.sleep(0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert lane.receive(job.name, 1) == (1,)
    lane.stop(job.name)
    assert list(lanes.run([Job("next", counting, 1)])) != []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_whoever_waits_for_a_job_hears_that_it_was_replaced(lanes: Lanes) -> None:
    lane = lanes.lanes[0]
    first, second = Job("replaced", slow, None), Job("replacing", counting, 2)
    lane.start(first.sealed())
    waiting = lane.send("receive", first.name, 5)
    lane.start(second.sealed())
    assert ray.get(waiting, timeout=30) == Failure("the job was stopped", "", "lane")
    assert [lane.receive(second.name, index) for index in range(3)] == [(0,), (1,), True]


def test_a_job_that_was_stopped_starts_again(lanes: Lanes) -> None:
    lane, job = lanes.lanes[0], Job("again", counting, 2)
    lane.start(job.sealed())
    assert lane.receive(job.name, 0) == (0,)
    lane.stop(job.name)
    lane.start(job.sealed())
    assert [lane.receive(job.name, index) for index in range(3)] == [(0,), (1,), True]


def slow(argument: None, place: Place) -> Iterator[int]:
    for item in range(10):
        time.sleep(0.2)
        yield item


def touching(folder: Path, place: Place) -> Iterator[int]:
    for item in range(5):
        (folder / str(item)).touch()
        yield item


def test_two_workers_of_a_lane_run_a_job_together(pair: Lanes) -> None:
    assert [item for _, item in pair.run([Job("sum", summing, (1, 2, 3))])] == [3, 6, 9]


def test_a_stopped_job_frees_all_workers_of_its_lane(pair: Lanes) -> None:
    lane = pair.lanes[0]
    for number in range(5):
        job = Job(f"stopped-{number}", summing, (1, 2, 3))
        lane.start(job.sealed())
        assert lane.receive(job.name, 0) == (3,)
        lane.stop(job.name)
    assert [item for _, item in pair.run([Job("whole", summing, (4,))])] == [12]


def test_jobs_that_are_replaced_before_all_workers_took_them_leave_none_behind(pair: Lanes) -> None:
    for number in range(20):
        pair.lanes[0].start(Job(f"hasty-{number}", summing, (1, 2)).sealed())
        time.sleep(0.002 * (number % 5))
    assert [item for _, item in pair.run([Job("after haste", summing, (4,))])] == [12]
