"""Tensor files: safetensors with a checksum over all that they hold, so that a flipped bit is noticed. No pickle."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_CHECKSUM = "checksum"  # in the file's metadata


class DamagedError(ValueError):
    """The content of a file is not what was written. One line."""


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The content of a file of tensors and of texts about them.

    At the size of a training resnet18, 134 MB, the checksum takes 0.04 s; making the content 0.4 s, fsync 0.15 s.
    """
    # safetensors wants plain row-major tensors; the memory format comes back when they are copied into the module.
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content: bytes = save(plain, {**about, _CHECKSUM: _checksum(plain, about)})
    return content


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `pack` was given. Raises DamagedError."""
    try:
        tensors = load(content)
        about: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        checksum = about.pop(_CHECKSUM)
        sound = checksum == _checksum(tensors, about)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedError(" ".join(f"{type(error).__name__}: {error}".split())) from error
    if not sound:
        raise DamagedError("its checksum is another")
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    found = zlib.crc32(json.dumps(sorted(about.items())).encode())
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"
