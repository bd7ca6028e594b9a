"""The worker group's own network: how its workers meet, and which interface gloo carries their gradients over."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import tempfile
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

_ADDRESS = 0x8915  # SIOCGIFADDR of <linux/sockios.h>: the IPv4 address of an interface


class _OnRaysNetwork(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(name_interface)
        if len(set(worker_group.execute(_node))) > 1:
            super().on_start(worker_group, backend_config)
        else:
            _meet_in_a_file(worker_group, backend_config)


def _node() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _meet_in_a_file(worker_group: Any, backend_config: Any) -> None:
    """Form the process group of workers on one machine.

    Ray's way is torch's TCPStore, which listens on all interfaces and asks nobody for a password.
    """
    folder = worker_group.execute_single(0, _folder)
    worker_group.execute(_set_torch_distributed_env_vars)
    ray.get(
        [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend=backend_config.backend,
                world_rank=rank,
                world_size=len(worker_group),
                init_method=f"file://{folder}/rendezvous",
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
    )


def _folder() -> str:
    # Ray's own folder, where it is ours alone, is removed with Ray.
    return tempfile.mkdtemp(prefix="group-", dir=os.environ.get("RAY_TMPDIR"))


@dataclass
class Group(TorchConfig):
    """Ray Train's process group, on the network that Ray itself uses.

    Left alone, gloo takes the address that the machine's own name leads to. With Debian's /etc/hosts, and in many
    images, that is a loopback address, where no other machine listens.
    """

    backend: str | None = "gloo"

    @property
    def backend_cls(self) -> type[_OnRaysNetwork]:
        """What Ray Train starts the process group with."""
        return _OnRaysNetwork


def name_interface() -> None:
    """Tell gloo, in this process, which interface has the address that Ray knows this node by."""
    wanted = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked, _ADDRESS, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(answer[20:24]) == wanted:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
