"""Views: each operation equals torchvision's on the same parameters, image by image, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from methods import views

N = 6


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def images(request: pytest.FixtureRequest) -> Tensor:
    """(N, C, 24, 24), smooth and coarse alike, with grey, black and white patches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(N, request.param, 24, 24, generator=generator)
    images[:, :, :4] = 0.25
    images[:, :, 4:6] = 0.0
    images[:, :, 6:8] = 1.0
    return images


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


RANDOM: dict[str, Callable[[Tensor, torch.Generator | None], Tensor]] = {
    "augment": lambda images, generator: views.augment(images, 1.0, generator),
    "crop": lambda images, generator: views.random_crop(images, generator=generator),
    "flip": lambda images, generator: views.random_flip(images, generator),
    "colour": lambda images, generator: views.random_colour(images, 0.8, 0.8, 0.8, 0.2, 0.8, generator),
    "grey": lambda images, generator: views.random_grey(images, 0.5, generator),
    "rotation": lambda images, generator: views.random_rotation(images, 20, generator),
    "blur": lambda images, generator: views.random_blur(images, 0.5, generator),
}


def test_crop_equals_torchvision(images: Tensor) -> None:
    boxes = torch.tensor([[0, 0, 24, 24], [3, 5, 12, 7], [20, 20, 4, 4], [0, 1, 1, 23], [7, 0, 17, 24], [2, 2, 20, 20]])
    expected = [
        reference.resized_crop(image, *box, [24, 24], antialias=True)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    torch.testing.assert_close(views.crop(images, boxes.float()), torch.stack(expected))


def test_crop_of_images_that_are_not_square_equals_torchvision() -> None:
    image = torch.rand(1, 3, 16, 28, generator=seeded())
    expected = reference.resized_crop(image, 2, 9, 11, 13, [16, 28])
    torch.testing.assert_close(views.crop(image, torch.tensor([[2.0, 9.0, 11.0, 13.0]])), expected)


def test_flip_mirrors_the_chosen_images_only(images: Tensor) -> None:
    chosen = torch.tensor([True, False] * (N // 2))
    flipped = views.flip(images, chosen)
    assert torch.equal(flipped[0::2], reference.horizontal_flip(images[0::2]))
    assert torch.equal(flipped[1::2], images[1::2])


def test_recolour_equals_torchvision(images: Tensor) -> None:
    brightness, contrast, saturation = torch.rand(3, N, generator=seeded()) * 2
    turn = torch.tensor([-0.5, -0.13, 0.0, 0.05, 0.3, 0.5])
    expected = []
    for n, image in enumerate(images):
        image = reference.adjust_brightness(image, brightness[n].item())
        image = reference.adjust_contrast(image, contrast[n].item())
        if len(image) == 3:
            image = reference.adjust_saturation(image, saturation[n].item())
            image = reference.adjust_hue(image, turn[n].item())
        expected.append(image)
    torch.testing.assert_close(views.recolour(images, brightness, contrast, saturation, turn), torch.stack(expected))


def test_saturation_and_hue_leave_grey_images_as_they_are() -> None:
    images = torch.rand(N, 1, 8, 8, generator=seeded())
    one = torch.ones(N)
    assert torch.equal(views.recolour(images, one, one, one * 1.7, one * 0.3), images)


def test_colour_factors_of_one_leave_images_as_they_are(images: Tensor) -> None:
    one = torch.ones(N)
    assert torch.equal(views.recolour(images, one, one, one), images)


def test_rotate_equals_torchvision(images: Tensor) -> None:
    degrees = torch.tensor([0.0, 20.0, -20.0, 90.0, 133.0, -7.5])
    expected = [
        reference.rotate(image, angle, InterpolationMode.BILINEAR)
        for image, angle in zip(images, degrees.tolist(), strict=True)
    ]
    torch.testing.assert_close(views.rotate(images, degrees), torch.stack(expected), atol=1e-5, rtol=0)


def test_blur_equals_torchvision() -> None:
    for size, kernel in ((16, 3), (64, 7)):  # the kernel grows with the image
        images = torch.rand(4, 3, size, size, generator=seeded())
        sigma = torch.tensor([0.1, 0.5, 1.0, 2.0])
        expected = [
            reference.gaussian_blur(image, [kernel, kernel], [deviation, deviation])
            for image, deviation in zip(images, sigma.tolist(), strict=True)
        ]
        torch.testing.assert_close(views.blur(images, sigma), torch.stack(expected))
        assert torch.equal(views.blur(images, torch.zeros(4)), images)


def test_grey_images_have_equal_channels_and_the_luma_of_torchvision() -> None:
    images = torch.rand(N, 3, 8, 8, generator=seeded())
    torch.testing.assert_close(views.random_grey(images, 1.0), reference.rgb_to_grayscale(images, 3))
    assert torch.equal(views.random_grey(images, 0.0), images)


def test_sobel_gives_the_slope_of_a_ramp() -> None:
    ramp = (torch.arange(8.0) / 10).expand(1, 3, 8, 8)  # a tenth a pixel, to the right
    across, down = views.sobel(ramp)[0, :, 1:-1, 1:-1]
    torch.testing.assert_close(across, torch.full((6, 6), 0.5 - 8 * 0.1 / 8))  # the kernel weighs a slope by -8
    torch.testing.assert_close(down, torch.full((6, 6), 0.5))
    extremes = views.sobel((torch.rand(16, 3, 8, 8, generator=seeded()) < 0.5).float())
    assert extremes.min() >= 0 and extremes.max() <= 1


def test_strength_zero_is_the_identity_bit_for_bit(images: Tensor) -> None:
    assert torch.equal(views.augment(images, 0.0, seeded()), images)


def test_half_strength_has_the_colour_jitter_of_the_published_recipe() -> None:
    half = (views.BRIGHTNESS / 2, views.CONTRAST / 2, views.SATURATION / 2)
    assert half == (0.2, 0.4, 0.5)


def test_views_differ_more_from_their_images_as_strength_grows() -> None:
    images = torch.nn.functional.interpolate(torch.rand(64, 3, 4, 4, generator=seeded()), (32, 32), mode="bilinear")
    away = [(views.augment(images, strength, seeded()) - images).abs().mean().item() for strength in (0.1, 0.5, 1.0)]
    assert 0 < away[0] < away[1] < away[2]


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match=f"strength {strength} is outside"):
        views.augment(torch.rand(1, 3, 8, 8), strength)


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_generator_gives_the_same_views_and_another_gives_others(name: str, images: Tensor) -> None:
    first, again, other = (RANDOM[name](images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (images.shape[1] == 1 and name == "grey") or not torch.equal(first, other)


@pytest.mark.parametrize("name", RANDOM)
def test_without_a_generator_the_seed_of_torch_decides(name: str) -> None:
    images = torch.rand(N, 3, 24, 24, generator=seeded())
    torch.manual_seed(5)
    first = RANDOM[name](images, None)
    torch.manual_seed(5)
    assert torch.equal(first, RANDOM[name](images, None))


@pytest.mark.parametrize("name", RANDOM)
def test_equal_images_get_different_views(name: str) -> None:
    same = torch.rand(1, 3, 24, 24, generator=seeded()).expand(32, 3, 24, 24)
    several = len(set(map(tuple, RANDOM[name](same, seeded()).flatten(1).tolist())))
    assert several == 2 if name in ("flip", "grey") else several > 10


@pytest.mark.parametrize("name", RANDOM)
def test_views_stay_in_range_and_their_images_untouched(name: str, images: Tensor) -> None:
    before = images.clone()
    for seed in range(5):
        made = RANDOM[name](images, seeded(seed))
        assert made.shape == images.shape and made.dtype == images.dtype
        assert made.min() >= 0 and made.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", RANDOM)
def test_the_memory_layout_changes_no_value(name: str) -> None:
    images = torch.rand(N, 3, 24, 24, generator=seeded())
    other = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(RANDOM[name](images, seeded()), RANDOM[name](other, seeded()), atol=1e-6, rtol=0)


def test_augment_keeps_channels_last() -> None:
    images = torch.rand(N, 3, 24, 24).contiguous(memory_format=torch.channels_last)
    assert views.augment(images, 0.5).is_contiguous(memory_format=torch.channels_last)


def test_random_crops_have_the_asked_area_and_shape_and_lie_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "crop", lambda images, boxes: boxes)
    top, left, height, width = views.random_crop(torch.rand(5000, 1, 20, 20), 0.3, 1.5, seeded()).unbind(1)
    area, ratio = height * width / 400, width / height
    assert 0.3 - 1e-5 <= area.min() < 0.31 and 0.99 < area.max() <= 1 + 1e-5
    assert area.mean().item() == pytest.approx(0.65, abs=0.01)
    assert 1 / 1.5 - 1e-5 <= ratio.min() < 0.7 and 1.45 < ratio.max() <= 1.5 + 1e-5
    assert top.min() >= 0 and left.min() >= 0
    assert (top + height).max() <= 20 + 1e-4 and (left + width).max() <= 20 + 1e-4


def test_random_choices_have_the_asked_share() -> None:
    images = torch.rand(4000, 3, 4, 4, generator=seeded())

    def share(made: Tensor) -> float:
        return (made != images).flatten(1).any(1).float().mean().item()

    assert share(views.random_flip(images, seeded())) == pytest.approx(0.5, abs=0.03)
    assert share(views.random_grey(images, 0.2, seeded())) == pytest.approx(0.2, abs=0.03)
    assert share(views.random_blur(images, 0.5, seeded())) == pytest.approx(0.5, abs=0.03)
    assert share(views.random_colour(images, 0.4, 0.4, 0.4, 0.1, 0.8, seeded())) == pytest.approx(0.8, abs=0.03)
