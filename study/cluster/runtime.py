"""The cluster: starting or joining Ray, and noticing when it dies."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import ray
import torch
from ray._private import auto_init_hook, utils

from study.cluster.alone import alone
from study.cluster.layout import Node
from study.cluster.vigil import RayDiedError, children, end_orphans, mark, opens, vigil

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",  # it would set up this process's logging
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # within which a lane notices that its workers have left
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process a lane, for warnings that nobody here asks for
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # further lanes than CPUs come up together
}


_ATTEMPTS = 3  # at starting Ray
_TOKEN = "; if it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as they are set there"


class ClusterError(RuntimeError):
    """Ray could not be started."""


def this_machine() -> Node:
    """What this process may use."""
    return Node(float(len(os.sched_getaffinity(0))), float(torch.cuda.device_count()))


@contextmanager
def joined(
    address: str | None, cpus: int | None = None, stuck: Callable[[str], object] | None = None
) -> Iterator[list[Node]]:
    """Ray on this machine alone, or the running cluster at `address`: yields its nodes, and leaves it after.

    On this machine alone Ray counts `cpus`, or as many as there are. A process that is in a cluster already stays in
    it. Raises ValueError where none answers at `address`, ClusterError where Ray does not start here, and RayDiedError
    in the main thread when Ray dies; `stuck` is called, with the reason, where that thread does not hear of it.
    """
    if address is not None:
        _knock(address)
    if ray.is_initialized():
        yield nodes()
        return
    with alone() if address is None else nullcontext(), _joined(address, cpus, stuck) as there:
        yield there


@contextmanager
def _joined(address: str | None, cpus: int | None, stuck: Callable[[str], object] | None) -> Iterator[list[Node]]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    auto_init_hook.enable_auto_connect = False  # what asks anything of a Ray that has gone is not to start another
    if address is None:
        end_orphans()
        mark()
        here = this_machine()
        with _sigterm_kept():
            _start(cpus or int(here.cpus), int(here.gpus))
    else:
        try:
            with _sigterm_kept():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            token = "" if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") else _TOKEN
            raise ValueError(f"no Ray cluster answers at --address {address}: {error}{token}") from error
    leave: Callable[[], object] = ray.shutdown
    try:
        with vigil(_signs(address), stuck):
            yield nodes()
    except RayDiedError:
        leave = partial(end_orphans, ours=True)  # what is left of Ray would go on, and its own end would wait for it
        raise
    finally:
        leave()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Leave SIGTERM to whom it belongs, where somebody has taken it: Ray takes it twice, and would exit in its way."""
    owner = signal.getsignal(signal.SIGTERM)
    if not callable(owner) or threading.current_thread() is not threading.main_thread():
        yield
        return
    private = vars(utils)
    real = private["set_sigterm_handler"]
    private["set_sigterm_handler"] = lambda _: None
    try:
        yield
    finally:
        private["set_sigterm_handler"] = real
        signal.signal(signal.SIGTERM, owner)  # its C++ code has taken it too


def nodes() -> list[Node]:
    """The living nodes of the cluster."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


def _signs(address: str | None) -> dict[str, Callable[[], bool]]:
    """What tells that Ray lives. Of its own processes this one knows; a cluster is asked."""
    if address is None:
        return {name: lives for name, lives in children().items() if name in ("raylet", "gcs_server")}
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    here = context.get_node_id()
    return {
        "head": partial(opens, host, int(port)),
        "node here": lambda: any(node["Alive"] for node in ray.nodes() if node["NodeID"] == here),
    }


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
    if address.startswith("ray://"):  # Ray Client would run Tune's searcher, and so our writing, on the head
        raise ValueError(
            f"--address {address}: a study does not run through Ray Client; start it on a node of the cluster with "
            "--address auto, or send it there with ray job submit"
        )
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        if address == "auto":
            return
        raise ValueError(f"--address {address} is no address: give HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at --address {address}: {error}") from error
