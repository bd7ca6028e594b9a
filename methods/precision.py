"""Mixed precision: convolutions in bfloat16 while a network trains. Weights, losses and all that is kept stay float32.

bfloat16 has float32's range and 8 bits of its precision, so that no loss needs scaling. Features that judge an encoder,
and those that are read later, are always computed in float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]


class MixedPrecision(nn.Module):
    """A module that runs its convolutions under `mixed`, and returns what it was given: float32."""

    precision: Precision = "float32"

    def mixed(self, x: Tensor) -> AbstractContextManager[object]:
        """The arithmetic for a forward of `x`: bfloat16 where `precision` says so and the module trains."""
        return arithmetic(self.precision if self.training else "float32", x.device)


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which convolutions are computed in `precision`."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)


def train_in(network: nn.Module, precision: Precision) -> None:
    """Have all of a network train in this precision."""
    for module in network.modules():
        if isinstance(module, MixedPrecision):
            module.precision = precision


def quickest(on_gpus: bool) -> Precision:
    """bfloat16 where this machine computes with it; elsewhere it would be emulated, and slower than float32."""
    if on_gpus and torch.cuda.is_available():
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # GPUs of other machines are taken for not older than 2020
        has_it = on_gpus or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if has_it else "float32"
