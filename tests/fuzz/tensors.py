"""Tensors: files of tensors as somebody else may write them: whole, with the right checksum, and other content."""

from __future__ import annotations

import json
from random import Random

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from study.storage.tensors import pack
from tests.fuzz.mutations import other_json


def repacked(random: Random, content: bytes) -> bytes | None:
    """Other tensors, or other texts about them; None where the content holds none."""
    try:
        tensors = load(content)
        about: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get(
            "__metadata__", {}
        )
    except (SafetensorError, ValueError):
        return None
    about.pop("checksum", None)
    if about and random.random() < 0.5:
        name = random.choice(list(about))
        about[name] = other_json(random, about[name].encode(), json.loads(about[name])).decode(errors="replace")
        if random.random() < 0.1:
            del about[name]
    else:
        name = random.choice(list(tensors))
        match random.randrange(6):
            case 0:
                del tensors[name]
            case 1:
                tensors[random.choice(("", "0.0", "optimizer.9.x", "optimizer.x.y", "method.", "a.b"))] = tensors[
                    name
                ].clone()
            case _:
                tensors[name] = _other(random, tensors[name])
    return pack(tensors, about)


def _other(random: Random, tensor: Tensor) -> Tensor:
    match random.randrange(6):
        case 0:
            return tensor[None]
        case 1:
            return tensor[:0] if tensor.dim() else torch.empty(0)
        case 2:
            return tensor.reshape(-1)
        case 3:
            return tensor.to(random.choice((torch.float64, torch.int8, torch.bool, torch.bfloat16, torch.complex64)))
        case 4:
            return torch.full_like(tensor, random.choice((0, 1, 255)))
        case _:
            wide = torch.tensor(random.choice((float("nan"), float("inf"), -1.0, 1e30)))
            return torch.full_like(tensor, wide.to(tensor.dtype).item())
