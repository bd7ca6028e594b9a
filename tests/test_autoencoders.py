"""The autoencoders: their losses against naive loops, their gradients, their schedules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.adversarial_autoencoder import AdversarialAutoencoder
from methods.autoencoder import Autoencoder
from methods.decoder import Enlarge, code_decoder, code_layer, squared_error
from methods.encoders import ENCODERS
from methods.method import Batch, Method
from methods.siamese_vae import SiameseVAE, positive, triplet
from methods.stacked_autoencoder import StackedAutoencoder
from methods.vae import VAE, divergence, sample

M = TypeVar("M", bound=Method)
AUTOENCODERS: tuple[type[Method], ...] = (Autoencoder, StackedAutoencoder, VAE, SiameseVAE, AdversarialAutoencoder)


def make_batch(count: int = 8, channels: int = 3, size: int = 24) -> Batch:
    images = torch.rand(count, channels, size, size).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.arange(count), torch.full((count,), -1))


def build(kind: type[M], encoder: str = "convnet", channels: int = 3, size: int = 24) -> M:
    torch.manual_seed(0)
    return kind(kind.Config(), ENCODERS[encoder](channels, size, 0.0), 10)


@pytest.mark.parametrize("kind", AUTOENCODERS)
@pytest.mark.parametrize(
    ("encoder", "channels", "size"), [("convnet", 1, 24), ("alexnet", 3, 96), ("nin", 1, 25), ("resnet18", 3, 16)]
)
def test_every_weight_gets_a_gradient_whatever_the_encoder_and_the_images(
    kind: type[Method], encoder: str, channels: int, size: int
) -> None:
    method = build(kind, encoder, channels, size)
    losses = method(make_batch(2, channels, size))
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in method.parameters())


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_an_encoder_with_skips_is_refused(kind: type[Method]) -> None:
    with pytest.raises(ValueError, match="skips"):
        build(kind, "unet")


@pytest.mark.parametrize("size", [8, 24, 28, 32, 33, 50, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_code_is_decoded_to_images_of_any_size(size: int, channels: int) -> None:
    images = code_decoder(16, channels, size)(torch.randn(2, 16))
    assert images.shape == (2, channels, size, size)
    assert images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize(("side", "size"), [(3, 4), (4, 7), (7, 16), (1, 1), (3, 32), (23, 48), (5, 5)])
def test_a_map_is_enlarged_to_any_size(side: int, size: int) -> None:
    assert Enlarge((6, side, side), 5, size)(torch.randn(2, 6, side, side)).shape == (2, 5, size, size)


def test_a_map_is_never_shrunk() -> None:
    with pytest.raises(ValueError, match="8 pixels a side to 7"):
        Enlarge((6, 8, 8), 5, 7)


def test_a_large_map_is_averaged_before_the_code_reads_it() -> None:
    encoder = ENCODERS["nin"](3, 32, 0.0)  # its last map is 192 x 8 x 8
    layer = code_layer(encoder, 5)
    x = torch.randn(2, 192, 8, 8)
    linear = layer[-1]
    assert isinstance(linear, nn.Linear)
    naive = x.view(2, 192, 4, 2, 4, 2).mean((3, 5)).flatten(1) @ linear.weight.T + linear.bias
    torch.testing.assert_close(layer(x), naive)


def test_squared_error_sums_over_an_image_and_averages_over_the_batch() -> None:
    decoded, wanted = torch.rand(2, 3, 2, 4, 4).unbind()
    naive = 0.0
    for x, y in zip(decoded, wanted, strict=True):
        naive += sum((a - b) ** 2 for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)) / 3
    assert squared_error(decoded, wanted).item() == pytest.approx(naive, rel=1e-5)


def test_noise_reaches_the_input_and_not_the_target() -> None:
    method, batch = build(Autoencoder), make_batch()
    seen: list[Tensor] = []
    method.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    decoded: list[Tensor] = []
    method.decoder.register_forward_hook(lambda *parts: decoded.append(parts[2]))
    loss = method(batch)["reconstruction"]
    noise = 4 * (seen[0] - batch.images)  # in the units of the setting: the encoder multiplies images by 4
    assert abs(noise.std().item() - method.config.noise) < 0.01 and abs(noise.mean().item()) < 0.01
    torch.testing.assert_close(loss, squared_error(decoded[0], batch.images))


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 2), (5, 64)])
def test_the_divergence_is_that_of_the_paper_and_of_torch(count: int, size: int) -> None:
    mean, log_variance = torch.randn(2, count, size).unbind()
    naive = 0.0
    for m, v in zip(mean.flatten().tolist(), log_variance.flatten().tolist(), strict=True):
        naive -= 0.5 * (1 + v - m**2 - math.exp(v)) / count  # appendix B of Kingma and Welling
    assert divergence(mean, log_variance).item() == pytest.approx(naive, rel=1e-4)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    known = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence(mean, log_variance), known, rtol=1e-4, atol=1e-5)


def test_sampled_codes_have_the_mean_and_deviation_asked_for() -> None:
    torch.manual_seed(0)
    codes = sample(torch.tensor([[1.0, -2.0]]).expand(20_000, 2), torch.tensor([[0.0, math.log(9)]]).expand(20_000, 2))
    torch.testing.assert_close(codes.mean(0), torch.tensor([1.0, -2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.tensor([1.0, 3.0]), atol=0.1, rtol=0)


def test_the_divergence_is_weighted_by_beta() -> None:
    method, batch = build(VAE), make_batch()
    losses = []
    for beta in (0.01, 0.02):
        torch.manual_seed(1)
        method.config = replace(method.config, beta=beta)
        losses.append(method(batch))
    assert losses[0]["reconstruction"] == losses[1]["reconstruction"]
    torch.testing.assert_close(2 * losses[0]["divergence"], losses[1]["divergence"])


@pytest.mark.parametrize(("count", "size", "margin"), [(2, 1, 0.5), (5, 3, 0.5), (8, 64, 20.0)])
def test_the_triplet_equals_a_loop_and_torch(count: int, size: int, margin: float) -> None:
    anchors, positives = torch.randn(2, count, size).unbind()
    naive = 0.0
    for i in range(count):
        near = sum((a - b) ** 2 for a, b in zip(anchors[i].tolist(), positives[i].tolist(), strict=True))
        far = sum((a - b) ** 2 for a, b in zip(anchors[i].tolist(), anchors[i - 1].tolist(), strict=True))
        naive += max(0.0, near - far + margin) / count
    assert triplet(anchors, positives, margin).item() == pytest.approx(naive, rel=1e-4, abs=1e-6)
    known = F.triplet_margin_with_distance_loss(
        anchors, positives, anchors.roll(1, 0), margin=margin, distance_function=lambda a, b: (a - b).square().sum(1)
    )
    torch.testing.assert_close(triplet(anchors, positives, margin), known)


def test_the_triplet_pulls_views_of_one_image_together() -> None:
    method = build(SiameseVAE)
    method.config = replace(method.config, margin=10.0)
    batch, optimizer = make_batch(16), method.optimizer()
    course = []
    for _ in range(15):
        loss = method(batch)["triplet"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-3:]) / 3 < 0.5 * course[0]


def test_a_positive_keeps_what_is_alike_everywhere_and_moves_the_rest() -> None:
    flat = torch.full((4, 1, 32, 32), 0.5)
    middle = positive(flat)[:, :, 8:24, 8:24]  # turning blackens the corners alone
    torch.testing.assert_close(middle, torch.full_like(middle, 0.5))
    images = torch.rand(4, 3, 32, 32)
    views = positive(images)
    assert views.shape == images.shape and views.min() >= 0 and views.max() <= 1
    assert not torch.equal(views, positive(images))


def adversarial_gradients(names: tuple[str, ...]) -> dict[str, Tensor | None]:
    """The gradient of each weight of one fixed method under the sum of these losses."""
    method = build(AdversarialAutoencoder).double()
    torch.manual_seed(1)
    batch = make_batch(4)
    losses = method(replace(batch, images=batch.images.double()))
    torch.autograd.backward(torch.stack([losses[name] for name in names]).sum())
    return {name: weight.grad for name, weight in method.named_parameters()}


def test_the_discriminators_loss_reaches_the_discriminator_alone() -> None:
    for name, gradient in adversarial_gradients(("discriminator",)).items():
        assert (gradient is not None) == name.startswith("discriminator")


def test_the_encoders_loss_leaves_the_discriminator_and_the_decoder_alone() -> None:
    for name, gradient in adversarial_gradients(("generator",)).items():
        assert (gradient is not None) == name.startswith(("encoder", "to_code"))
        assert gradient is None or gradient.abs().sum() > 0 or name.endswith(".bias")  # batch norm follows a bias


def test_one_backward_gives_both_players_their_own_gradients() -> None:
    together = adversarial_gradients(("reconstruction", "generator", "discriminator"))
    apart = adversarial_gradients(("reconstruction", "generator")), adversarial_gradients(("discriminator",))
    for name, gradient in together.items():
        own = apart[name.startswith("discriminator")][name]
        assert gradient is not None and own is not None
        torch.testing.assert_close(gradient, own, rtol=0, atol=0)


def test_the_adversarial_losses_are_those_of_the_paper() -> None:
    method, batch = build(AdversarialAutoencoder), make_batch()
    method.config = replace(method.config, adversarial=2.0)
    codes: list[Tensor] = []
    method.to_code.register_forward_hook(lambda *parts: codes.append(parts[2]))
    torch.manual_seed(1)
    losses = method(batch)
    torch.manual_seed(1)
    prior = torch.randn_like(codes[0])
    real, false = (method.discriminator(z).sigmoid() for z in (prior, codes[0]))
    torch.testing.assert_close(losses["discriminator"], -(real.log().mean() + (1 - false).log().mean()) / 2)
    torch.testing.assert_close(losses["generator"], -2 * false.log().mean())


def test_stages_train_one_after_another_and_then_together() -> None:
    method = build(StackedAutoencoder)
    method.config = replace(method.config, stage_epochs=2)
    course = []
    for epoch in range(10):
        method.begin_epoch(epoch)
        course.append(next(iter(method(make_batch()))))
    assert course == ["conv1"] * 2 + ["conv2"] * 2 + ["conv3"] * 2 + ["conv4"] * 2 + ["reconstruction"] * 2


def test_a_stages_epoch_moves_that_stage_and_its_decoder_alone() -> None:
    method, batch = build(StackedAutoencoder), make_batch()
    optimizer = method.optimizer()
    for epoch, stage in enumerate(("conv1", "conv2", "conv3", "conv4")):
        method.begin_epoch(epoch)
        method.train()
        before = {name: value.clone() for name, value in method.state_dict().items()}
        for _ in range(2):
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(list(method(batch).values())).sum())
            assert all(weight.grad is not None for weight in method.parameters())  # or replicas would wait for ever
            optimizer.step()
        moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        own = {name for name in before if name.startswith((f"encoder.stages.{stage}.", f"decoders.{epoch}."))}
        assert moved == own
    method.begin_epoch(4)
    method.train()
    assert all(module.training for module in method.modules())


def test_a_stage_restores_the_map_of_the_stage_below() -> None:
    method, batch = build(StackedAutoencoder), make_batch()
    method.config = replace(method.config, noise=0.0)
    method.begin_epoch(2)
    method.train()
    below = method.encoder.stages["conv2"](method.encoder.stages["conv1"]((batch.images - 0.5) * 4)).detach()
    restored = method.decoders[2](method.encoder.stages["conv3"](below)).relu()
    torch.testing.assert_close(method(batch)["conv3"], ((restored - below) ** 2).sum() / len(below))


def test_no_stage_trains_alone_where_stage_epochs_is_0() -> None:
    method = build(StackedAutoencoder)
    method.config = replace(method.config, stage_epochs=0)
    method.begin_epoch(0)
    assert list(method(make_batch())) == ["reconstruction"]
    with pytest.raises(ValueError, match="stage_epochs"):
        StackedAutoencoder(StackedAutoencoder.Config(stage_epochs=-1), ENCODERS["convnet"](3, 24, 0.0), 10)
