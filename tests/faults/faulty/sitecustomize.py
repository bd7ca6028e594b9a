"""Faults of a study from outside its code: Python imports this at start-up, for its folder is on PYTHONPATH.

STUDY_FAULT=KIND:TRIAL:EPOCH[:once] breaks rotnet's forward in that epoch of that trial, every time or the first time,
and leaves a file STUDY_FAULT_CAUSED.
STUDY_FAULT_WRITE=N kills the driver just before it changes a file below STUDY_FAULT_UNDER for the N-th time;
STUDY_FAULT_TRACE=PATH lists those changes instead. STUDY_FAULT_SLOW=S has every process wait S seconds before it opens
or changes a file there, as over a slow network.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

CHANGES = {"os.rename": 1, "os.remove": 0, "shutil.rmtree": 0, "os.rmdir": 0, "os.mkdir": 0}  # which argument to show
OPENS = CHANGES | {"open": 0, "os.listdir": 0, "os.scandir": 0}


class Moment:
    """Where the worker is, and where it is to break."""

    kind, trial, epoch, *rest = (*os.environ.get("STUDY_FAULT", "none:-1:-1").split(":"),)
    now = (-1, -1)

    @classmethod
    def has_come(cls) -> bool:
        """Whether to break now; once, where it says so."""
        if cls.now != (int(cls.trial), int(cls.epoch)):
            return False
        note = Path(os.environ["STUDY_FAULT_CAUSED"])
        if "once" in cls.rest and note.exists():
            return False
        note.touch()
        return True


def break_down(kind: str) -> None:
    """Do what `kind` says, for real."""
    import torch

    if kind == "raise":
        raise RuntimeError("a method\nthat does not work")
    if kind == "memory":  # a petabyte: the allocator refuses
        torch.empty(1 << 50, dtype=torch.uint8)
    if kind == "python-memory":
        bytearray(1 << 50)
    if kind == "eaten":  # as the kernel's OOM killer does it
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "exit":
        sys.exit(3)
    while kind == "sleep":
        time.sleep(1000)
    while kind == "spin":
        pass
    while kind == "lock":  # C code that never gives the interpreter's lock back
        ctypes.PyDLL(None).sleep(1000)


def patch_method(module: ModuleType) -> None:
    """Have rotnet's forward break."""
    real: Callable[..., Any] = module.RotNet.forward

    @functools.wraps(real)
    def forward(self: Any, batch: Any) -> Any:
        losses = real(self, batch)
        if Moment.has_come():
            if Moment.kind == "nan":
                return {name: loss * float("nan") for name, loss in losses.items()}
            break_down(Moment.kind)
        return losses

    module.RotNet.forward = forward


def patch_jobs(module: ModuleType) -> None:
    """Note which trial and epoch a worker is at."""
    real: Callable[..., Iterator[Any]] = module.run_pretraining

    @functools.wraps(real)
    def run_pretraining(job: Any, place: Any) -> Iterator[Any]:
        name = str(job.folder).rpartition("/")[2]
        trial = int(name) if name.isdigit() else -1  # or a repeat of the best
        Moment.now = (trial, 1)
        for epoch in real(job, place):
            Moment.now = (trial, epoch.epoch + 1)
            yield epoch
        Moment.now = (-1, -1)

    vars(module)["run_pretraining"] = run_pretraining


PATCHES = {"methods.rotnet": patch_method, "study.learning.jobs": patch_jobs}


class Finder(MetaPathFinder):
    """Finds the modules to patch, and patches them once they are loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in PATCHES:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            PATCHES[name](module)

        vars(spec.loader)["exec_module"] = load_and_patch
        return spec


class Changes:
    """Counts the changes of files below a folder, and kills this process before one of them."""

    def __init__(self, below: str, last: int, trace: str | None) -> None:
        self.below, self.last, self.trace, self.count, self.busy = below, last, trace, 0, False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or self.busy:
            return
        path = str(arguments[CHANGES[event]])
        if not path.startswith(self.below):
            return
        self.count += 1
        if self.trace:
            self.busy = True
            with Path(self.trace).open("a") as file:
                file.write(f"{event.partition('.')[2]} {path.removeprefix(self.below)}\n")
            self.busy = False
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Slowness:
    """Waits before each file below a folder that this process opens or changes."""

    def __init__(self, below: str, seconds: float) -> None:
        self.below, self.seconds = below, seconds

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPENS and str(arguments[OPENS[event]]).startswith(self.below):
            time.sleep(self.seconds)


if "STUDY_FAULT" in os.environ:
    sys.meta_path.insert(0, Finder())
if "study.run" in sys.orig_argv and {"STUDY_FAULT_WRITE", "STUDY_FAULT_TRACE"} & os.environ.keys():
    sys.addaudithook(
        Changes(
            os.environ["STUDY_FAULT_UNDER"],
            int(os.environ.get("STUDY_FAULT_WRITE", "0")),
            os.environ.get("STUDY_FAULT_TRACE"),
        )
    )
if "STUDY_FAULT_SLOW" in os.environ:
    sys.addaudithook(Slowness(os.environ["STUDY_FAULT_UNDER"], float(os.environ["STUDY_FAULT_SLOW"])))
