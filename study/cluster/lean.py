"""Lean: what a worker's process is spared."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"


def keep_memory() -> None:
    """Have glibc keep freed memory: giving pages back after every step costs up to a quarter of it."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # not glibc
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # of <malloc.h>
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(arena_max, 1)  # one pool for all threads, or each keeps what the others could use


def without_compiler() -> None:
    """Leave out torch's compiler until something is compiled.

    torch imports it with the first optimizer, to say that nothing of that is to be compiled: a second of a processor,
    and 80 MiB.
    """
    if _COMPILER not in sys.modules:
        stand_in: Any = _StandIn(_COMPILER)
        sys.modules[_COMPILER] = torch._dynamo = stand_in
        sys.meta_path.insert(0, _Parts())


class _StandIn(ModuleType):
    """What optimizers call of the compiler. Whoever asks for more has the compiler itself from then on."""

    def disable(self, function: Any = None, recursive: bool = True, **_: Any) -> Any:
        """The function, which is not compiled."""
        return self.disable if function is None else function

    def graph_break(self, *_: Any, **__: Any) -> None:
        """Nothing: there is no graph."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which whoever looks through all modules asks for
            raise AttributeError(name)
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return getattr(importlib.import_module(_COMPILER), name)


class _Parts(MetaPathFinder, Loader):
    """Finds modules of the compiler that came with it when it took the stand-in's place: they are not loaded twice."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module that is there."""
        if fullname.startswith(f"{_COMPILER}.") and fullname in sys.modules:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The same."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""
