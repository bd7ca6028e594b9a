"""Alone: what keeps the Ray that we start to ourselves. Whoever can speak to Ray can run code as its owner."""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray._private import ray_constants

from study.cluster.vigil import gone, own_mark

# Sockets lie deep below the folder and their paths may have 107 bytes: a long $TMPDIR would be too much.
_SHORT = Path("/tmp")
_PREFIX, _OWNER = "study-ray-", "owner"
_RAYLET: Any = importlib.import_module("ray._raylet")  # its types leave out what is called here


@contextmanager
def alone() -> Iterator[None]:
    """Within it, a Ray that starts listens on the loopback interface, and asks for a token that only we can read.

    Ray itself listens on all interfaces, keeps its token in a file that all may read, and its sockets in a folder that
    all may write to. Logs lie in that folder: they go when this ends.
    """
    place = _SHORT if _SHORT.is_dir() else Path(tempfile.gettempdir())
    _clear(place)
    with tempfile.TemporaryDirectory(
        prefix=_PREFIX, dir=place, ignore_cleanup_errors=True
    ) as private:  # which nobody else can enter
        (Path(private) / _OWNER).write_text(own_mark())
        token = Path(private) / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))  # 256 bits, as Ray's own
        ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": private}
        theirs = {name: os.environ.pop(name, None) for name in (*ours, "RAY_AUTH_TOKEN")}
        clusters = ray_constants.ENABLE_RAY_CLUSTER
        os.environ.update(ours)
        # Where Ray runs on one node only, as it does on macOS, its address is 127.0.0.1 and it listens on nothing else;
        # `_node_ip_address` cannot say so, for Ray turns that address into one that others can reach.
        ray_constants.ENABLE_RAY_CLUSTER = False
        _read_again()
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = clusters
            for name, value in theirs.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
            _read_again()


def _clear(place: Path) -> None:
    """Remove the folders that killed studies have left."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError, ValueError):  # another's, or one that is just being made
            if folder.lstat().st_uid == os.geteuid() and gone((folder / _OWNER).read_text()):
                shutil.rmtree(folder, ignore_errors=True)


def _read_again() -> None:
    """Ray has read its environment when it was imported."""
    _RAYLET.Config.initialize("")
    _RAYLET.AuthenticationTokenLoader.instance().reset_cache()
