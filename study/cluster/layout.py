"""Layout: how many lanes fit onto a machine or cluster, and how large their workers are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """What one machine has for workers."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Layout:
    """How a study spreads over a machine or cluster."""

    lanes: int
    workers: int  # a lane
    cpus_per_worker: float
    gpus_per_worker: float


def fit_layout(
    nodes: Sequence[Node], workers: int, gpus_per_worker: float | None = None, lanes: int | None = None
) -> Layout:
    """As many lanes as fit onto the nodes, or `lanes` of them, with as many whole CPUs a worker as there are then.

    A worker has one GPU where there are any, if not told otherwise; it cannot straddle two nodes. Raises ValueError,
    with the numbers, where they do not fit.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if gpus_per_worker is None:
        gpus_per_worker = 1.0 if gpus >= workers else 0.0
    if gpus_per_worker and workers * gpus_per_worker > gpus:
        raise ValueError(
            f"{workers} workers of {gpus_per_worker:g} GPU need {workers * gpus_per_worker:g} GPUs and there are "
            f"{gpus:g}: lower --workers or --gpus-per-worker"
        )
    if workers > cpus:
        raise ValueError(f"{workers} workers need {workers} CPUs and there are {cpus:g}: lower --workers")
    most = _places(nodes, 1, gpus_per_worker) // workers
    on = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    if (lanes or 1) > most:
        raise ValueError(
            f"{lanes or 1} lanes of {workers} workers do not fit into {cpus:g} CPUs and {gpus:g} GPUs{on}: "
            f"at most {most}"
        )
    count = lanes or most
    largest = int(max(node.cpus for node in nodes))
    each = max(cpus for cpus in range(1, largest + 1) if _places(nodes, cpus, gpus_per_worker) >= count * workers)
    return Layout(count, workers, float(each), gpus_per_worker)


def room(nodes: Sequence[Node], layout: Layout) -> int:
    """How many lanes of this layout the nodes hold."""
    return _places(nodes, layout.cpus_per_worker, layout.gpus_per_worker) // layout.workers


def _places(nodes: Sequence[Node], cpus: float, gpus: float) -> int:
    """How many workers of so many CPUs and GPUs the nodes hold."""
    return sum(min(int(node.cpus // cpus), int(node.gpus / gpus + 1e-9) if gpus else sys.maxsize) for node in nodes)
