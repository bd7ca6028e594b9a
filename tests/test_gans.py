"""DCGAN, WGAN and BEGAN: each player is trained by its own loss alone, and each formula is the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from methods.began import BEGAN
from methods.dcgan import DCGAN
from methods.encoders import ENCODERS, Encoder
from methods.generator import Generator, frozen, uniform_codes
from methods.method import Batch, Method
from methods.space import Value, configure
from methods.wgan import WGAN, mix

PLAYERS: dict[str, type[Method]] = {"dcgan": DCGAN, "wgan": WGAN, "began": BEGAN}
SETTINGS: dict[str, dict[str, Value]] = {"dcgan": {"dropout": 0.0}, "wgan": {"critic_steps": 1}, "began": {}}
N = 6


def plain_encoder(channels: int = 3, size: int = 8) -> Encoder:
    stages: dict[str, nn.Module] = {
        "one": nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        "two": nn.Sequential(nn.Conv2d(8, 8, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
    }
    return Encoder(stages, channels, size)


def build(name: str, encoder: Encoder | None = None, **settings: float) -> Method:
    torch.manual_seed(0)
    kind = PLAYERS[name]
    config = configure(kind.Config, {"width": 8, **SETTINGS[name], **settings})
    return kind(config, encoder or plain_encoder(), 10)


def make_batch(channels: int = 3, size: int = 8) -> Batch:
    images = torch.rand(N, channels, size, size, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(N), torch.zeros(N, dtype=torch.int64))


def gradients(loss: Tensor, weights: Iterable[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(weights), retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("name", PLAYERS)
def test_one_backward_gives_each_player_its_own_gradient(name: str) -> None:
    method = build(name)
    if name == "began":
        method.get_buffer("k").fill_(0.5)
    losses = method(make_batch())
    generator = list(method.get_submodule("generator").parameters())
    mine = {id(weight) for weight in generator}
    discriminator = [weight for weight in method.parameters() if id(weight) not in mine]
    apart = [loss for key, loss in losses.items() if key != "generator"]
    for weight, other in zip(generator, gradients(torch.stack(apart).sum(), generator), strict=True):
        assert not other.any() and weight.requires_grad
    assert not any(gradient.any() for gradient in gradients(losses["generator"], discriminator))
    alone = gradients(torch.stack(apart).sum(), discriminator) + gradients(losses["generator"], generator)
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    for weight, gradient in zip(discriminator + generator, alone, strict=True):
        assert weight.grad is not None and torch.equal(weight.grad, gradient)


@pytest.mark.parametrize("name", PLAYERS)
def test_a_generator_is_trained_by_the_very_discriminator_that_it_faces(name: str) -> None:
    """Its gradient through frozen weights is the one through the live weights."""
    method = build(name)
    generator = list(method.get_submodule("generator").parameters())
    through_frozen = gradients(run(method, seed=3)["generator"], generator)

    def live(module: nn.Module) -> dict[str, Tensor]:
        return dict(module.named_parameters()) | {key: value.clone() for key, value in module.named_buffers()}

    with pytest.MonkeyPatch.context() as patch:
        for module in ("dcgan", "wgan", "began"):
            patch.setattr(f"methods.{module}.frozen", live)
        other = build(name)
        through_live = gradients(run(other, seed=3)["generator"], other.get_submodule("generator").parameters())
    for one, two in zip(through_frozen, through_live, strict=True):
        torch.testing.assert_close(one, two)


def run(method: Method, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    losses: dict[str, Tensor] = method(make_batch())
    return losses


@pytest.mark.parametrize("name", PLAYERS)
def test_running_statistics_are_those_of_real_images(name: str) -> None:
    method, reference = build(name), plain_encoder()
    reference.load_state_dict(method.encoder.state_dict())
    method(make_batch())
    reference(make_batch().images)
    for key, buffer in method.encoder.named_buffers():
        torch.testing.assert_close(buffer, reference.get_buffer(key))


@pytest.mark.parametrize("name", PLAYERS)
@pytest.mark.parametrize("encoder", ["alexnet", "resnet18", "unet"])
def test_grey_images_and_other_encoders_do(name: str, encoder: str) -> None:
    method = build(name, ENCODERS[encoder](1, 24, 0.0))
    losses = method(make_batch(channels=1, size=24))
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    assert all(loss.isfinite() for loss in losses.values())
    assert all(weight.grad is not None for weight in method.parameters())


@pytest.mark.parametrize("size", [24, 28, 32, 33, 50, 64, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_generator_paints_images_of_any_side(size: int, channels: int) -> None:
    generator = Generator(5, channels, size, width=4)
    codes = uniform_codes(torch.rand(2, channels, size, size), 5)
    assert codes.shape == (2, 5) and codes.abs().max() <= 1
    images = generator(codes)
    assert images.shape == (2, channels, size, size) and images.min() >= 0 and images.max() <= 1


def test_dcgan_s_losses_are_the_cross_entropies_of_the_paper() -> None:
    method = build("dcgan", label_smoothing=0.1)
    assert isinstance(method, DCGAN)
    losses = run(method, seed=2)
    again = build("dcgan", label_smoothing=0.1)
    assert isinstance(again, DCGAN)
    torch.manual_seed(2)
    images = make_batch().images
    fake = again.generator(uniform_codes(images, 128))
    real_logit, fake_logit = again.head(again.encoder(images)), again.head(again.encoder(fake))
    real, painted = torch.sigmoid(real_logit), torch.sigmoid(fake_logit)
    torch.testing.assert_close(losses["real"], -(0.9 * real.log() + 0.1 * (1 - real).log()).mean())
    torch.testing.assert_close(losses["fake"], -(1 - painted).log().mean())
    torch.testing.assert_close(losses["generator"], -painted.log().mean())
    torch.testing.assert_close(losses["fake"], F.binary_cross_entropy(painted, torch.zeros_like(painted)))


def test_wgan_s_penalty_equals_one_taken_image_by_image() -> None:
    method = build("wgan")
    assert isinstance(method, WGAN)
    losses = run(method, seed=4)
    again = build("wgan")
    assert isinstance(again, WGAN)
    torch.manual_seed(4)
    images = make_batch().images
    fake = again.generator(torch.randn(N, 128)).detach()
    bare = score_with_statistics_of(images, again)
    torch.testing.assert_close(losses["critic"], bare(fake).mean() - bare(images).mean())
    penalty = 0.0
    for point in mix(images, fake):
        pixels = (point * 2 - 1).requires_grad_()  # in [-1, 1], the paper's
        (slope,) = torch.autograd.grad(bare((pixels[None] + 1) / 2).sum(), pixels)
        penalty += 10 * (slope.square().sum().sqrt().item() - 1) ** 2 / N
    assert losses["penalty"].item() == pytest.approx(penalty, rel=1e-4)


def score_with_statistics_of(images: Tensor, method: WGAN) -> Callable[[Tensor], Tensor]:
    """The critic, normalising by layer statistics of `images`, written out layer by layer."""
    x = (images - 0.5) * 4
    constants: list[tuple[Tensor, Tensor]] = []
    for stage in method.encoder.stages.values():
        assert isinstance(stage, nn.Sequential)
        for layer in stage:
            if isinstance(layer, nn.BatchNorm2d):
                constants.append((x.mean((0, 2, 3)).detach(), x.var((0, 2, 3)).detach()))
                x = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
            else:
                x = layer(x)

    def score(images: Tensor) -> Tensor:
        x, left = (images - 0.5) * 4, iter(constants)
        for stage in method.encoder.stages.values():
            assert isinstance(stage, nn.Sequential)
            for layer in stage:
                if isinstance(layer, nn.BatchNorm2d):
                    x = F.batch_norm(x, *next(left), layer.weight, layer.bias)
                else:
                    x = layer(x)
        scores: Tensor = method.head(x)
        return scores

    return score


def test_the_slope_s_second_derivative_reaches_the_convnet_as_finite_differences_say() -> None:
    method = build("wgan", ENCODERS["convnet"](1, 24, 0.0)).double()
    images = make_batch(1, 24).images.double()
    assert isinstance(method, WGAN)
    weight = method.encoder.get_parameter("stages.conv4.0.weight")
    method.eval()
    constants: dict[str, Tensor] = {}
    (slope,) = torch.autograd.grad(method._slope_error(images.clone(), constants), weight)
    direction, step = torch.randn_like(weight), 1e-5
    values = []
    for sign in (1, -1):
        weight.data += sign * step * direction
        values.append(method._slope_error(images.clone(), constants).item())
        weight.data -= sign * step * direction
    assert (slope * direction).sum().item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_wgan_s_generator_steps_every_kth_time_as_one_with_an_optimizer_of_its_own() -> None:
    method = build("wgan", critic_steps=3, lr=1e-2)
    assert isinstance(method, WGAN)
    optimizer = method.optimizer()
    alone = Generator(128, 3, 8, width=8)
    alone.load_state_dict(method.generator.state_dict())
    own = torch.optim.Adam(alone.parameters(), lr=1e-2, betas=(0.0, 0.9))
    for step in range(1, 10):
        before = {key: value.clone() for key, value in method.generator.named_parameters()}
        losses = method(make_batch())
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
        moved = any(not torch.equal(value, before[key]) for key, value in method.generator.named_parameters())
        assert moved is (step % 3 == 0)
        assert bool(losses["generator"] != 0) is moved
        if moved:
            for weight, twin in zip(method.generator.parameters(), alone.parameters(), strict=True):
                assert weight.grad is not None
                twin.grad = weight.grad.clone()
            own.step()
            for weight, twin in zip(method.generator.parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(weight, twin, rtol=1e-3, atol=1e-5)


def test_wgan_takes_up_its_count_of_steps_from_the_state() -> None:
    method, resumed = build("wgan", critic_steps=3), build("wgan", critic_steps=3)
    for _ in range(2):
        method(make_batch())
    resumed.load_state_dict(method.state_dict())
    resumed.begin_epoch(1)
    assert run(resumed, seed=0)["generator"] != 0


def test_began_steers_k_as_the_paper_does() -> None:
    method = build("began", gain=0.5, gamma=0.7)
    k = 0.0
    for step in range(4):
        losses = {key: loss.item() for key, loss in run(method, seed=step).items()}
        if k:
            assert losses["fake"] == pytest.approx(-k * losses["generator"], rel=1e-4)
        k = min(1.0, max(0.0, k + 0.5 * (0.7 * losses["real"] - losses["generator"])))
        assert method.get_buffer("k").item() == pytest.approx(k, abs=1e-6)


def test_began_s_errors_are_mean_absolute_differences_of_pixels_from_minus_1_to_1() -> None:
    method, again = build("began"), build("began")
    assert isinstance(again, BEGAN)
    losses = run(method, seed=5)
    images = make_batch().images
    rebuilt = again.decoder(again.bottleneck(again.encoder(images)))
    torch.testing.assert_close(losses["real"], ((2 * images - 1) - (2 * rebuilt - 1)).abs().mean())


def test_a_frozen_module_keeps_its_statistics_and_has_no_gradient() -> None:
    encoder = plain_encoder()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    images = make_batch().images.requires_grad_()
    torch.autograd.backward(functional_call(encoder, frozen(encoder), images).sum())
    assert images.grad is not None and all(weight.grad is None for weight in encoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
