"""SimCLR: its loss against a double loop, its views, and negatives from every worker."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from methods.encoders import ENCODERS
from methods.method import Batch
from methods.simclr import SimCLR, gather, make_views, nt_xent


def directions(count: int, width: int = 8) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(count)))


def naive(views: Tensor, temperature: float) -> float:
    """Equation 1 of the paper, view by view."""
    count, total = len(views), 0.0
    for i in range(count):
        j = (i + count // 2) % count
        others = sum(math.exp(float(views[i] @ views[k]) / temperature) for k in range(count) if k != i)
        total -= math.log(math.exp(float(views[i] @ views[j]) / temperature) / others)
    return total / count


@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_equals_a_double_loop(images: int, temperature: float) -> None:
    views = directions(2 * images)
    assert nt_xent(views, temperature).item() == pytest.approx(naive(views, temperature), abs=1e-5)


def test_nt_xent_is_least_where_views_of_an_image_agree() -> None:
    same = torch.eye(4).repeat(2, 1)
    assert nt_xent(same, 0.5) < nt_xent(torch.cat((same[:4], same[:4].roll(1, 0))), 0.5)
    assert nt_xent(same, 0.5).item() == pytest.approx(math.log(math.exp(2) + 6) - 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [24, 96])
def test_views_keep_shape_and_range_and_differ_between_two_draws(channels: int, size: int) -> None:
    images = torch.rand(4, channels, size, size)
    first, second = (make_views(images, 1.0, flip=True) for _ in range(2))
    for view in (first, second):
        assert view.shape == images.shape and view.min() >= 0 and view.max() <= 1
    assert not torch.allclose(first, second)


def test_strength_0_leaves_images_as_they_are_and_only_flip_mirrors() -> None:
    images = torch.rand(16, 3, 24, 24)
    assert torch.equal(make_views(images, 0.0, flip=False), images)
    mirrored = make_views(images, 0.0, flip=True)
    turned = [torch.equal(view, image.flip(2)) for view, image in zip(mirrored, images, strict=True)]
    kept = [torch.equal(view, image) for view, image in zip(mirrored, images, strict=True)]
    assert any(turned) and any(kept) and all(a or b for a, b in zip(turned, kept, strict=True))


def test_strength_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"augmentation strength 1\.5 is outside \[0, 1\]"):
        make_views(torch.rand(2, 3, 24, 24), 1.5, flip=False)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_encoder_takes_grey_images_and_every_weight_has_a_gradient(encoder: str) -> None:
    method = SimCLR(SimCLR.Config(), ENCODERS[encoder](1, 24, 0.0), 10)
    images = torch.rand(4, 1, 24, 24)
    losses = method(Batch(images, torch.arange(4), torch.zeros(4, dtype=torch.int64)))
    torch.autograd.backward(losses["contrast"])
    assert losses["contrast"].isfinite()
    assert all(weight.grad is not None for weight in method.parameters())


def _worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    views = of_worker(directions(12), rank).requires_grad_()
    loss = nt_xent(views, 0.5)
    torch.autograd.backward(loss)
    assert views.grad is not None
    save_file({"loss": loss.detach(), "gradient": views.grad, "all": gather(views.detach())}, folder / f"{rank}.st")
    torch.distributed.destroy_process_group()


def of_worker(views: Tensor, rank: int) -> Tensor:
    """A worker's half of the images, first views above second ones."""
    return views.view(2, 2, 3, -1)[:, rank].flatten(0, 1).clone()


def test_two_workers_have_the_loss_and_the_gradient_of_one_with_all_images(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(rank, tmp_path)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    views = directions(12).requires_grad_()
    loss = nt_xent(views, 0.5)
    torch.autograd.backward(loss)
    assert views.grad is not None
    results = [load_file(tmp_path / f"{rank}.st") for rank in (0, 1)]
    torch.testing.assert_close((results[0]["loss"] + results[1]["loss"]) / 2, loss.detach())
    for rank, result in enumerate(results):  # DistributedDataParallel halves the sum of the two workers' gradients
        torch.testing.assert_close(result["gradient"] / 2, of_worker(views.grad, rank))
        assert torch.equal(result["all"], torch.cat([of_worker(views.detach(), r) for r in (0, 1)]))
