"""`python -m tests.benchmarks.gpu [METHOD ...]`: views a second on one GPU, against the bare step and the GPU's peak.

Needs no Ray. The peak is what a product of two large bfloat16 matrices reaches; a step's operations are counted by
torch. Where there is no GPU it runs on one thread of the processor, which shows that it runs and no more.
`--rotnet MINUTES DATASET` trains RotNet's published CIFAR-10 recipe (NIN, four rotations an image; Adam, not SGD) for
so long instead, and prints the accuracy of linear heads on all labels, on conv2, after each epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from methods import METHODS
from methods.method import Method
from methods.precision import quickest
from methods.space import Value
from study.data.dataset import Dataset, load, prepare
from study.data.sources import open_source
from study.learning.evaluate import Judges, frozen_objective
from study.learning.features import FrozenFeatures
from study.learning.pretrain import Judgement, Place, Plan, Pool, build, pretrain
from tests.benchmarks.limit import compare, plan_of, step

IMAGES = 25_600  # in a turn on a GPU
SIDE = 8192  # of the matrices whose product is the peak


def main() -> None:
    """Print a line a method, or the course of RotNet's recipe."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("method", nargs="*", help="all that train, unless told")
    parser.add_argument("--encoder", default="convnet")
    parser.add_argument("--dataset", default="photo-digits")
    parser.add_argument("--rotnet", nargs=2, metavar=("MINUTES", "DATASET"))
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    if not on_gpu:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        name = options.rotnet[1] if options.rotnet else options.dataset
        dataset = prepare(open_source(name), size=32, cache=Path(folder), seed=0)
        if options.rotnet:
            rotnet(dataset, device, 60 * float(options.rotnet[0]))
            return
        images = IMAGES if on_gpu else 256
        dataset = load(dataset.folder, seed=0, pool_images=images)  # a turn is a pass, as in `limit`
        peak = _peak(device, SIDE if on_gpu else 1024)
        print(f"{torch.cuda.get_device_name() if on_gpu else 'one thread'}: peak {peak / 1e12:.2f} TFLOP/s, bfloat16")
        for method in options.method or [name for name, kind in METHODS.items() if kind.trains]:
            plan = plan_of(method, options.encoder, on_gpu)
            compared = compare(plan, dataset, device, images)
            share = statistics.median(compared.training) * _operations(plan, dataset, device) / peak
            print(f"gpu-{method} {compared}; {100 * share:.1f} % of peak, {plan.precision}, {plan.encoder}", flush=True)


def _peak(device: torch.device, side: int) -> float:
    """Operations a second of a product of matrices."""
    one = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    seconds = []
    for _ in range(6):
        _wait(device)
        started = time.perf_counter()
        one @ one
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)


def _operations(plan: Plan, dataset: Dataset, device: torch.device) -> float:
    """Of products and convolutions, forward and backward, a view."""
    method = build(plan, dataset).to(device)
    pool = Pool(dataset, dataset.train, device, method.reads_labels)
    size: int = method.config.batch_size
    method.begin_pass(0, lambda: torch.rand(len(pool), 64))
    method.begin_epoch(0)
    optimizer = method.optimizer()
    counter = FlopCounterMode(display=False)
    with counter:
        step(method.train(), optimizer, pool.batch(np.arange(size)))
    return float(counter.get_total_flops()) / size


def rotnet(dataset: Dataset, device: torch.device, seconds: float) -> None:
    """RotNet on NIN: four copies of each of 128 images a step, as many epochs as the time allows."""
    started = time.perf_counter()
    params: dict[str, Value] = {
        "batch_size": 128,
        "copies": 4,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "augmentation": 0.0,
    }
    epochs = max(1, int(seconds / _epoch_seconds(dataset, device, params)))
    plan = Plan("rotnet", "nin", params, epochs, len(dataset.pool), 0, "conv2", quickest(on_gpus=device.type == "cuda"))
    judges = Judges("heldout", dataset, 0)

    def judge(method: Method) -> Judgement:
        features = FrozenFeatures(method.encoder, dataset, [dataset.train, dataset.validation], device)
        return Judgement(frozen_objective(features, [dataset.train], judges, 0.0))

    for epoch in pretrain(plan, dataset, dataset.train, judge, Place(device=device)):
        print(
            f"gpu-rotnet-nin epoch {epoch.epoch} of {epochs}: loss {epoch.loss:.3f}, {100 * epoch.objective:.2f} % of "
            f"{len(dataset.validation):,} validation images with {len(dataset.train):,} labels, "
            f"{4 * epoch.images_per_second:.0f} views/s, {time.perf_counter() - started:.0f} s",
            flush=True,
        )


def _epoch_seconds(dataset: Dataset, device: torch.device, params: dict[str, Value]) -> float:
    plan = replace(plan_of("rotnet", "nin", device.type == "cuda"), params=params)
    return len(dataset.pool) / statistics.median(compare(plan, dataset, device, 1024).training)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
