"""Colour: Lab against reference values, the quantised colours, and the two methods that learn from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from methods import colour
from methods.colorization import Colorization
from methods.encoders import ENCODERS
from methods.inspection import effective_rank
from methods.method import Batch, Method
from methods.recolor import Recolor, recolour, spread

# sRGB and its Lab under D65, 2 degrees, as scikit-image gives it, to two digits.
REFERENCE = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (0.5, 0.5, 0.5): (53.39, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.74, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (1.0, 1.0, 0.0): (97.14, -21.55, 94.48),
    (0.0, 1.0, 1.0): (91.11, -48.09, -14.13),
    (1.0, 0.0, 1.0): (60.32, 98.23, -60.82),
}


def images(count: int = 8, size: int = 24) -> Tensor:
    """Smooth images of many colours."""
    small = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(small, (size, size), mode="bilinear")


def batch(count: int = 8, size: int = 24) -> Batch:
    return Batch(images(count, size), torch.arange(count), torch.zeros(count, dtype=torch.int64))


def build(kind: type[Method], encoder: str = "convnet", size: int = 24, channels: int = 3) -> Method:
    torch.manual_seed(0)
    return kind(kind.Config(augmentation=0.0, dropout=0.0), ENCODERS[encoder](channels, size, 0.0), 10)


@pytest.mark.parametrize(("rgb", "lab"), REFERENCE.items())
def test_lab_equals_the_reference(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    converted = colour.rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1)).flatten()
    assert torch.allclose(converted, torch.tensor(lab), atol=0.02)


def test_lab_and_back_is_the_image_itself() -> None:
    assert torch.allclose(colour.lab_to_rgb(colour.rgb_to_lab(images())), images(), atol=1e-4)


def test_261_bins_hold_every_colour_of_a_screen() -> None:
    bins = colour.ab_bins()
    assert bins.shape == (261, 2) and (bins % colour.GRID == 0).all()
    rgb = torch.rand(20_000, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    ab = colour.rgb_to_lab(rgb)[:, 1:, 0, 0]
    rounded = (ab / colour.GRID).round() * colour.GRID
    assert (torch.cdist(rounded, bins).min(1).values == 0).all()


def test_the_soft_encoding_equals_a_naive_one_and_decodes_to_its_colour() -> None:
    bins = colour.ab_bins()
    ab = torch.tensor([[0.0, 0.0], [12.0, -7.0], [31.0, 24.0]])
    places, weights = colour.soft_encode(ab, bins)
    for point, where, shares in zip(ab, places, weights, strict=True):
        distances = (bins - point).norm(dim=1)
        expected = distances.sort().values[:5]
        assert torch.allclose(distances[where], expected, atol=1e-3)
        naive = torch.exp(-(distances[where] ** 2) / (2 * 25))
        assert torch.allclose(shares, naive / naive.sum(), atol=1e-4)
    decoded = (bins[places] * weights[:, :, None]).sum(1)
    assert (decoded - ab).norm(dim=1).max() < colour.GRID / 2


def test_rebalancing_has_mean_one_and_favours_the_rare() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0])
    weights = colour.rebalancing(prior, 0.5)
    assert (prior * weights).sum().item() == pytest.approx(1)
    ratio = (0.5 * 0.7 + 0.125) / (0.5 * 0.1 + 0.125)  # the paper's formula, of two bins
    assert (weights[2] / weights[0]).item() == pytest.approx(ratio)


def test_the_annealed_mean_runs_from_the_mode_to_the_mean() -> None:
    bins = colour.ab_bins()
    logits = 3 * torch.randn(2, len(bins), 3, 3, generator=torch.Generator().manual_seed(0))
    mode = bins[logits.argmax(1)].permute(0, 3, 1, 2)
    mean = (torch.softmax(logits, 1)[:, :, None] * bins[None, :, :, None, None]).sum(1)
    assert torch.allclose(colour.annealed_mean(logits, bins, 1e-4), mode, atol=0.1)
    assert torch.allclose(colour.annealed_mean(logits, bins, 1.0), mean, atol=1e-3)


def test_the_loss_equals_a_naive_one() -> None:
    palette = colour.Palette().eval()
    generator = torch.Generator().manual_seed(0)
    palette.prior = torch.rand(261, generator=generator)
    palette.prior /= palette.prior.sum()
    logits = torch.randn(2, 261, 2, 2, generator=generator)
    ab = 40 * torch.randn(2, 2, 2, 2, generator=generator)
    total = 0.0
    for n in range(2):
        for y in range(2):
            for x in range(2):
                squared = (palette.bins - ab[n, :, y, x]).square().sum(1)
                near = squared.argsort()[:5]
                target = torch.zeros(261)
                target[near] = torch.softmax(-squared[near] / 50, 0)
                target = 0.9 * target + 0.1 / 261
                weight = colour.rebalancing(palette.prior)[near[0]]
                total -= (weight * (target * logits[n, :, y, x].log_softmax(0)).sum()).item() / 8
    assert palette(logits, ab, label_smoothing=0.1).item() == pytest.approx(total, rel=1e-4)


def test_the_prior_learns_in_training_alone_and_stays_a_distribution() -> None:
    palette = colour.Palette()
    uniform = palette.prior.clone()
    logits, ab = torch.zeros(1, 261, 2, 2), torch.zeros(1, 2, 2, 2)
    palette.eval()(logits, ab)
    assert torch.equal(palette.prior, uniform)
    palette.train()(logits, ab)
    assert palette.bins[palette.prior.argmax()].tolist() == [0, 0]
    assert palette.prior.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", [Colorization, Recolor])
def test_grey_images_are_refused(kind: type[Method]) -> None:
    with pytest.raises(ValueError, match="needs colour images, not 1 channel"):
        build(kind, channels=1)


@pytest.mark.parametrize("kind", [Colorization, Recolor])
@pytest.mark.parametrize("encoder", ["convnet", "nin", "unet"])
def test_maps_smaller_and_larger_than_a_quarter_fit(kind: type[Method], encoder: str) -> None:
    method = build(kind, encoder, size=32)
    torch.autograd.backward(torch.stack(list(method(batch(4, 32)).values())).sum())
    assert all(weight.grad is not None for weight in method.parameters())


def test_the_encoder_of_colorization_stays_blind_to_colour() -> None:
    method = build(Colorization)
    optimizer = method.optimizer()
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(method(batch())["colour"])
        optimizer.step()
    method.eval()
    grey = images().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(method.encoder(images()), method.encoder(grey), atol=1e-3)


def test_a_recolouring_keeps_the_lightness_and_agrees_within_an_image() -> None:
    bins, shown = colour.ab_bins(), images(4) * 0.2 + 0.4
    torch.manual_seed(0)
    recoloured = recolour(shown, torch.zeros(4, len(bins), 6, 6), bins, 5.0)  # faint, so that no colour is clipped
    before, after = colour.rgb_to_lab(shown), colour.rgb_to_lab(recoloured)
    assert torch.allclose(before[:, 0], after[:, 0], atol=0.1)
    assert after[:, 1:].std((2, 3)).max() < 0.1  # the same chances everywhere: one colour an image
    assert after[:, 1:].mean((2, 3)).std(0).min() > 0.1  # and each image its own


def test_recolourings_are_drawn_from_the_distribution() -> None:
    bins = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    chances = torch.tensor([0.6, 0.3, 0.1])
    torch.manual_seed(0)
    logits = chances.log().view(1, 3, 1, 1).expand(4000, 3, 1, 1)
    ab = colour.rgb_to_lab(recolour(torch.full((4000, 3, 1, 1), 0.5), logits, bins, 1e-3))[:, 1:, 0, 0]
    drawn = torch.cdist(ab, bins).argmin(1).bincount(minlength=3) / 4000
    assert torch.allclose(drawn, chances, atol=0.03)


def test_the_colorizer_learns_from_colours_alone_and_the_encoder_from_the_rest() -> None:
    method = build(Recolor)
    assert isinstance(method, Recolor)
    losses = method(batch())
    torch.autograd.backward(losses["colour"], retain_graph=True)
    assert all(weight.grad is None for weight in method.encoder.parameters())
    method.zero_grad()
    torch.autograd.backward(losses["invariance"] + losses["variance"] + losses["covariance"])
    assert all(weight.grad is None for weight in method.colorizer.parameters())
    assert all(weight.grad is not None for weight in method.encoder.parameters())


def test_the_encoder_rests_while_the_colorizer_starts() -> None:
    method = build(Recolor)
    assert isinstance(method, Recolor)
    for epoch, rests in ((0, True), (1, False)):
        method.begin_epoch(epoch)
        method.zero_grad()
        torch.autograd.backward(torch.stack(list(method(batch()).values())).sum())
        gradients = [weight.grad for weight in method.encoder.parameters()]
        assert all(gradient is not None and bool(gradient.any()) != rests for gradient in gradients)


def test_variance_and_covariance_equal_naive_ones() -> None:
    z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * 0.7
    mean = z.mean(0)
    covariance = sum(torch.outer(row - mean, row - mean) for row in z) / 8
    assert isinstance(covariance, Tensor)
    variance = sum(max(0.0, 1 - math.sqrt(covariance[d, d].item() + 1e-4)) for d in range(4)) / 4
    outside = sum(covariance[i, j].item() ** 2 for i in range(4) for j in range(4) if i != j) / 4
    assert [term.item() for term in spread(z)] == pytest.approx([variance, outside], rel=1e-4)


def test_the_effective_rank_tells_collapse() -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(50, 1, generator=generator) @ torch.randn(1, 20, generator=generator)
    assert effective_rank(line).item() == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.randn(2000, 20, generator=generator)).item() == pytest.approx(20, rel=0.05)
    assert effective_rank(torch.ones(5, 3)).isfinite()
