"""limit: views a second of our training loop against the bare step on one resident batch, for every method.

The bare step is the method's own forward, backward and optimizer step on the same batch again and again, with nothing
else: no images gathered and converted, no learning rates set, no losses summed up, no clusters found. Both run in the
same precision and take turns; on a processor on one thread, in its own seconds. A turn of training is a pass over the
pool, so that what a method does once a pass is in it.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from methods import METHODS
from methods.method import Batch, Method
from methods.precision import quickest
from methods.space import Value
from study.data.dataset import Dataset, load, prepare
from study.data.sources import open_source
from study.learning.pretrain import Judgement, Place, Plan, Pool, build, pretrain

TURNS = 5
IMAGES, LEAST_STEPS = 640, 6  # in a turn, on a processor
AT_WORK: dict[str, dict[str, Value]] = {  # no epochs of rest
    "recolor": {"colorizer_epochs": 0},
    "stacked_autoencoder": {"stage_epochs": 0},
}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compared:
    """Views a second, turn by turn."""

    training: tuple[float, ...]
    bare: tuple[float, ...]
    batch: int
    steps: int  # in a turn

    @property
    def ratios(self) -> list[float]:
        """Training over the bare step, turn by turn."""
        return [ours / bare for ours, bare in zip(self.training, self.bare, strict=True)]

    def __str__(self) -> str:
        return (
            f"ratio {statistics.median(self.ratios):.3f} ({min(self.ratios):.3f} to {max(self.ratios):.3f})  "
            f"{statistics.median(self.training):.0f} views/s in training, {statistics.median(self.bare):.0f} views/s "
            f"of bare steps of {self.batch}; median of n = {len(self.ratios)} turns of {self.steps} steps each"
        )


def main() -> None:
    """Print `limit-METHOD ratio R` for each, and the least of all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    least: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = prepare(open_source("photo-digits"), size=32, cache=Path(folder), seed=0)
            dataset = load(whole.folder, seed=0, pool_images=IMAGES)
            for name, kind in METHODS.items():
                if kind.trains:
                    compared = compare(plan_of(name), dataset, CPU, IMAGES)
                    least[name] = statistics.median(compared.ratios)
                    print(f"limit-{name} {compared}", flush=True)
    finally:
        torch.set_num_threads(threads)
    worst = min(least, key=least.__getitem__)
    print(
        f"limit ratio {least[worst]:.3f}  the least of {len(least)} methods, {worst}'s; {platform.machine()} "
        f"{torch.backends.cpu.get_cpu_capability()}, {quickest(on_gpus=False)}, one thread, torch {torch.__version__}"
    )


def plan_of(name: str, encoder: str = "convnet", on_gpus: bool = False) -> Plan:
    """The method's published recipe, all of it at work from the first epoch on."""
    return Plan(name, encoder, AT_WORK.get(name, {}), TURNS + 1, 1, 0, precision=quickest(on_gpus=on_gpus))


def compare(plan: Plan, dataset: Dataset, device: torch.device, images: int) -> Compared:
    """Train and step by turns of about so many images. The first of each warms up and does not count."""
    method = build(plan, dataset).to(device)
    pool = Pool(dataset, dataset.train, device, method.reads_labels)
    size: int = method.config.batch_size
    steps = max(LEAST_STEPS, round(images / size))
    plan = replace(plan, epochs=TURNS + 1, epoch_images=steps * size)
    epochs = pretrain(plan, dataset, dataset.train, lambda _: Judgement(0.0), Place(device=device))
    optimizer, batch = method.optimizer(), pool.batch(np.arange(size))
    places = torch.rand(len(dataset.pool), 64, generator=torch.Generator().manual_seed(0))
    method.begin_pass(0, lambda: places)
    method.begin_epoch(0)
    method.train()
    training, bare = [], []
    for _ in range(TURNS + 1):
        started = _now(device)
        seen = next(epochs).images_seen
        training.append(seen / (_now(device) - started))
        started = _now(device)
        for _ in range(steps):
            step(method, optimizer, batch)
        bare.append(steps * size / (_now(device) - started))
    return Compared(tuple(training[1:]), tuple(bare[1:]), size, steps)


def step(method: Method, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """The bare step."""
    losses = method(batch)
    optimizer.zero_grad()
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    optimizer.step()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.thread_time()
