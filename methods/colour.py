"""Colour: sRGB <-> CIE Lab on tensors, and a distribution over quantised ab as in "Colorful Image Colorization".

Zhang, Isola and Efros, 2016. L is lightness in [0, 100]; a (green to red) and b (blue to yellow) reach about 100 either
way, and are 0 for grey. Lab is that of scikit-image: white D65, observer of 2 degrees. Q below is the number of bins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 10  # side of an ab bin
SPREAD = 5.0  # standard deviation in ab of the soft encoding, and of the smoothing of the prior
NEIGHBOURS = 5  # bins that share one colour; the paper says 5, the authors' code uses 10
TEMPERATURE = 0.38  # of the annealed mean
UNIFORM = 0.5  # lambda, the share of the uniform distribution that is mixed into the prior
PRIOR_MOMENTUM = 0.01  # the authors count the prior on ImageNet beforehand; here it is a running mean
REDUCTION = 4  # pixels of the image to a side of a predicted colour

_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE, _SLOPE, _OFFSET = 0.008856, 7.787, 16 / 116  # below the knee the cube root is a line


def rgb_to_lab(images: Tensor) -> Tensor:
    """sRGB in [0, 1] -> Lab, both (N, 3, H, W)."""
    linear = torch.where(images > 0.04045, ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = _mix(_matrix(images), linear)  # of white, (1, 1, 1)
    x, y, z = torch.where(xyz > _KNEE, xyz.clamp(min=_KNEE) ** (1 / 3), _SLOPE * xyz + _OFFSET).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Lab -> sRGB, both (N, 3, H, W); what no screen can show is clipped to [0, 1]."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    roots = torch.stack((y + a / 500, y, y - b / 200), 1)
    xyz = torch.where(roots > _KNEE ** (1 / 3), roots**3, (roots - _OFFSET) / _SLOPE)
    linear = _mix(torch.linalg.inv(_matrix(lab)), xyz).clamp(0, 1)
    rgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return rgb.clamp(0, 1)


def _matrix(images: Tensor) -> Tensor:
    """Linear RGB to XYZ over white, (3, 3)."""
    return images.new_tensor(_XYZ) / images.new_tensor(_WHITE)[:, None]


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", matrix, images)


def ab_bins() -> Tensor:
    """Centres (Q, 2) of the ab bins that hold any colour of a screen: Q = 261, sorted.

    The authors' file lists 313 bins, some of them, as (-90, 50), beyond sRGB; here each has a colour. The faces of the
    RGB cube cover all ab that its inside covers, for they enclose it.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    one, other = torch.cartesian_prod(levels, levels).unbind(1)  # (65536,)
    faces = []
    for level in (torch.zeros_like(one), torch.ones_like(one)):
        faces += [(level, one, other), (one, level, other), (one, other, level)]
    colours = torch.cat([torch.stack(face, 1) for face in faces])  # (6 * 65536, 3)
    ab = rgb_to_lab(colours[:, :, None, None])[:, 1:, 0, 0]
    bins: Tensor = torch.unique((ab / GRID).round(), dim=0)
    return bins.float() * GRID


def soft_encode(ab: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest bins of each colour, nearest first, and their Gaussian weights, which sum to 1.

    Shape:
        ab (P, 2), bins (Q, 2) -> places (P, 5) int64, weights (P, 5)
    """
    squared = ab.square().sum(1, keepdim=True) - 2 * ab @ bins.t() + bins.square().sum(1)  # (P, Q)
    nearest, places = squared.topk(NEIGHBOURS, 1, largest=False)
    return places, torch.softmax(-nearest / (2 * SPREAD**2), 1)


def rebalancing(prior: Tensor, uniform: float = UNIFORM) -> Tensor:
    """How much a pixel of each bin counts: 1 / ((1 - uniform) prior + uniform / Q), with mean 1 over the prior (Q,)."""
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The mean ab of the distribution sharpened by `temperature`: 1 is its mean, towards 0 its mode.

    Shape:
        logits (N, Q, h, w), bins (Q, 2) -> (N, 2, h, w)
    """
    return torch.einsum("nqhw,qd->ndhw", torch.softmax(logits / temperature, 1), bins)


def painted(images: Tensor, ab: Tensor) -> Tensor:
    """Images (N, 3, H, W) with the colours of a coarser map ab (N, 2, h, w) and their own lightness, in [0, 1]."""
    ab = F.interpolate(ab, images.shape[2:], mode="bilinear")
    return lab_to_rgb(torch.cat((rgb_to_lab(images)[:, :1], ab), 1))


class Palette(nn.Module):
    """The ab bins with a running prior over them, and the loss of a distribution over bins."""

    bins: Tensor  # (Q, 2)
    kernel: Tensor  # (Q, Q) the Gaussian, its rows summing to 1, by which the paper smooths the prior
    prior: Tensor  # (Q,) sums to 1

    def __init__(self) -> None:
        super().__init__()
        bins = ab_bins()
        squared = (bins[:, None] - bins).square().sum(2)
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("kernel", torch.softmax(-squared / (2 * SPREAD**2), 1), persistent=False)
        self.register_buffer("prior", torch.full((len(bins),), 1 / len(bins)))

    def forward(self, logits: Tensor, ab: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy to the soft encoding of the true colours, each pixel weighed by its rarity; a scalar.

        Shape:
            logits (N, Q, h, w), ab (N, 2, h, w)
        """
        places, shares = soft_encode(ab.permute(0, 2, 3, 1).flatten(0, 2), self.bins)  # (Nhw, 5)
        if self.training:
            self._see(places[:, 0])
        chances = F.log_softmax(logits.permute(0, 2, 3, 1).flatten(0, 2), 1)  # (Nhw, Q)
        losses = -(chances.gather(1, places) * shares).sum(1)  # (Nhw,)
        losses = (1 - label_smoothing) * losses - label_smoothing * chances.mean(1)
        return (rebalancing(self.prior)[places[:, 0]] * losses).mean()

    @torch.no_grad()
    def _see(self, places: Tensor) -> None:
        """Move the prior towards the smoothed colours of a batch, (P,) nearest bins."""
        counts = torch.zeros_like(self.prior).index_add_(0, places, self.prior.new_ones(()).expand(len(places)))
        self.prior.lerp_(counts @ self.kernel / len(places), PRIOR_MOMENTUM)


def require_colour(name: str, channels: int) -> None:
    """Raise ValueError where images have no colour to predict."""
    if channels != 3:
        raise ValueError(f"{name} needs colour images, not {channels} channel(s) a pixel: choose another --dataset")


def split(images: Tensor) -> tuple[Tensor, Tensor]:
    """Cut images into what is seen and what is told: (N, 3, H, W) -> grey (N, 3, H, W) in [0, 1], ab (N, 2, h, w)."""
    lab = rgb_to_lab(images)
    grey = (lab[:, :1] / 100).expand_as(images).contiguous(memory_format=torch.channels_last)
    return grey, F.adaptive_avg_pool2d(lab[:, 1:], images.shape[-1] // REDUCTION)
