"""An object store on this machine, as a process of its own; and stores that are slow, or silent."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow import fs

from study.storage.folder import Folder

KEYS = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything", "AWS_EC2_METADATA_DISABLED": "true"}
_BUCKET = "studies"


@dataclass(frozen=True)
class Store:
    """An object store with a bucket."""

    port: int
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def options(self) -> str:
        """How it is reached, as behind the '?' of an address."""
        return _options(self.port)

    def folder(self) -> Folder:
        """A folder in which nothing is yet."""
        return Folder.of(f"s3://{_BUCKET}/results-{next(self._numbers)}?{self.options}")


@contextmanager
def running_store() -> Iterator[Store]:
    """An object store with one bucket, until the end of the context. KEYS must be in the environment."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    program = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | KEYS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        maker = fs.S3FileSystem(
            scheme="http", endpoint_override=f"127.0.0.1:{port}", region="us-east-1", allow_bucket_creation=True
        )
        maker.create_dir(_BUCKET)
        yield Store(port, process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def silent_store() -> Iterator[str]:
    """The options of a store that takes every connection and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as server:
        yield _options(server.getsockname()[1])


@contextmanager
def slow_store(store: Store, seconds: float) -> Iterator[str]:
    """The options under which `store` is reached with a delay before every connection's first answer."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            with suppress(OSError):  # closed
                while True:
                    client, _ = server.accept()
                    upstream = socket.create_connection(("127.0.0.1", store.port))
                    for source, target, delay in ((client, upstream, 0.0), (upstream, client, seconds)):
                        threading.Thread(target=_pass_on, args=(source, target, delay), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield _options(server.getsockname()[1])


def _pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    with closing(target), suppress(OSError):
        while content := source.recv(1 << 16):
            time.sleep(delay)
            target.sendall(content)


def _options(port: int) -> str:
    return f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"the object store ended with {process.returncode} before it answered")
