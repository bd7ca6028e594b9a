"""Hosts: several machines played by this one, each with a network, processes and data folders of its own.

A host is a set of Linux namespaces: a network on a bridge that all hosts share, processes that end with it, a name, and
an empty disk in memory over every folder where data may lie (/tmp, /var/tmp, /dev/shm, the home folder). The code and
the interpreter are there on every host, as they would be in an installed image. Needs root, `ip` and `unshare`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.object_store import KEYS

ROOT = Path(__file__).parents[1]
RAY = Path(sys.prefix) / "bin" / "ray"
TOKEN = "a-token-for-tests-that-all-hosts-know-and-nobody-else"

# What unshare runs: give the host its name and disks, then wait, and bury the dead, until it is switched off. The name
# leads to the loopback device, as Debian has it: whoever asks for the machine's own address that way gets a wrong one.
_BOOT = """
set -e
hostname "$1"
for folder in "${@:2}"; do exec {kept}<"$folder"; places+=("$kept:$folder"); done
for folder in /tmp /var/tmp /dev/shm /root; do mount -t tmpfs -o "mode=1777,size=$DISK" "$1" "$folder"; done
for place in "${places[@]}"; do
    mkdir -p "${place#*:}"
    mount --no-canonicalize --bind "/proc/self/fd/${place%%:*}" "${place#*:}"
done
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$1" >/var/tmp/hosts
mount --bind /var/tmp/hosts /etc/hosts
ip link set lo up
echo ready
trap : TERM
while :; do sleep 1000 & wait $!; done
"""
_HIDDEN = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/root")))


def can_play_hosts() -> bool:
    """Whether this machine lets us: Linux, root, and the two tools."""
    return sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, ("ip", "unshare", "nsenter")))


@dataclass
class Host:
    """A machine that a test may start commands on, cut off and switch off."""

    name: str
    address: str
    link: str  # the bridge's end of its cable
    boot: subprocess.Popen[str]
    environment: Mapping[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, *words: str | Path) -> list[str]:
        """The words that run a command of this host, from anywhere on the real machine."""
        spaces = Path(f"/proc/{self.boot.pid}/ns")
        names = {"net": "net", "mount": "mnt", "uts": "uts", "pid": "pid_for_children"}
        inside = [f"--{option}={spaces / name}" for option, name in names.items()]
        return ["nsenter", *inside, f"--wdns={ROOT}", "--", *map(str, words)]

    def run(self, *words: str | Path, timeout: float = 120, check: bool = True) -> str:
        """Run a command there and return what it printed. Raises AssertionError where it fails."""
        done = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert not check or done.returncode == 0, f"{words} on {self.name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def start(self, *words: str | Path, log: Path) -> subprocess.Popen[str]:
        """Start a command there that goes on in the background, at the latest until the host is switched off.

        What it prints goes to `log`, on the real machine.
        """
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command(*words), env=self.environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        self.started.append(process)
        return process

    def lead(self, *options: str) -> None:
        """Start a Ray cluster with this host as its head."""
        self.run(
            *(RAY, "start", "--head", f"--node-ip-address={self.address}", "--port=6379", "--include-dashboard=false"),
            *("--object-store-memory=200000000", *options),
        )

    def join(self, head: Host, *options: str) -> None:
        """Join the cluster of `head`."""
        self.run(
            *(RAY, "start", f"--address={head.address}:6379", f"--node-ip-address={self.address}"),
            *("--object-store-memory=200000000", *options),
        )

    def cut_off(self) -> None:
        """Pull its network cable: nobody is told, and packets go nowhere."""
        _ip("link", "set", self.link, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.link, "up")

    def switch_off(self) -> None:
        """Cut the power: all its processes are gone at once, and its disks with them."""
        self.boot.kill()
        self.boot.communicate()
        for process in self.started:
            process.wait()
        subprocess.run(["ip", "link", "del", self.link], check=False, capture_output=True)  # it goes by itself, later


@dataclass
class Network:
    """A bridge, and the hosts on it."""

    name: str
    hosts: list[Host] = field(default_factory=list)

    def add(self, name: str, *shared: Path, disk: str = "2g") -> Host:
        """Switch on another host. It sees the folders `shared` of the real machine; `disk` is the size of its disks."""
        number = len(self.hosts) + 1
        link, inner = f"{self.name}-{number}", f"{self.name}i{number}"
        environment = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "DISK": disk,
            **KEYS,
        }
        kept = {ROOT, Path(sys.prefix), Path(sys.base_prefix), *shared}
        boot = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"),
                *("--propagation=private", "bash", "-c", _BOOT, "boot", name),
                *(str(folder) for folder in kept if any(folder.is_relative_to(hidden) for hidden in _HIDDEN)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        host = Host(name, f"10.77.0.{number}", link, boot, environment)
        self.hosts.append(host)
        assert boot.stdout is not None
        assert boot.stdout.readline() == "ready\n", f"{name} does not start"
        _ip("link", "add", link, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", str(boot.pid))
        _ip("link", "set", link, "master", self.name, "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", inner)
        host.run("ip", "link", "set", inner, "up")
        return host


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts yet. At the end of the context nothing is left of it."""
    made = Network(f"study{os.getpid() % 100_000}")
    _ip("link", "add", made.name, "type", "bridge")
    try:
        _ip("link", "set", made.name, "up")
        yield made
    finally:
        for host in made.hosts:
            host.switch_off()
        _ip("link", "del", made.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)
