"""Images on other nodes: what a node that lacks the prepared folder does."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from study.cluster.images import Server, identity, nearby, share
from study.data.dataset import Dataset, load
from study.storage.folder import StorageError


class Slow(Server):
    """Counts the chunks it serves, each of which takes a while."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(folder)
        self._seconds = seconds
        self._chunks = 0

    def read(self, name: str, start: int) -> Any:
        self._chunks += 1
        time.sleep(self._seconds)
        return super().read(name, start)

    def chunks(self) -> int:
        return self._chunks


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This node's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"pretraining-study-{os.getuid()}"


def elsewhere(prepared: Path, server: Any) -> Callable[[], Path]:
    """What a job asks on a node without the folder."""
    return partial(nearby, Path("/nowhere") / prepared.name, str(identity(prepared)), server)


@pytest.fixture
def server(cluster: None, photo_digits: Dataset) -> Iterator[Any]:
    serving: Any = ray.remote(Server).remote(photo_digits.folder)
    yield serving
    ray.kill(serving)


def test_a_node_that_has_the_folder_copies_nothing(cluster: None, photo_digits: Dataset, cache: Path) -> None:
    assert share(photo_digits.folder)() == photo_digits.folder
    assert not cache.exists()


def test_a_node_without_the_folder_gets_the_same_images(server: Any, photo_digits: Dataset, cache: Path) -> None:
    copy = elsewhere(photo_digits.folder, server)()
    found = load(copy, seed=0)
    assert copy.parent == cache and found.hash == photo_digits.hash
    assert np.array_equal(found.pixels, photo_digits.pixels) and np.array_equal(found.labels, photo_digits.labels)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == [copy.name], (
        "nothing else left"
    )


def test_a_folder_of_other_images_at_the_same_place_is_not_taken_for_it(
    server: Any, photo_digits: Dataset, cache: Path, tmp_path: Path
) -> None:
    other = tmp_path / photo_digits.folder.name
    other.mkdir()
    (other / "about.json").write_text("{}")
    assert nearby(other, str(identity(photo_digits.folder)), server).parent == cache


class Asking:
    """A process of a node without the folder."""

    def __init__(self, ask: Callable[[], Path]) -> None:
        self._ask = ask

    def process(self) -> int:
        return os.getpid()

    def ask(self) -> Path:
        return self._ask()


def asking(cache: Path, ask: Callable[[], Path]) -> Any:
    environment = {"env_vars": {"XDG_CACHE_HOME": str(cache.parent)}}
    return ray.remote(Asking).options(num_cpus=0, max_concurrency=2, runtime_env=environment).remote(ask)


def test_processes_that_want_the_images_at_once_fetch_them_once(
    cluster: None, photo_digits: Dataset, cache: Path
) -> None:
    server: Any = ray.remote(Slow).options(num_cpus=0).remote(photo_digits.folder, 0.2)
    processes = [asking(cache, elsewhere(photo_digits.folder, server)) for _ in range(3)]
    assert len(set(ray.get([process.ask.remote() for process in processes], timeout=60))) == 1
    assert ray.get(server.chunks.remote()) == 3, "one of each file"


def test_a_fetch_that_is_killed_leaves_nothing_that_is_trusted(
    cluster: None, photo_digits: Dataset, cache: Path
) -> None:
    ask = elsewhere(photo_digits.folder, ray.remote(Slow).options(num_cpus=0).remote(photo_digits.folder, 0.5))
    fetching = asking(cache, ask)
    process = ray.get(fetching.process.remote(), timeout=60)
    waiting = fetching.ask.remote()
    while not list(cache.glob(".*/prepared/about.json")):
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(waiting, timeout=60)
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]

    copy = ask()
    assert load(copy, seed=0).hash == photo_digits.hash
    assert {path.name for path in cache.iterdir()} == {copy.name, f".{copy.name}.lock"}


def test_images_that_are_not_those_of_the_digest_are_refused(
    cluster: None, photo_digits: Dataset, cache: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / photo_digits.folder.name
    damaged.mkdir()
    for path in photo_digits.folder.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    with (damaged / "pixels.uint8").open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(StorageError, match="is damaged"):
        elsewhere(damaged, ray.remote(Server).options(num_cpus=0).remote(damaged))()
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("megabytes", [1, 8], ids=["from the start", "while it is written to"])
def test_a_node_whose_disk_is_full_says_so(
    cluster: None, photo_digits: Dataset, tmp_path: Path, megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))

    def fill() -> None:
        while not list(disk.glob("*/.*/prepared/about.json")):
            time.sleep(0.01)
        with suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "small", disk], check=True)
    try:
        if megabytes > 1:
            threading.Thread(target=fill, daemon=True).start()
        with pytest.raises(StorageError, match="free: make room" if megabytes == 1 else "No space left"):
            elsewhere(photo_digits.folder, ray.remote(Slow).options(num_cpus=0).remote(photo_digits.folder, 0.5))()
        assert not list(disk.rglob("pixels.uint8")), "nothing is left of it"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cache_that_others_can_write_to_is_refused(server: Any, photo_digits: Dataset, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(StorageError, match="not a folder of this user alone"):
        elsewhere(photo_digits.folder, server)()
