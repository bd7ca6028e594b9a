"""precision: what bfloat16 changes: accuracy and speed of pretrainings that differ in nothing else, seed by seed."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import get_args

import torch
from scipy import stats

from methods.precision import Precision
from study.cluster.lanes import Lanes
from study.cluster.layout import fit_layout
from study.cluster.messages import Failure, Job
from study.cluster.runtime import joined
from study.data.dataset import prepare
from study.data.sources import open_source
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Budget, Epoch
from study.storage.folder import Folder

NAMES, SEEDS = ("rotnet", "vae", "simclr"), range(5)
EPOCHS, EPOCH_IMAGES = 8, 1257


def main() -> None:
    """Print a line a method: `precision-METHOD ratio R`, of the speeds, and the paired difference of accuracy."""
    with tempfile.TemporaryDirectory() as folder, joined(None) as nodes:
        dataset = prepare(open_source("photo-digits"), size=32, cache=Path(folder), seed=0)
        images = Images(dataset.folder, 0, None)
        with Lanes(fit_layout(nodes, 1), Path(folder)) as lanes:
            for name in NAMES:
                jobs = [
                    _job(images, name, seed, precision, folder) for seed in SEEDS for precision in get_args(Precision)
                ]
                found: dict[tuple[int, Precision], list[Epoch]] = defaultdict(list)
                for job, item in lanes.run(jobs):
                    assert not isinstance(item, Failure), item
                    found[job.argument.plan.seed, job.argument.plan.precision].append(item)
                print(_line(name, found), flush=True)


def _job(images: Images, name: str, seed: int, precision: Precision, folder: str) -> Job:
    called = f"{name}-{seed}-{precision}"
    plan = Plan(name, "convnet", {}, EPOCHS, EPOCH_IMAGES, seed, precision=precision)
    return Job(called, run_pretraining, Pretraining(images, plan, Budget(0.1), 5, Folder.of(Path(folder) / called)))


def _line(name: str, found: dict[tuple[int, Precision], list[Epoch]]) -> str:
    exact, rounded = ([found[seed, precision] for seed in SEEDS] for precision in get_args(Precision))
    differences = [100 * (b[-1].objective - a[-1].objective) for a, b in zip(exact, rounded, strict=True)]
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    speeds = [statistics.median(e.images_per_second for run in runs for e in run) for runs in (exact, rounded)]
    accuracies = [100 * statistics.mean(run[-1].objective for run in runs) for runs in (exact, rounded)]
    losses = [statistics.mean(run[-1].loss for run in runs) for runs in (exact, rounded)]
    return (
        f"precision-{name} ratio {speeds[1] / speeds[0]:.2f}  {speeds[0]:.0f} images/s of a lane in float32, "
        f"{speeds[1]:.0f} in bfloat16; after {EPOCHS} epochs of {EPOCH_IMAGES} images validation accuracy "
        f"{accuracies[0]:.1f} and {accuracies[1]:.1f} %, difference {statistics.mean(differences):+.1f} +- {half:.1f} "
        f"points (paired over n = {len(SEEDS)} seeds, 95 %), loss {losses[0]:.4g} and {losses[1]:.4g}; "
        f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {len(os.sched_getaffinity(0))} CPUs"
    )
