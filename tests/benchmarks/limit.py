"""limit: views a second of our training loop against the bare step on one resident batch, for every method.

The bare step is the method's own forward, backward and optimizer step on the same batch again and again, with nothing
else: no images gathered and converted, no learning rates set, no losses summed up. Both run in the same precision, on
one thread, and take turns.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from methods import METHODS
from methods.method import Batch, Method
from methods.precision import quickest
from methods.space import Value
from study.data.dataset import Dataset, prepare
from study.data.sources import open_source
from study.learning.pretrain import Judgement, Place, Plan, Pool, build, pretrain

TURNS = 5
IMAGES, LEAST_STEPS = 640, 6  # in a turn
AT_WORK = {"recolor": {"colorizer_epochs": 0}, "stacked_autoencoder": {"stage_epochs": 0}}  # no epochs of rest


def main() -> None:
    """Print `limit-METHOD ratio R` for each, and the least of all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            dataset = prepare(open_source("photo-digits"), size=32, cache=Path(folder), seed=0)
            ratios = {name: _compare(name, dataset) for name, kind in METHODS.items() if kind.trains}
    finally:
        torch.set_num_threads(threads)
    worst = min(ratios, key=ratios.__getitem__)
    print(
        f"limit ratio {ratios[worst]:.3f}  the least of {len(ratios)} methods, {worst}'s; "
        f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {quickest(on_gpus=False)}, one thread, torch "
        f"{torch.__version__}"
    )


def _compare(name: str, dataset: Dataset) -> float:
    params: dict[str, Value] = dict(AT_WORK.get(name, {}))
    plan = Plan(name, "convnet", params, TURNS + 1, IMAGES, 0, precision=quickest(on_gpus=False))
    method, pool = build(plan, dataset), Pool(dataset, dataset.train, torch.device("cpu"), METHODS[name].reads_labels)
    size: int = method.config.batch_size
    steps = max(LEAST_STEPS, round(IMAGES / size))
    plan = replace(plan, epoch_images=steps * size)
    epochs = pretrain(plan, dataset, dataset.train, lambda _: Judgement(0.0), Place())
    optimizer, batch = method.optimizer(), pool.batch(np.arange(size))
    places = torch.rand(len(dataset.pool), 64, generator=torch.Generator().manual_seed(0))
    method.begin_epoch(0, lambda: places)
    method.train()
    ours, bare = [], []
    for _ in range(TURNS + 1):
        started = time.thread_time()
        seen = next(epochs).images_seen
        ours.append(seen / (time.thread_time() - started))
        started = time.thread_time()
        for _ in range(steps):
            _step(method, optimizer, batch)
        bare.append(steps * size / (time.thread_time() - started))
    ratios = [one / other for one, other in zip(ours, bare, strict=True)][1:]  # the first warms up
    ratio = statistics.median(ratios)
    print(
        f"limit-{name} ratio {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})  {statistics.median(ours[1:]):.0f} "
        f"views/s in training, {statistics.median(bare[1:]):.0f} views/s of bare steps of {size}; "
        f"median of n = {TURNS} turns of {steps} steps each",
        flush=True,
    )
    return ratio


def _step(method: Method, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    losses = method(batch)
    optimizer.zero_grad()
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    optimizer.step()
