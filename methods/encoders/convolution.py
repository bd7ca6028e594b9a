"""A convolution whose weight gradient on a processor is a matrix product: the same numbers, sooner on small maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCHES = 2**21  # floats; patches are laid out in pieces of at most this size, 8 MiB, but an image at a time at least


class Convolution(nn.Conv2d):
    """nn.Conv2d of stride 1 without padding, with the same weights, names and outputs.

    With AVX2 alone, oneDNN's own weight gradient runs at a third of the speed of a matrix product on a 3x3 map, at half
    on 5x5 and level from 14x14 on; with AVX-512 in bfloat16 at 40 % on 3x3, at 60 % on 5x5. Elsewhere than on a
    processor this is nn.Conv2d and nothing more.
    """

    def __init__(self, width: int, wider: int, kernel: int) -> None:
        super().__init__(width, wider, kernel)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, D, H - k + 1, W - k + 1)."""
        if images.device.type != "cpu":
            return super().forward(images)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):  # which would see a convolution, and not its backward
            images, weight = images.to(torch.bfloat16), weight.to(torch.bfloat16)
            bias = None if bias is None else bias.to(torch.bfloat16)
        convolved: Tensor = _Convolve.apply(images, weight, bias)
        return convolved


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(images, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        (gradient,) = gradients  # (N, D, h, w)
        for_images, for_weight, for_bias = ctx.needs_input_grad
        return (
            F.conv_transpose2d(gradient, weight) if for_images else None,
            _weight_gradient(images, gradient, weight.shape[2]) if for_weight else None,
            gradient.sum((0, 2, 3)) if for_bias else None,
        )


def _weight_gradient(images: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """Sum, over images and places, of output gradient times the patch that it came from: (D, C, k, k)."""
    channels = images.shape[1]
    patches = images.permute(0, 2, 3, 1).unfold(1, kernel, 1).unfold(2, kernel, 1)  # (N, h, w, C, k, k)
    patches = patches.permute(0, 1, 2, 4, 5, 3)  # (N, h, w, k, k, C), still a view of the images
    gradient = gradient.permute(0, 2, 3, 1)  # (N, h, w, D)
    total = images.new_zeros(gradient.shape[3], kernel * kernel * channels, dtype=torch.float32)
    images_at_once = max(1, PATCHES // patches[0].numel())
    for start in range(0, len(images), images_at_once):
        piece = slice(start, start + images_at_once)
        laid_out = patches[piece].reshape(-1, total.shape[1])  # (Nhw, kkC)
        total = total + gradient[piece].reshape(len(laid_out), -1).t() @ laid_out
    return total.to(images.dtype).view(-1, kernel, kernel, channels).permute(0, 3, 1, 2)
