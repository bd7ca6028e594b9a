"""Encoders: maps, numbers of weights and taps are as their docstrings say, at all sizes that they take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from methods.encoders import ENCODERS, Encoder, convolution
from methods.encoders.convolution import Convolution

# The sides of the maps that the docstrings state, stage by stage.
SIDES: dict[str, dict[int, tuple[int, ...]]] = {
    "convnet": {24: (12, 5, 2, 1), 28: (14, 6, 3, 2), 32: (16, 7, 4, 3), 224: (112, 55, 52, 51)},
    "alexnet": {
        16: (7, 3, 3, 3, 1),
        28: (13, 6, 6, 6, 2),
        32: (15, 7, 7, 7, 3),
        96: (11, 5, 5, 5, 2),
        224: (27, 13, 13, 13, 6),
    },
    "vgg16": {
        16: (8, 4, 2, 2, 2),
        28: (14, 7, 3, 3, 3),
        32: (16, 8, 4, 2, 2),
        96: (48, 24, 12, 6, 3),
        224: (112, 56, 28, 14, 7),
    },
    "nin": {8: (4, 2, 2, 2), 28: (14, 7, 7, 7), 32: (16, 8, 8, 8), 224: (112, 56, 56, 56)},
    "resnet18": {
        16: (16, 16, 8, 4, 2),
        28: (28, 28, 14, 7, 4),
        32: (32, 32, 16, 8, 4),
        96: (24, 24, 12, 6, 3),
        224: (56, 56, 28, 14, 7),
    },
    "unet": {16: (16, 8, 4, 2, 4, 8, 16), 32: (32, 16, 8, 4, 8, 16, 32), 224: (224, 112, 56, 28, 56, 112, 224)},
}
WIDTHS = {
    "convnet": (64, 128, 256, 512),
    "alexnet": (64, 192, 384, 256, 256),
    "vgg16": (64, 128, 256, 512, 512),
    "nin": (96, 192, 192, 192),
    "resnet18": (64, 64, 128, 256, 512),
    "unet": (32, 64, 128, 256, 128, 64, 32),
}
MILLIONS = {"convnet": 0.90, "alexnet": 2.45, "vgg16": 14.7, "nin": 1.41, "resnet18": 11.2, "unet": 1.93}
TOO_SMALL = {"convnet": 23, "alexnet": 15, "vgg16": 15, "nin": 7, "resnet18": 15, "unet": 8}

everyone = pytest.mark.parametrize("name", ENCODERS)


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    """One of each for colour images of 32 pixels, with dropout, in eval mode."""
    torch.manual_seed(0)
    return {name: build(3, 32, 0.5).eval() for name, build in ENCODERS.items()}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in SIDES.items() for size in sizes])
def test_maps_are_as_documented(name: str, size: int) -> None:
    with torch.device("meta"):  # shapes alone: no memory and no arithmetic
        encoder = ENCODERS[name](1, size, 0.0)
    shapes = [encoder.shape(stage) for stage in encoder.stages]
    assert shapes == [(width, side, side) for width, side in zip(WIDTHS[name], SIDES[name][size], strict=True)]
    assert encoder.shape() == shapes[-1]


@everyone
def test_numbers_of_weights_are_as_documented(name: str) -> None:
    with torch.device("meta"):
        encoder = ENCODERS[name](3, 32, 0.0)
    assert sum(weight.numel() for weight in encoder.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.006)
    assert f"{MILLIONS[name]:.3g} M" in (ENCODERS[name].__doc__ or "").replace("0.90", "0.9")


def test_large_images_meet_the_very_convolutions_of_torchvision() -> None:
    with torch.device("meta"):
        for name, theirs in (
            ("alexnet", models.alexnet().features),
            ("vgg16", models.vgg16().features),
            ("resnet18", models.resnet18()),
        ):
            mine = ENCODERS[name](3, 224, 0.0)
            mine_shapes, their_shapes = (
                [tuple(weight.shape) for weight in network.parameters() if weight.ndim == 4]
                for network in (mine, theirs)
            )
            assert sorted(mine_shapes) == sorted(their_shapes)


@everyone
@pytest.mark.parametrize("channels", [1, 3])
def test_every_weight_down_to_the_first_layer_gets_a_gradient(name: str, channels: int) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name](channels, 32, 0.3)
    encoder(torch.rand(4, channels, 32, 32)).square().sum().backward()
    for weight in encoder.parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all()
    first = next(encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


@everyone
def test_a_tap_is_the_output_of_its_stage(name: str, encoders: dict[str, Encoder], images: Tensor) -> None:
    encoder = encoders[name]
    seen: dict[str, Tensor] = {}
    hooks = [
        stage.register_forward_hook(lambda _, __, output, stage=stage_name: seen.__setitem__(stage, output.clone()))
        for stage_name, stage in encoder.stages.items()
    ]
    with torch.inference_mode():
        last = encoder(images)
        outputs = dict(seen)
        for stage in encoder.stages:
            assert torch.equal(encoder(images, stage), outputs[stage])
    for hook in hooks:
        hook.remove()
    assert list(outputs) == list(encoder.stages)
    assert torch.equal(last, outputs[list(encoder.stages)[-1]])


@everyone
def test_a_tap_runs_no_later_stage(name: str, encoders: dict[str, Encoder], images: Tensor) -> None:
    encoder = encoders[name]
    *_, last = encoder.stages
    hook = encoder.stages[last].register_forward_hook(lambda *_: pytest.fail("the last stage ran"))
    encoder(images, next(iter(encoder.stages)))
    hook.remove()


@everyone
def test_the_default_tap_is_a_stage_and_an_unknown_one_is_refused(name: str, encoders: dict[str, Encoder]) -> None:
    assert encoders[name].default_tap in encoders[name].stages
    with pytest.raises(ValueError, match=r"no stage 'conv9': did you mean .* There are .*1"):
        encoders[name](torch.rand(1, 3, 32, 32), "conv9")


@everyone
def test_dropout_acts_in_train_mode_only(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        dropped, whole = ENCODERS[name](3, 32, 0.6), ENCODERS[name](3, 32, 0.0)
        whole.load_state_dict(dropped.state_dict())
        assert not torch.allclose(dropped(images), whole(images))  # both in train mode, the same weights
        whole.load_state_dict(dropped.state_dict())
        assert torch.equal(dropped.eval()(images), whole.eval()(images))


@everyone
def test_asking_for_a_shape_changes_no_state(name: str, encoders: dict[str, Encoder]) -> None:
    encoder = encoders[name].train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.shape()
    assert all(module.training for module in encoder.modules())
    assert all(torch.equal(value, before[key]) for key, value in encoder.eval().state_dict().items())


@everyone
def test_channels_last_gives_the_same_features(name: str, encoders: dict[str, Encoder], images: Tensor) -> None:
    expected = encoders[name](images)
    other = ENCODERS[name](3, 32, 0.0).eval()
    other.load_state_dict(encoders[name].state_dict())
    other.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        other(images.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-4
    )


@everyone
def test_sizes_that_do_not_fit_are_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs .*not {TOO_SMALL[name]}: .*--image-size"):
        ENCODERS[name](3, TOO_SMALL[name], 0.0)


def test_unet_refuses_a_side_that_its_poolings_do_not_divide() -> None:
    with pytest.raises(ValueError, match="multiple of 8 pixels a side, at least 16, not 28"):
        ENCODERS["unet"](3, 28, 0.0)


def test_unet_paints_with_what_its_skips_saw() -> None:
    """Where the bottom is cut out, the last map still follows the image."""
    torch.manual_seed(0)
    encoder = ENCODERS["unet"](1, 16, 0.0).eval()
    encoder.stages["bottom"].register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    black, white = encoder(torch.zeros(1, 1, 16, 16)), encoder(torch.ones(1, 1, 16, 16))
    assert not torch.allclose(black, white)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("width", "wider", "kernel", "side"), [(5, 7, 3, 7), (8, 4, 2, 4), (3, 2, 1, 5)])
def test_convolution_has_the_outputs_and_gradients_of_torch(
    layout: torch.memory_format, width: int, wider: int, kernel: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "PATCHES", 2 * kernel * kernel * width * (side - kernel + 1) ** 2)  # two at a time
    torch.manual_seed(0)
    mine, theirs = Convolution(width, wider, kernel), nn.Conv2d(width, wider, kernel)
    theirs.load_state_dict(mine.state_dict())
    images = torch.rand(5, width, side, side).contiguous(memory_format=layout)
    weighing = torch.rand(5, wider, side - kernel + 1, side - kernel + 1)
    results = []
    for module in (mine, theirs):
        module.to(memory_format=layout)
        inputs = images.clone().requires_grad_()
        output = module(inputs)
        (output * weighing).sum().backward()
        results.append([output, inputs.grad, module.weight.grad, module.bias.grad if module.bias is not None else None])
    torch.testing.assert_close(results[0], results[1])


def test_convolution_can_be_differentiated_twice() -> None:
    """A penalty on the gradient, as a Wasserstein critic has, needs it."""
    torch.manual_seed(0)
    module = Convolution(2, 3, 2).double()
    images = torch.rand(2, 2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(module, (images,))
    parameters = (images, *module.parameters())
    assert torch.autograd.gradcheck(lambda images, weight, bias: module(images), parameters)
