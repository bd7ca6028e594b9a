"""overhead: seconds that a trial costs before it trains anything, the documented pattern against lanes.

The documented pattern is a Ray Tune function that calls `TorchTrainer(...).fit()` for its trial. Both searches run
no-op trials of one epoch, two at a time on one thread each, with Optuna's TPE, in one Ray runtime, one after the other.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import train, tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.search.optuna import OptunaSearch

from methods.space import Value
from study.cluster.lanes import Lanes
from study.cluster.layout import fit_layout
from study.cluster.messages import Job
from study.cluster.proposals import Watch
from study.cluster.runtime import joined, nodes
from study.cluster.search import search
from study.learning.pretrain import Place
from study.records import Epoch
from tests import made_up

DOCUMENTED_TRIALS = 8
LANE_TRIALS = 50


def report_one(config: dict[str, Any]) -> None:
    """A worker of the documented pattern: no training, one result."""
    train.report({"objective": config["lr"]})


def driver(config: dict[str, Any], storage: str) -> None:
    """A trial of the documented pattern."""
    callback: Any = TuneReportCallback()
    TorchTrainer(
        report_one,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
        run_config=train.RunConfig(
            name=f"train-{tune.get_context().get_trial_id()}", storage_path=storage, callbacks=[callback]
        ),
    ).fit()


def documented(trials: int, at_once: int, storage: str) -> float:
    """Seconds for `trials` no-op trials, a TorchTrainer each."""
    trainable = tune.with_parameters(driver, storage=storage)
    started = time.perf_counter()
    results = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 0.05}),
        param_space={"lr": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(),
            max_concurrent_trials=at_once,
        ),
        run_config=tune.RunConfig(name="documented", storage_path=storage, verbose=0),
    ).fit()
    seconds = time.perf_counter() - started
    assert len(results) == trials and not results.errors, "every trial of the documented pattern must end well"
    return seconds


def no_training(argument: None, place: Place) -> Iterator[Epoch]:
    """A trial on a lane: no training, one result."""
    yield Epoch(1, 0.0, {"rotation": 0.0}, 0.5, 0.0, 0, 0.0)


def make_job(number: int, params: dict[str, Value]) -> Job:
    """The no-op trial, for a lane."""
    return Job(f"no-op-{number}", no_training, None)


def on_lanes(trials: int, scratch: Path) -> tuple[float, float]:
    """Seconds until the lanes are up, and seconds for `trials` no-op trials on them."""
    layout = fit_layout(nodes(), 1)
    study = replace(made_up.study(), method="rotnet", trials=trials, budget_seconds=None, epochs=1)
    ended: list[object] = []
    started = time.perf_counter()
    with Lanes(layout, scratch) as lanes:
        lanes.wait_until_ready()
        up = time.perf_counter()
        watch = Watch(lambda _: None, lambda *_: None, ended.append)
        search(study, make_job, lanes, [], [], watch, scratch)
        done = time.perf_counter()
    assert len(ended) == trials, "every trial on the lanes must end"
    return up - started, done - up


def main() -> None:
    """Print `overhead ratio R` with both figures."""
    with joined(None) as (node, *_), tempfile.TemporaryDirectory() as folder:
        start, ours = on_lanes(LANE_TRIALS, Path(folder))
        theirs = documented(DOCUMENTED_TRIALS, at_once=int(node.cpus), storage=folder)
    each, each_theirs = ours / LANE_TRIALS, theirs / DOCUMENTED_TRIALS
    print(
        f"overhead ratio {each_theirs / each:.0f}: {each_theirs:.2f} s a no-op trial with a TorchTrainer each "
        f"(n = {DOCUMENTED_TRIALS}), {each:.3f} s on lanes (n = {LANE_TRIALS}; {start:.1f} s once to start them, with "
        f"which it is {(start + ours) / LANE_TRIALS:.2f} s a trial); {node.cpus:g} CPUs ({os.uname().machine})"
    )
