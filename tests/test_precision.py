"""Training in bfloat16: what changes, and what must not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from methods.encoders import ENCODERS
from methods.encoders.convolution import Convolution
from methods.encoders.dropout import Dropout
from methods.method import Method
from methods.precision import train_in
from study.data.dataset import Dataset
from study.learning.pretrain import Plan, build
from study.options import parse
from tests.test_methods import TRAINED, make_batch, train

PLAN = Plan("rotnet", "convnet", {"dropout": 0.0, "augmentation": 0.0}, 2, 64, 0)


def built(name: str, dataset: Dataset, *, bfloat16: bool) -> Method:
    plan = replace(PLAN, method=name, precision="bfloat16" if bfloat16 else "float32")
    method = build(plan, dataset)
    method.begin_pass(5, lambda: torch.rand(64, 2304, generator=torch.Generator().manual_seed(0)))
    method.begin_epoch(5)
    return method.train()


def one_step(method: Method, dataset: Dataset) -> tuple[dict[str, float], Tensor]:
    """The losses of a batch, and the encoder's gradient as one vector."""
    torch.manual_seed(0)
    losses = method(make_batch(dataset))
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    gradients = [weight.grad.flatten() for weight in method.encoder.parameters() if weight.grad is not None]
    return {name: loss.item() for name, loss in losses.items()}, torch.cat(gradients)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_in_bfloat16_goes_where_one_in_float32_goes(name: str, photo_digits: Dataset) -> None:
    exact, gradient = one_step(built(name, photo_digits, bfloat16=False), photo_digits)
    losses, rounded = one_step(built(name, photo_digits, bfloat16=True), photo_digits)
    assert not torch.equal(gradient, rounded), "nothing was computed in bfloat16"
    assert torch.cosine_similarity(gradient, rounded, dim=0) > 0.9
    assert losses == pytest.approx(exact, rel=0.03, abs=0.03)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_gradients_and_losses_stay_float32(name: str, photo_digits: Dataset) -> None:
    method = built(name, photo_digits, bfloat16=True)
    losses = method(make_batch(photo_digits))
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    assert {weight.dtype for weight in method.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in method.parameters() if weight.grad is not None} == {torch.float32}
    assert method.state_dict().keys() == built(name, photo_digits, bfloat16=False).state_dict().keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_features_are_float32_whatever_the_training(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name](3, 32, 0.0)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        exact = encoder.eval()(images)
        train_in(encoder, "bfloat16")
        assert torch.equal(encoder(images), exact)
        rounded = encoder.train()(images)
    assert rounded.dtype == torch.float32
    assert torch.equal(encoder.eval()(images), exact) is False, "batch norm has moved in training"


@pytest.mark.parametrize("name", ["rotnet", "recolor", "stacked_autoencoder", "wgan"])
def test_training_in_bfloat16_repeats_bit_for_bit(name: str, photo_digits: Dataset) -> None:
    plan = replace(PLAN, method=name, precision="bfloat16")
    runs: list[list[Method]] = [[], []]
    courses = [[epoch.loss for epoch in train(plan, photo_digits, kept)] for kept in runs]
    assert courses[0] == courses[1]
    states = [kept[-1].state_dict() for kept in runs]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_gradient_of_a_convolution_in_bfloat16_is_rounded_and_no_more() -> None:
    torch.manual_seed(0)
    module = Convolution(64, 32, 3)
    images = torch.rand(40, 64, 7, 7)
    weighing = torch.rand(40, 32, 5, 5)
    gradients = []
    for enabled in (False, True):
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = module(images)
        (output.float() * weighing).sum().backward()
        assert module.weight.grad is not None
        gradients.append(module.weight.grad.clone())
    assert gradients[1].dtype == torch.float32
    assert ((gradients[1] - gradients[0]).abs() / gradients[0].abs()).max() < 0.01


@pytest.mark.parametrize("p", [0.1, 0.3, 0.6])
def test_dropout_keeps_its_share_and_the_mean(p: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(64, 32, 9, 9, requires_grad=True)
    dropped = Dropout(p)(ones)
    kept = (dropped != 0).float()
    tolerance = 4 * (p * (1 - p) / ones.numel()) ** 0.5
    assert kept.mean().item() == pytest.approx(1 - p, abs=tolerance)
    for dim in range(4):  # nowhere are they thicker
        shares = kept.mean(dim=[other for other in range(4) if other != dim])
        assert (shares - (1 - p)).abs().max() < 6 * (p * (1 - p) * shares.numel() / ones.numel()) ** 0.5
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)
    dropped.sum().backward()
    assert ones.grad is not None and torch.equal(ones.grad, dropped.detach())  # what is dropped gets no gradient


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(64, 64, 8, 8)) != 0).permute(0, 2, 3, 1).flatten().float()
    for apart in (1, 2, 3, 4, 8):
        agree = (kept[apart:] == kept[:-apart]).float().mean().item()
        assert agree == pytest.approx(0.5, abs=4 * 0.5 / len(kept) ** 0.5)


def test_dropout_does_nothing_at_0_or_in_eval_mode_and_takes_all_at_1() -> None:
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert not Dropout(1.0)(x).any()
    assert isinstance(Dropout(0.5), nn.Dropout)


def test_the_precision_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--method", "rotnet"]
    assert parse(words).precision is None
    assert parse([*words, "--precision", "auto"]).precision is None
    assert parse([*words, "--precision", "float32"]).precision == "float32"
    with pytest.raises(SystemExit) as ended:
        parse([*words, "--precision", "bf16"])
    assert ended.value.code == 2 and "did you mean bfloat16" in capsys.readouterr().err
