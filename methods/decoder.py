"""The way to a code and back: a feature map squeezed into a code, and a code or a map enlarged into images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from methods.encoders import Encoder
from methods.encoders.unet import UNet
from methods.precision import MixedPrecision

LEAST, MOST = 32, 256  # widths of the decoder's maps: the largest map is the narrowest
SMALLEST = 4  # pixels a side: where a code becomes a map, and the most of a map that a code reads


def code_layer(encoder: Encoder, width: int) -> nn.Sequential:
    """A linear layer from the encoder's last map to a code, (N, D, h, w) -> (N, width).

    A map of more than 4x4 is averaged down to that, or the layer would outweigh the encoder. Raises ValueError for a
    U-Net.
    """
    refuse_skips(encoder)
    d, h, _ = encoder.shape()
    side = min(h, SMALLEST)
    pool = [nn.AdaptiveAvgPool2d(side)] if h > side else []
    return nn.Sequential(*pool, nn.Flatten(), nn.Linear(d * side * side, width))


def refuse_skips(encoder: Encoder) -> None:
    """Raise ValueError for a U-Net: an image that flows past its bottom teaches the bottom nothing."""
    if isinstance(encoder, UNet):
        raise ValueError("a U-Net's skips carry the image past its features: autoencoders need another --encoder")


def code_decoder(code: int, channels: int, size: int) -> nn.Sequential:
    """A code to images in [0, 1], (N, code) -> (N, channels, size, size): linear to the smallest map, then Enlarge."""
    side = _sides(SMALLEST, size)[0]
    width = min(MOST, LEAST * 2 ** (len(_sides(side, size)) - 1))
    start = (nn.Linear(code, width * side * side), nn.Unflatten(1, (width, side, side)))
    norm = (nn.BatchNorm2d(width), nn.ReLU(inplace=True))
    return nn.Sequential(*start, *norm, Enlarge((width, side, side), channels, size), nn.Sigmoid())


class Enlarge(MixedPrecision):
    """Transposed convolutions of 4x4 and stride 2 with batch norm and ReLU between them, as DCGAN's generator."""

    def __init__(self, shape: tuple[int, int, int], width: int, size: int) -> None:
        """From a map of `shape` (D, h, w), square, to one of `width` channels and `size` pixels a side, not below h."""
        super().__init__()
        d, h, _ = shape
        if size < h:
            raise ValueError(f"cannot enlarge a map of {h} pixels a side to {size}")
        start, *self.sides = _sides(h, size)
        self.start = start
        layers: list[nn.Module] = []
        for left in reversed(range(len(self.sides))):  # doublings still to come
            wider = min(MOST, LEAST * 2 ** (left - 1)) if left else width
            norm = [nn.BatchNorm2d(wider), nn.ReLU(inplace=True)] if left else []
            layers.append(nn.Sequential(nn.ConvTranspose2d(d, wider, 4, 2, 1, bias=not left), *norm))
            d = wider
        self.doublings = nn.ModuleList(layers)
        self.same = nn.Conv2d(d, width, 3, padding=1) if not layers else nn.Identity()  # already as large as wanted

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, D, h, w) -> (N, width, size, size), without a last nonlinearity."""
        if x.shape[2] != self.start:
            x = F.interpolate(x, size=(self.start, self.start), mode="bilinear", align_corners=False)
        dtype = x.dtype
        with self.mixed(x):
            for doubling, side in zip(self.doublings, self.sides, strict=True):
                x = doubling(x)[:, :, :side, :side]  # an odd side is one less than twice its half
            enlarged: Tensor = self.same(x)
        return enlarged.to(dtype)


def squared_error(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Summed over an image's values, then averaged over the batch; tells apart 0.01 of it from a KL in nats."""
    return (decoded - wanted).square().sum() / len(wanted)


def _sides(least: int, size: int) -> list[int]:
    """The sides of a decoder's maps: `size`, halved and rounded up while that is not below `least`, smallest first."""
    sides = [size]
    while (half := (sides[0] + 1) // 2) >= least and half < sides[0]:
        sides.insert(0, half)
    return sides
