"""Batched views against torchvision's transforms image by image: same operations, one process, one thread."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from methods import views

IMAGES, SIZE, REPETITIONS = 512, 32, 7
BATCH = 128
STRENGTH = 0.5


def main() -> None:
    """Print a line for the plain recipe and one for SimCLR's, images a second.

    Both start from uint8 images and end with a float batch. torchvision runs on tensors and on PIL images, and the
    faster of the two counts. Repetitions alternate, so that other work on the machine falls on all alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        print(_compare("views", _plain_batched, _plain_transforms()))
        print(_compare("views-simclr", _simclr_batched, _simclr_transforms()))
    finally:
        torch.set_num_threads(threads)


def _compare(name: str, batched: Callable[[Tensor], Tensor], transforms: list[v2.Transform]) -> str:
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    on_tensors = v2.Compose([v2.ToDtype(torch.float32, scale=True), *transforms])
    on_pictures = v2.Compose([*transforms, *to_float])
    candidates: dict[str, Callable[[], object]] = {
        "batched": lambda: [batched(chunk.float().div_(255)) for chunk in torch.chunk(images, IMAGES // BATCH)],
        "torchvision on tensors": lambda: torch.stack([on_tensors(image) for image in images]),
        "torchvision on PIL images": lambda: torch.stack([on_pictures(picture) for picture in pictures]),
    }
    rates: dict[str, list[float]] = {candidate: [] for candidate in candidates}
    for repetition in range(REPETITIONS + 1):
        for candidate, run in candidates.items():
            started = time.perf_counter()
            run()
            if repetition > 0:  # the first warms up
                rates[candidate].append(IMAGES / (time.perf_counter() - started))
    middle = {candidate: statistics.median(values) for candidate, values in rates.items()}
    rival = max((candidate for candidate in candidates if candidate != "batched"), key=middle.__getitem__)
    figures = "; ".join(
        f"{candidate} {middle[candidate]:.0f} images/s ({min(values):.0f} to {max(values):.0f})"
        for candidate, values in rates.items()
    )
    operations = ", ".join(type(transform).__name__ for transform in transforms)
    return (
        f"{name} ratio {middle['batched'] / middle[rival]:.1f}  {figures}; ratio to {rival}; "
        f"ran {operations} on {IMAGES} images of {SIZE} x {SIZE} in batches of {BATCH}, median and range of "
        f"n = {REPETITIONS}; {platform.machine()} {torch.backends.cpu.get_cpu_capability()}, one process, one thread, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )


def _plain_batched(images: Tensor) -> Tensor:
    return views.augment(views.random_flip(images), STRENGTH)


def _plain_transforms() -> list[v2.Transform]:
    widest = views.WIDEST**STRENGTH
    return [
        v2.RandomHorizontalFlip(),
        v2.RandomResizedCrop(SIZE, scale=(1 - STRENGTH * (1 - views.LEAST_AREA), 1), ratio=(1 / widest, widest)),
        v2.ColorJitter(STRENGTH * views.BRIGHTNESS, STRENGTH * views.CONTRAST, STRENGTH * views.SATURATION),
    ]


def _simclr_batched(images: Tensor) -> Tensor:
    images = views.random_flip(views.random_crop(images))
    images = views.random_colour(images, 0.4, 0.4, 0.4, 0.1, probability=0.8)
    return views.random_blur(views.random_grey(images, 0.2))


def _simclr_transforms() -> list[v2.Transform]:
    return [
        v2.RandomResizedCrop(SIZE),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(3)], p=0.5),
    ]


if __name__ == "__main__":
    main()
