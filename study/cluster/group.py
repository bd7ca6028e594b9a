"""The worker group's own network: which interface gloo, which carries gradients between CPUs, is to use."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

_ADDRESS = 0x8915  # SIOCGIFADDR of <linux/sockios.h>: the IPv4 address of an interface


class _OnRaysNetwork(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(name_interface)
        super().on_start(worker_group, backend_config)


@dataclass
class Gloo(TorchConfig):
    """Ray Train's gloo, on the network that Ray itself uses.

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
