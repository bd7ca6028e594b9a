"""scale: what a trial costs, and the driver's memory, as a search grows to 1,000 trials on 1 to 8 lanes; then what
memory a lane takes that pretrains on 60,000 images of 32x32 in colour.

The trials train nothing: their job yields four epochs at once, of an accuracy that depends on the settings, so that
Optuna has something to learn and ASHA something to prune. All else is the real search, on real lanes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import optuna
import psutil

from methods.precision import quickest
from study.cluster.lanes import Lanes
from study.cluster.layout import Layout
from study.cluster.messages import Job
from study.cluster.proposals import Watch
from study.cluster.runtime import joined
from study.cluster.search import search
from study.data.dataset import prepare
from study.data.prepared import PIXELS
from study.data.sources import open_source
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Budget, Epoch, Trial
from study.storage.folder import Folder
from tests import made_up
from tests.benchmarks.no_op import EPOCHS, make_job

LANES = (1, 2, 4, 8)
MOST_LANES = 4  # a CPU: their workers come up one after another
MARKS = (10, 100, 1000)  # trials after which a line is printed; the last ends the search


@dataclass(frozen=True)
class Mark:
    """The search after so many trials."""

    trials: int
    seconds: float
    optuna_seconds: float
    resident: int  # bytes of the driver
    unique: int  # bytes that the driver shares with nobody


@contextmanager
def timed(names: tuple[str, ...]) -> Iterator[list[float]]:
    """The seconds spent in these functions of an Optuna study, in a list of one."""
    spent = [0.0]
    real: dict[str, Callable[..., Any]] = {name: getattr(optuna.Study, name) for name in names}

    def timing(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[0] += time.perf_counter() - begun

        return call

    for name, function in real.items():
        setattr(optuna.Study, name, timing(function))
    try:
        yield spent
    finally:
        for name, function in real.items():
            setattr(optuna.Study, name, function)


def measure(lanes: int, marks: tuple[int, ...], scratch: Path) -> tuple[float, list[Mark]]:
    """Seconds until the lanes are up, and the search at each of `marks`. Nothing may be lost or come twice."""
    study = replace(made_up.study(), method="rotnet", trials=marks[-1], budget_seconds=None, epochs=EPOCHS)
    ended: list[Trial] = []
    found: list[Mark] = []
    driver = psutil.Process()
    with timed(("ask", "tell")) as spent:

        def finished(trial: Trial) -> None:
            ended.append(trial)
            if len(ended) in marks:
                seconds = time.perf_counter() - up  # before the memory is looked at, which takes 20 ms
                memory = driver.memory_full_info()
                found.append(Mark(len(ended), seconds, spent[0], memory.rss, memory.uss))

        started = time.perf_counter()
        with Lanes(Layout(lanes, 1, 1.0, 0.0), scratch) as running:
            running.wait_until_ready()
            up = time.perf_counter()
            search(study, make_job, running, [], [], Watch(lambda _: None, lambda *_: None, finished), scratch)
    assert sorted(trial.number for trial in ended) == list(range(marks[-1])), "every number once"
    statuses = Counter(trial.status for trial in ended)
    assert statuses["failed"] == 0 and statuses.total() == marks[-1], f"none may fail: {statuses}"
    assert all(trial.epochs == EPOCHS for trial in ended if trial.status == "completed")
    return up - started, found


def lane_memory(images: str = "photo-digits:60000") -> None:
    """Print what the worker of a lane holds of its own after an epoch, beside a process that imports torch and Ray."""
    with tempfile.TemporaryDirectory() as folder, joined(None, cpus=2):
        dataset = prepare(open_source(images), size=32, cache=Path(folder), seed=0)
        shared = (dataset.folder / PIXELS).stat().st_size
        plan = Plan("rotnet", "convnet", {}, 1, 2560, 0, precision=quickest(on_gpus=False))
        kept = Folder.of(Path(folder) / "kept")
        with Lanes(Layout(2, 1, 1.0, 0.0), Path(folder)) as lanes:
            argument = Pretraining(Images(dataset.folder, 0, None), plan, Budget(0.1), 5, kept)
            jobs = [Job(f"memory-{n}", run_pretraining, replace(argument, folder=kept / str(n))) for n in range(2)]
            assert all(isinstance(item, Epoch) for _, item in lanes.run(jobs))
            held = [each.memory_full_info().uss for each in psutil.Process().children(recursive=True) if _trains(each)]
    script = "import psutil, ray.train.torch, torch; print(psutil.Process().memory_full_info().uss)"
    bare = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)
    each = ", ".join(f"{one / 2**20:.0f}" for one in held)
    print(
        f"scale memory {(max(held) - bare) / 2**20:.0f} MiB a worker above the {bare / 2**20:.0f} MiB that importing "
        f"torch and Ray costs ({each} MiB of their own, n = {len(held)} lanes); the {len(dataset.pixels):,} images, "
        f"{shared / 2**20:.0f} MiB, are shared; rotnet, one epoch"
    )


def _trains(process: psutil.Process) -> bool:
    return process.name().startswith("ray::RayTrainWo")


def main() -> None:
    """Print a line `scale ratio R` a number of lanes: what the last trials cost, against the first hundred."""
    lane_memory()
    cpus = len(os.sched_getaffinity(0))
    for lanes in (lanes for lanes in LANES if lanes <= MOST_LANES * cpus):
        with joined(None, cpus=lanes), tempfile.TemporaryDirectory() as folder:
            start, found = measure(lanes, MARKS, Path(folder))
        before = Mark(0, 0.0, 0.0, 0, 0)
        costs = []
        for mark in found:
            trials, seconds = mark.trials - before.trials, mark.seconds - before.seconds
            costs.append(seconds / trials)
            sampling = (mark.optuna_seconds - before.optuna_seconds) / trials
            print(
                f"scale {lanes} lanes, trials {before.trials + 1:,} to {mark.trials:,}: "
                f"{trials / seconds:.1f} trials/s, {1000 * seconds / trials:.0f} ms a trial, of it "
                f"{1000 * sampling:.0f} ms Optuna; driver {mark.resident / 2**20:.0f} MiB resident, "
                f"{mark.unique / 2**20:.0f} MiB its own"
            )
            before = mark
        print(
            f"scale ratio {costs[-1] / costs[1]:.2f}: {1000 * costs[-1]:.0f} ms a trial up to {MARKS[-1]:,}, "
            f"{1000 * costs[1]:.0f} ms up to {MARKS[1]:,}, on {lanes} lanes (n = 1; {start:.0f} s to start them); "
            f"{cpus} CPUs ({os.uname().machine})"
        )
