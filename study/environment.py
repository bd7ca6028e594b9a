"""What else a reader needs to repeat a study: versions, hardware, revision, command; and which study it is."""

from __future__ import annotations

import functools
import os
import platform
import secrets
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from study.storage import files
from study.tracking.uri import public_uri


def environment(folder: Path, command: Sequence[str]) -> dict[str, object]:
    """What else a reader needs to repeat the study. Its identity and its beginning are those of its first session."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    before: dict[str, Any] = files.read_study(folder)[1] if (folder / files.STUDY).exists() else {}
    resumed = before.get("resumed_at")
    code = code_version() if not before or before.get("code") == code_version() else None  # several versions ran it
    packages = ("torch", "torchvision", "ray", "optuna", "mlflow", "scikit-learn", "numpy", "pandas", "pyarrow")
    return {
        "id": before.get("id") if before else secrets.token_hex(8),  # older studies have none: see `identity`
        "command": [public_uri(word) for word in command],
        "started_at": before.get("started_at", now),
        "resumed_at": [*(resumed if isinstance(resumed, list) else ()), *([now] if before else [])],
        "git_revision": _git_revision(),
        "code": code,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "hardware": {
            "cpus": len(os.sched_getaffinity(0)),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "machine": platform.machine(),
            "system": platform.system(),
        },
    }


@functools.cache
def code_version() -> str:
    """A hash of all that shapes a pretraining's numbers beside its settings: our code of it, torch and its like."""
    root = Path(__file__).parent.parent
    sources = [*root.glob("methods/**/*.py"), *root.glob("study/learning/*.py"), *root.glob("study/data/*.py")]
    libraries = [f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "scikit-learn", "numpy")]
    told = blake2b(" ".join([*libraries, torch.backends.cpu.get_cpu_capability()]).encode(), digest_size=8)
    for path in sorted([*sources, root / "study/seeds.py"]):
        told.update(path.read_bytes())
    return told.hexdigest()


def _git_revision() -> str | None:
    """The commit of this checkout, or None outside one."""
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None
