"""dataloader: views a second of a machine that pretrains our way against the usual DataLoader script.

Both learn rotations with the same network, batch size, augmentation and optimizer, on all CPUs of the machine. The
script is what a careful person writes: a Dataset that augments one image after another with torchvision on tensors,
a DataLoader with worker processes, and torch with all its threads; the best of the numbers of workers and threads that
are tried counts. Ours is a lane a CPU, as a study runs. The script trains in float32, and once more under autocast.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from methods.precision import quickest
from study.cluster.lean import keep_memory
from study.data.dataset import Dataset, load, prepare
from study.data.sources import open_source
from study.learning.pretrain import Judgement, Place, Plan, pretrain
from tests.benchmarks import usual

SIZE, BATCH, STRENGTH, DROPOUT = 32, 32, 0.5, 0.3
STEPS, TURNS = 60, 5


def script(dataset: Dataset, workers: int, threads: int, autocast: bool) -> list[float]:
    """Views a second of each turn of the usual script."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    _, classifier = usual.network(dataset, DROPOUT)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    training = usual.steps(
        classifier.train(), optimizer, usual.loader(dataset, STRENGTH, BATCH, workers), 0.1, autocast
    )
    rates: list[float] = []
    for _ in range(TURNS + 1):
        started = time.perf_counter()
        for _ in range(STEPS):
            next(training)
        rates.append(STEPS * BATCH / (time.perf_counter() - started))
    return rates[1:]  # the first warms up


def lane(folder: Path, barrier: Barrier, rates: Any) -> None:
    """One of our lanes, in a process of its own: the views a second of each turn."""
    torch.set_num_threads(1)
    keep_memory()
    dataset = load(folder, seed=0, pool_images=None)
    plan = Plan(
        "rotnet", "convnet", {"batch_size": BATCH}, TURNS + 1, STEPS * BATCH, 0, precision=quickest(on_gpus=False)
    )
    barrier.wait()
    epochs = pretrain(plan, dataset, dataset.train, lambda _: Judgement(0.0), Place())
    rates.put([epoch.images_per_second for epoch in epochs][1:])


def lanes(folder: Path, count: int) -> list[float]:
    """Views a second of all lanes together, turn by turn."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(count), context.Queue()
    processes = [context.Process(target=lane, args=(folder, barrier, rates)) for _ in range(count)]
    for process in processes:
        process.start()
    each = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return [sum(turn) for turn in zip(*each, strict=True)]


def main() -> None:
    """Print `dataloader ratio R`: ours over the best script in float32, and over the best under autocast."""
    threads, cpus = torch.get_num_threads(), len(os.sched_getaffinity(0))
    try:
        with tempfile.TemporaryDirectory() as cache:
            dataset = prepare(open_source("photo-digits"), size=SIZE, cache=Path(cache), seed=0)
            ours = lanes(dataset.folder, cpus)
            theirs = {
                (workers, count, autocast): script(dataset, workers, count, autocast)
                for autocast in (False, True)
                for workers, count in ((0, cpus), (1, cpus), (cpus, cpus), (cpus, max(1, cpus - 1)))
            }
            again = lanes(dataset.folder, cpus)
    finally:
        torch.set_num_threads(threads)
    ours += again  # before and after the script, lest the machine has changed
    middle = statistics.median(ours)
    for autocast, name in ((False, "dataloader"), (True, "dataloader-autocast")):
        rates = {key: statistics.median(found) for key, found in theirs.items() if key[2] == autocast}
        workers, count, _ = best = max(rates, key=rates.__getitem__)
        print(
            f"{name} ratio {middle / rates[best]:.2f}  {cpus} lanes of one thread {middle:.0f} views/s "
            f"({min(ours):.0f} to {max(ours):.0f}, n = {len(ours)}, {quickest(on_gpus=False)}); script "
            f"{rates[best]:.0f} views/s ({min(theirs[best]):.0f} to {max(theirs[best]):.0f}, n = {TURNS}, "
            f"{'autocast to bfloat16' if autocast else 'float32'}, {workers} loader processes and {count} threads, the "
            f"best of {len(rates)}); rotnet on convnet, batches of {BATCH} of {SIZE} x {SIZE}, turns of {STEPS} steps; "
            f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {cpus} CPUs, torch {torch.__version__}"
        )
