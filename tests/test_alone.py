"""The Ray that we start: nobody else can reach it, and who reaches it is refused without its token."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
import ray

from study.cluster import alone
from study.cluster.runtime import joined
from study.cluster.vigil import own_mark

PROGRAM = """
import os, ray, tempfile
from pathlib import Path
from study.cluster.lanes import Lanes
from study.cluster.layout import Layout
from study.cluster.runtime import joined
from tests.test_alone import family, listening

@ray.remote(num_cpus=0)
class Actor:
    def environment(self):
        return dict(os.environ)

scratch = tempfile.TemporaryDirectory()
with joined(None, cpus=2), scratch, Lanes(Layout(1, 2, 1.0, 0.0), Path(scratch.name)) as lanes:
    actor = Actor.remote()
    lanes.wait_until_ready()
    environment = ray.get(actor.environment.remote())
    print("\\n".join(f"{address} {name}" for address, name in listening(family(os.getpid()))))
    print("gcs", ray.get_runtime_context().gcs_address)
    print("path", environment["RAY_AUTH_TOKEN_PATH"])
    input()  # the test looks and knocks
"""


def family(first: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
    found = {first}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: set[int]) -> Iterator[tuple[str, str]]:
    """The addresses that processes listen on, each with its process's name."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    for process in processes:
        try:
            held = {str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()}
            name = Path(f"/proc/{process}/comm").read_text().strip()
        except OSError:
            continue
        for each in held & sockets.keys():
            words = [bytes.fromhex(sockets[each][i : i + 8])[::-1] for i in range(0, len(sockets[each]), 8)]
            yield str(ip_address(b"".join(words))), name


def loopback(text: str) -> bool:
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nobody_else_reaches_the_ray_that_we_start() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as study:
        assert study.stdout is not None and study.stdin is not None
        said: list[list[str]] = []
        while not said or said[-1][0] != "path":
            line = study.stdout.readline()
            assert line, "it ended before it said where it listens"
            said.append(line.split(maxsplit=1))
        *sockets, (_, gcs), (_, path) = said
        token = Path(path.strip())
        secret = token.read_text()
        folder = token.parent
        readable = [file for file in folder.rglob("*") if file.is_file() and file != token]
        leaks = [file for file in readable if secret.encode() in file.read_bytes()]
        modes = (folder.stat().st_mode & 0o777, token.stat().st_mode & 0o777)
        knocked = {name: knock(gcs.strip(), environment) for name, environment in strangers().items()}
        study.communicate("\n")

    assert {"gcs_server", "raylet", "ray::Actor", "ray::RayTrainWo"} <= {name.strip() for _, name in sockets}
    assert [each for each in sockets if not loopback(each[0])] == []
    assert modes == (0o700, 0o600)
    assert len(secret) == 64 and not leaks
    for name, (code, output) in knocked.items():
        assert code != 0 and "AuthenticationError" in output, f"{name}: {output[-500:]}"
    assert study.returncode == 0 and not folder.exists()


def strangers() -> dict[str, dict[str, str]]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {
        "without a token": own | {"RAY_AUTH_MODE": "disabled"},
        "with another token": own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
    }


def knock(address: str, environment: dict[str, str]) -> tuple[int, str]:
    program = f"import ray._raylet as r; r.GcsClient(address={address!r}).get_all_node_info()"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stderr


def test_what_a_killed_study_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from study.cluster.vigil import own_mark; print(own_mark())"],
        capture_output=True,
        text=True,
        check=True,
    )
    marks = {"study-ray-dead": ended.stdout.strip(), "study-ray-alive": own_mark(), "study-ray-odd": "?", "other": ""}
    for name, mark in marks.items():
        (tmp_path / name / "session").mkdir(parents=True)
        (tmp_path / name / "owner").write_text(mark)
    (tmp_path / "study-ray-new").mkdir()
    alone._clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*marks, "study-ray-new"} - {"study-ray-dead"}


def test_afterwards_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    if ray.is_initialized():
        pytest.skip("another test's Ray is running")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine, for my cluster")
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    with joined(None, cpus=1):
        assert os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in os.environ
    assert {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")} == before
