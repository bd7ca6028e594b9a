"""The one training loop: a generator that yields an Epoch after each epoch. No Ray.

Deterministic from (seed, epoch, rank); killed at any moment and called again, it goes on from its checkpoint to the
same weights, bit for bit, and yields the epochs that it had finished once more, so a caller sees one whole sequence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from methods import METHODS
from methods.encoders import ENCODERS
from methods.encoders.encoder import PART
from methods.inspection import Figure
from methods.method import HIDDEN, Batch, Method
from methods.precision import Precision, arithmetic, train_in
from methods.space import Value, configure
from study.data.dataset import Dataset
from study.records import Epoch, Study
from study.seeds import derive
from study.storage import checkpoints
from study.storage.figures import save_figures
from study.storage.folder import Folder

_CPU = torch.device("cpu")


class DivergedError(RuntimeError):
    """The loss is no longer a finite number. Every worker of the trial raises it at the same step."""


@dataclass(frozen=True)
class Place:
    """Where a piece of work runs: this worker of its lane, and its device."""

    rank: int = 0
    world: int = 1
    device: torch.device = _CPU


@dataclass(frozen=True)
class Plan:
    """All that shapes the weights of one pretraining, apart from the data."""

    method: str
    encoder: str
    params: dict[str, Value]  # searched hyperparameters; the others keep their defaults
    epochs: int
    epoch_images: (
        int  # images in one epoch, over all workers, to the nearest whole batch; more than there are come again
    )
    seed: int
    tap: str | None = None  # the stage whose features are kept; None is the encoder's own choice
    precision: Precision = "float32"

    @classmethod
    def of(cls, study: Study, params: dict[str, Value], seed: int) -> Plan:
        """That of a study's trial with these hyperparameters."""
        fixed = study.epochs, study.epoch_images, seed, study.tap, study.precision
        return cls(study.method, study.encoder, params, *fixed)


@dataclass(frozen=True)
class Judgement:
    """What is thought of a method after an epoch."""

    objective: float  # the higher, the better
    numbers: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def build(plan: Plan, dataset: Dataset) -> Method:
    """The untrained method, its weights drawn from the plan's seed. Raises ValueError where parts do not fit."""
    kind = METHODS[plan.method]
    config = configure(kind.Config, plan.params)
    _, size, _, channels = dataset.pixels.shape
    torch.manual_seed(derive(plan.seed, "weights"))
    encoder = ENCODERS[plan.encoder](channels, size, config.dropout)
    if plan.tap is not None:
        encoder.tap_at(plan.tap)
    method = kind(config, encoder, len(dataset.classes)).to(memory_format=torch.channels_last)
    train_in(method, plan.precision)
    return method


def pretrain(
    plan: Plan,
    dataset: Dataset,
    labelled: NDArray[np.int64],
    judge: Callable[[Method], Judgement],
    place: Place,
    folder: Folder | Path | None = None,
) -> Iterator[Epoch]:
    """Train `plan.method` on the pool and yield each epoch.

    `labelled` are the places in `dataset.pixels` whose labels a method that reads labels may see. `judge` scores
    the method after each epoch, on rank 0. In `folder`, where given, are kept the state after the last two epochs, the
    encoder after the best one, and the figures of all. Raises DivergedError when the loss is not finite, StorageError
    where the folder fails.
    """
    method = build(plan, dataset).to(place.device)
    pool = Pool(dataset, labelled, place.device, labelled_only=method.reads_labels)
    optimizer = method.optimizer()
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    history: list[Epoch] = []
    kept = None if folder is None else Folder.of(folder)
    if kept is not None:
        history += _restore(kept, method, optimizer, plan, place)
        yield from history
    parallel: nn.Module = DistributedDataParallel(method) if place.world > 1 and method.trains else method
    for number in range(len(history), plan.epochs):
        started = time.perf_counter()
        terms, images_seen = (
            _train_epoch(plan, number, method, parallel, optimizer, pool, place) if method.trains else ({}, 0)
        )
        trained = time.perf_counter() - started
        judged = judge(method) if place.rank == 0 else Judgement(0.0)
        epoch = Epoch(
            epoch=number + 1,
            loss=sum(terms.values()),
            terms=terms,
            objective=judged.objective,
            seconds=time.perf_counter() - started,
            images_seen=images_seen,
            images_per_second=images_seen / trained,
            numbers=judged.numbers,
        )
        history.append(epoch)
        if kept is not None and place.rank == 0:
            if checkpoints.best_epoch(history) == epoch.epoch:
                checkpoints.save_encoder(kept, method.encoder, plan, epoch.epoch)
            save_figures(kept / checkpoints.FIGURES, epoch.epoch, judged.figures, plan.seed)
            checkpoints.save(kept, method, optimizer, history, plan)
        yield epoch


def _restore(
    folder: Folder, method: Method, optimizer: torch.optim.Optimizer, plan: Plan, place: Place
) -> tuple[Epoch, ...]:
    """Go back to the newest state that is sound wherever a worker reads it; the epochs that were finished."""
    found = checkpoints.newest(folder, method, optimizer, plan, plan.epochs)
    while place.world > 1:
        ends = torch.tensor([len(found.history), -len(found.history)], device=place.device)
        dist.all_reduce(ends, dist.ReduceOp.MIN)
        least, most = ends[0].item(), -ends[1].item()
        if least == most:
            break
        found = checkpoints.newest(folder, method, optimizer, plan, int(least))
    checkpoints.restore(found, method, optimizer)
    if place.rank == 0:
        checkpoints.record_damage(folder, found)
    return found.history


class Pool:
    """The images that a pretraining sees, with the labels that it may see."""

    def __init__(
        self, dataset: Dataset, labelled: NDArray[np.int64], device: torch.device, labelled_only: bool
    ) -> None:
        self.device = device
        self._pixels = dataset.pixels
        self._places = np.sort(labelled) if labelled_only else dataset.pool
        labels = np.full(len(dataset.pixels), HIDDEN, dtype=np.int64)
        labels[labelled] = dataset.labels[labelled]
        self._labels = labels[self._places]
        self._resident: Tensor | None = None
        if device.type == "cuda":  # uint8 on the device: no copy in the step
            self._resident = torch.from_numpy(self._pixels[self._places]).to(device)

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        """The batch of the images at these places of the pool."""
        where = torch.from_numpy(index).to(self.device, non_blocking=True)
        if self._resident is not None:
            pixels = self._resident[where]
        else:
            pixels = torch.from_numpy(self._pixels[self._places[index]])
        labels = torch.from_numpy(self._labels[index]).to(self.device, non_blocking=True)
        return Batch(to_images(pixels), where, labels)


def to_images(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, C) -> float in [0, 1], (N, C, H, W), channels_last, no copy but the conversion."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def _train_epoch(
    plan: Plan,
    number: int,
    method: Method,
    parallel: nn.Module,
    optimizer: torch.optim.Optimizer,
    pool: Pool,
    place: Place,
) -> tuple[dict[str, float], int]:
    """One epoch: the mean of each loss term over steps and workers, and the images seen by all workers."""
    torch.manual_seed(derive(plan.seed, "epoch", number, place.rank))  # dropout and views
    size = min(method.config.batch_size, len(pool)) // place.world  # a worker; `batch_size` is the whole step's
    whole = size * place.world
    steps = max(1, round(plan.epoch_images / whole))
    passes, before = (epochs * steps * whole // len(pool) for epochs in (number, number - 1))
    if passes > before:  # which is negative before the first epoch
        method.begin_pass(number, lambda: embed(method, pool, place))
    method.begin_epoch(number)
    method.train()
    rng = np.random.default_rng(derive(plan.seed, "order", number))
    passes = math.ceil(steps * whole / len(pool))  # several where few images are labelled and no other may be seen
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(passes)])
    sums: dict[str, Tensor] = {}
    for step in range(steps):
        share = method.rate((number + step / steps) / plan.epochs)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
        start = (step * place.world + place.rank) * size
        losses: dict[str, Tensor] = parallel(pool.batch(order[start : start + size]))
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
        for name, loss in losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=place.device)) + loss.detach()
    means = torch.stack(list(sums.values())) / steps
    if place.world > 1:
        dist.all_reduce(means)
        means /= place.world
        for buffer in method.buffers():  # BatchNorm statistics differ between workers: keep those of rank 0
            dist.broadcast(buffer, 0)
    if not torch.isfinite(means).all():
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(sums, means.tolist(), strict=True))
        raise DivergedError(f"the loss is not finite in epoch {number + 1} ({terms}); a smaller lr may help")
    return dict(zip(sums, means.tolist(), strict=True)), steps * size * place.world


def batch_size_of(device: torch.device) -> int:
    """Images of a forward without gradient: on a processor as many as its caches like, 10 to 30 % faster than 256."""
    return PART if device.type == "cpu" else 256


def embed(method: Method, pool: Pool, place: Place) -> Tensor:
    """Features of the whole pool in pool order, (M, D), from the encoder in eval mode, computed as in training.

    Workers take turns at the batches, which are the same however many they are, and all get the whole.
    """
    method.eval()
    batch_size = batch_size_of(place.device)
    starts = range(batch_size * place.rank, len(pool), batch_size * place.world)
    d, h, w = method.encoder.shape(method.encoder.default_tap)
    features = torch.zeros(len(pool), d * h * w, device=place.device)
    with torch.no_grad(), arithmetic(method.encoder.precision, place.device):
        for start in starts:
            index = np.arange(start, min(start + batch_size, len(pool)))
            mapped = method.encoder(pool.batch(index).images, method.encoder.default_tap)  # (n, D, h, w)
            features[start : start + batch_size] = mapped.flatten(1)
    if place.world > 1:
        dist.all_reduce(features)  # the others' rows are zeros: the sum is exact
    return features
