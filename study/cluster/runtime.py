"""The cluster: starting or joining Ray, and how many lanes fit into it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import torch

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # a lane is four processes, and Ray warns of four times the CPUs
}


_ATTEMPTS = 3  # at starting Ray


class ClusterError(RuntimeError):
    """Ray could not be started."""


@dataclass(frozen=True)
class Layout:
    """How a study spreads over a machine or cluster."""

    lanes: int
    workers: int  # a lane
    cpus_per_worker: float
    gpus_per_worker: float


def fit_layout(cpus: float, gpus: float, workers: int, gpus_per_worker: float, lanes: int | None) -> Layout:
    """As many lanes as fit, or `lanes` of them. Raises ValueError, with the numbers, where they do not fit."""
    if gpus_per_worker and workers * gpus_per_worker > gpus:
        raise ValueError(
            f"{workers} workers of {gpus_per_worker:g} GPU need {workers * gpus_per_worker:g} GPUs and there are "
            f"{gpus:g}: lower --workers or --gpus-per-worker"
        )
    if workers > cpus:
        raise ValueError(f"{workers} workers need {workers} CPUs and there are {cpus:g}: lower --workers")
    most = int(cpus // workers)
    if gpus_per_worker:
        most = min(most, int(gpus / (workers * gpus_per_worker) + 1e-9))
    if lanes is not None and lanes > most:
        raise ValueError(
            f"{lanes} lanes of {workers} workers do not fit into {cpus:g} CPUs and {gpus:g} GPUs: at most {most}"
        )
    count = lanes or most
    return Layout(count, workers, float(int(cpus // (count * workers))), gpus_per_worker)


def local_resources() -> tuple[float, float]:
    """CPUs and GPUs of this machine that this process may use."""
    return float(len(os.sched_getaffinity(0))), float(torch.cuda.device_count())


@contextmanager
def joined(address: str | None, cpus: int | None = None) -> Iterator[tuple[float, float]]:
    """Ray on this machine alone, or the running cluster at `address`: yields its CPUs and GPUs, and leaves it after.

    On this machine alone Ray counts `cpus`, or as many as there are. A process that is in a cluster already stays in
    it. Raises ValueError where none answers at `address`, ClusterError where Ray does not start here.
    """
    if ray.is_initialized():
        yield _resources()
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    found, gpus = local_resources()
    if address is None:
        _start(cpus or int(found), int(gpus))
    else:
        _knock(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Ray cluster answers at --address {address}: {error}") from error
    try:
        yield _resources()
    finally:
        ray.shutdown()


def _start(cpus: int, gpus: int) -> None:
    """Start Ray here. It gives its own processes 30 seconds, which a busy machine may exceed: then once more."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises no narrower one
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()  # whatever did start
            if not attempts_left:
                raise ClusterError(
                    f"Ray did not start within {_ATTEMPTS} times 30 seconds: this machine is too busy"
                ) from error
        else:
            return


def _knock(address: str) -> None:
    """Raise ValueError where nothing listens at HOST:PORT: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        if address == "auto":
            return
        raise ValueError(f"--address {address} is no address: give HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at --address {address}: {error}") from error


def _resources() -> tuple[float, float]:
    resources: dict[str, float] = ray.cluster_resources()
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0)
