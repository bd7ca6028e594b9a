"""Views: augmentation of whole batches, images -> images, each image with parameters of its own.

Every function takes (N, C, H, W) floats in [0, 1], grey or colour, of any memory layout, leaves them untouched and
returns images in [0, 1]. `crop`, `flip`, `recolour`, `rotate`, `blur` and `sobel` do as told, image by image, and equal
torchvision's functions on the same parameters; `random_...` draw those parameters from a torch.Generator on the images'
device (None: torch's own generator). What comes out is laid out planar, in which colour is quickest; a channels_last
convolution converts it once, by itself. On grey images (C = 1) saturation and hue do nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# What `augment` does at strength 1. Half of the colour is the ColorJitter(0.2, 0.4, 0.5) of a study of rotation
# features on SVHN; the crop is modest, for a digit fills its image: at half strength it keeps four fifths of the area.
BRIGHTNESS, CONTRAST, SATURATION, LEAST_AREA, WIDEST = 0.4, 0.8, 1.0, 0.6, 4 / 3

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601 luma, with torchvision's digits


def augment(images: Tensor, strength: float, generator: Generator | None = None) -> Tensor:
    """The plain recipe: a random crop and colour jitter. Strength 0 returns the images themselves, 1 is strong.

    It never flips: that turns some digits into other signs. A method adds `random_flip` where a mirrored image is
    still the same thing. The memory layout is kept. Raises ValueError for a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"augmentation strength {strength} is outside [0, 1]: 0 is none, 1 is strong")
    if strength == 0:
        return images
    views = random_crop(images, 1 - strength * (1 - LEAST_AREA), WIDEST**strength, generator)
    brightness = _factors(views, strength * BRIGHTNESS, generator)
    contrast = _factors(views, strength * CONTRAST, generator)
    _recolour(views, brightness, contrast, _factors(views, strength * SATURATION, generator))
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return views.contiguous(memory_format=torch.channels_last) if channels_last else views


def random_crop(
    images: Tensor, least_area: float = 0.08, widest: float = 4 / 3, generator: Generator | None = None
) -> Tensor:
    """Cut out a part of each image and enlarge it to the whole.

    Its area is uniform in [least_area, 1] of the image, the logarithm of width / height uniform up to `widest` either
    way. torchvision redraws a box that does not fit; here the ratio is drawn among those that do.
    """
    height, width = images.shape[2:]
    area, ratio, x, y = _uniform(images, 4, 0, 1, generator)  # (N,) each
    area = least_area + (1 - least_area) * area
    log_ratio = (2 * ratio - 1) * (-area.log()).clamp_(max=math.log(widest))
    box_width = width * (area * log_ratio.exp()).sqrt_().clamp_(max=1)
    box_height = height * (area * (-log_ratio).exp()).sqrt_().clamp_(max=1)
    boxes = torch.stack(((height - box_height) * y, (width - box_width) * x, box_height, box_width), 1)
    return crop(images, boxes)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut out boxes (N, 4), which are top, left, height and width in pixels, and enlarge each to the whole image."""
    height, width = images.shape[2:]
    top, left, box_height, box_width = boxes[:, :, None].unbind(1)  # (N, 1)
    rows = _sample(height, top, box_height)  # (N, H)
    columns = _sample(width, left, box_width)  # (N, W)
    shape = (len(images), height, width)
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), 3)  # (N, H, W, 2)
    views = F.grid_sample(images.contiguous(), grid, padding_mode="border", align_corners=False)
    return views.clamp_(0, 1)  # the weights of four neighbours may sum to a little over 1


def _sample(size: int, start: Tensor, length: Tensor) -> Tensor:
    """Where in [-1, 1] each of `size` pixels of a part is read; held inside the part, as if the rest were cut off."""
    pixels = torch.arange(size, device=start.device, dtype=start.dtype)
    places = ((pixels + 0.5) * (length / size) - 0.5).clamp(torch.zeros_like(length), (length - 1).clamp(min=0))
    return (places + start + 0.5) * (2 / size) - 1


def random_flip(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    return flip(images, _uniform(images, 1, 0, 1, generator)[0] < 0.5)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror left to right where `chosen` (N,) is true."""
    return torch.where(_column(chosen), images.flip(3), images)


def random_colour(
    images: Tensor,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float = 0.0,
    probability: float = 1.0,
    generator: Generator | None = None,
) -> Tensor:
    """Jitter as torchvision's ColorJitter, always in this order, in a share `probability` of the images.

    The first three are drawn from [max(0, 1 - value), 1 + value], hue from [-hue, hue] of the colour circle.
    """
    factors = [_factors(images, reach, generator) for reach in (brightness, contrast, saturation)]
    turn = _uniform(images, 1, -hue, hue, generator)[0] if hue else None
    views = recolour(images, factors[0], factors[1], factors[2], turn)
    if probability == 1:
        return views
    return torch.where(_column(_uniform(images, 1, 0, 1, generator)[0] < probability), views, images)


def _factors(images: Tensor, reach: float, generator: Generator | None) -> Tensor:
    """Draw (N,) factors about 1."""
    return _uniform(images, 1, max(0.0, 1 - reach), 1 + reach, generator)[0]


def recolour(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor | None = None
) -> Tensor:
    """Scale brightness, then contrast, then saturation by factors (N,), then turn hue by (N,) of the colour circle."""
    views = images.clone(memory_format=torch.contiguous_format)
    _recolour(views, brightness, contrast, saturation)
    return views if hue is None or views.shape[1] == 1 else _turn_hue(views, hue)


def _recolour(views: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> None:
    """The first three, in place."""
    views.mul_(_column(brightness)).clamp_(0, 1)
    mean = _grey(views.mean((2, 3), keepdim=True))  # (N, 1, 1, 1)
    _blend(views, mean, contrast)
    if views.shape[1] == 3:
        _blend(views, _grey(views), saturation)


def _blend(views: Tensor, other: Tensor, factor: Tensor) -> None:
    share = _column(factor)
    views.mul_(share).add_(other * (1 - share)).clamp_(0, 1)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hue in closed form: a channel is v - chroma * clamp(min(k, 4 - k), 0, 1) with k = (n + 6 hue) mod 6."""
    red, green, blue = images.unbind(1)  # (N, H, W)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    safe = chroma.clamp(min=torch.finfo(images.dtype).tiny)  # a grey pixel has no hue, and any will do
    hue = torch.where(value == green, (blue - red).div_(safe).add_(2), (red - green).div_(safe).add_(4))
    hue = torch.where(value == red, (green - blue).div_(safe), hue)  # (N, H, W) in [-1, 5]
    hue.div_(6).add_(turn[:, None, None]).unsqueeze_(1)
    n = torch.arange(5, 0, -2, device=images.device).view(3, 1, 1)
    k = (hue + (n / 6 + 1)).frac_().mul_(6)  # (N, 3, H, W); the 1 keeps it positive
    share = k.sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
    return share.mul_(chroma.unsqueeze(1)).neg_().add_(value.unsqueeze(1)).clamp_(0, 1)


def random_grey(images: Tensor, probability: float, generator: Generator | None = None) -> Tensor:
    """Take the colour away with this probability; three equal channels stay."""
    chosen = _uniform(images, 1, 0, 1, generator)[0] < probability
    return torch.where(_column(chosen), _grey(images), images)


def _grey(images: Tensor) -> Tensor:
    """Luma, (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def random_rotation(images: Tensor, degrees: float, generator: Generator | None = None) -> Tensor:
    """Turn each image by up to `degrees` either way."""
    return rotate(images, _uniform(images, 1, -degrees, degrees, generator)[0])


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn counter-clockwise by (N,) degrees about the centre, bilinear, black where nothing was."""
    height, width = images.shape[2:]
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    x = torch.arange(1 - width, width, 2, device=images.device)  # (W,), from the centre, in half pixels
    y = torch.arange(1 - height, height, 2, device=images.device)[:, None]  # (H, 1)
    grid = torch.stack(((cosine * x - sine * y) / width, (sine * x + cosine * y) / height), 3)  # (N, H, W, 2)
    return F.grid_sample(images.contiguous(), grid, padding_mode="zeros", align_corners=False).clamp_(0, 1)


def random_blur(images: Tensor, probability: float = 0.5, generator: Generator | None = None) -> Tensor:
    """Blur with this probability by a standard deviation from [0.1, 2] pixels, SimCLR's."""
    sigma, chance = _uniform(images, 2, 0, 1, generator)
    return blur(images, torch.where(chance < probability, 0.1 + 1.9 * sigma, 0.0))


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian of standard deviation (N,) pixels, 0 changes nothing; the kernel spans a tenth of a side, at least 3."""
    radius = max(1, images.shape[3] // 20)
    places = torch.arange(-radius, radius + 1, device=images.device)
    taps = torch.softmax(-0.5 * (places / sigma.clamp(min=1e-3)[:, None]) ** 2, 1)  # (N, K)
    views = images.contiguous()
    for dim in (2, 3):
        size = views.shape[dim]
        pad = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
        padded = F.pad(views, pad, mode="reflect")
        views = padded.narrow(dim, 0, size) * _column(taps[:, 0])
        for k in range(1, 2 * radius + 1):
            views.addcmul_(padded.narrow(dim, k, size), _column(taps[:, k]))
    return views.clamp_(0, 1)


def sobel(images: Tensor) -> Tensor:
    """Horizontal and vertical slope of the grey image, (N, 2, H, W): DeepCluster's input. 1/2 is no slope.

    Grey is the mean of the channels and the border is zero, as in the authors' code; slopes in [-4, 4] are put into
    [0, 1], where an encoder expects its images.
    """
    across = torch.arange(1.0, -2.0, -1.0, device=images.device)  # 1 0 -1
    along = 2 - across.abs()  # 1 2 1
    kernels = torch.stack((torch.outer(along, across), torch.outer(across, along))).unsqueeze(1)  # (2, 1, 3, 3)
    slopes: Tensor = F.conv2d(images.mean(1, keepdim=True), kernels, padding=1)
    return slopes.div_(8).add_(0.5)


def slopes(images: Tensor) -> Tensor:
    """What is left of images without their colour: `sobel`, and how steep it is there as third channel.

    Shape:
        (N, C, H, W) -> (N, C, H, W) in [0, 1], laid out as the images are; of a grey image the steepness alone
    """
    found = sobel(images)  # (N, 2, H, W)
    steepness = (found - 0.5).square().sum(1, keepdim=True).mul(2).sqrt()
    seen = torch.cat((found, steepness), 1)[:, 3 - images.shape[1] :]
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return seen.contiguous(memory_format=torch.channels_last) if channels_last else seen


def _uniform(images: Tensor, rows: int, low: float, high: float, generator: Generator | None) -> Tensor:
    """Draw (rows, N) numbers, one row a parameter."""
    drawn = torch.rand(rows, len(images), generator=generator, device=images.device)
    return low + (high - low) * drawn


def _column(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1), to meet images."""
    return values.view(-1, 1, 1, 1)
