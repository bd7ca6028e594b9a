"""DeepCluster: its whitening and k-means against scikit-learn's, its weights against uniform sampling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from methods.clustering import SAMPLE, cluster, kmeans, nearest, refill, whiten
from methods.deepcluster import NONE, DeepCluster, moved, purity
from methods.encoders import ENCODERS
from methods.method import Batch
from methods.views import slopes
from study.data.dataset import Dataset, load
from study.learning.pretrain import Judgement, Place, Plan, pretrain


def blobs(count: int, dimensions: int, seed: int = 0) -> Tensor:
    """Points about eight centres, with a spread of their own in each dimension."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(8, dimensions, generator=generator)
    spread = torch.linspace(2, 0.5, dimensions)
    return centres[torch.arange(count) % 8] + spread * torch.randn(count, dimensions, generator=generator)


def build(**settings: Any) -> DeepCluster:
    torch.manual_seed(0)
    config = DeepCluster.Config(**{"augmentation": 0.0, "dropout": 0.0, "clusters": 8, "sobel": False} | settings)
    return DeepCluster(config, ENCODERS["convnet"](3, 24, 0.0), 10)


def batch(count: int = 16) -> Batch:
    images = torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(count), torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize(("count", "dimensions"), [(400, 20), (50, 120)])
def test_whitening_equals_scikit_learns(count: int, dimensions: int) -> None:
    points = blobs(count, dimensions)
    expected = torch.from_numpy(PCA(10, whiten=True, svd_solver="full").fit_transform(points.double().numpy()))
    whitened = whiten(points, 10).double()
    assert torch.allclose(whitened.abs(), expected.abs(), atol=2e-3)  # an axis may point either way


def test_whitening_of_wide_points_is_fitted_to_a_sample() -> None:
    points = blobs(SAMPLE + 500, SAMPLE + 1)
    assert whiten(points, 7).var(0).sub(1).abs().max() < 0.1


def test_whitening_keeps_no_more_dimensions_than_there_are() -> None:
    assert whiten(blobs(100, 6), 256).shape == (100, 6)
    assert whiten(blobs(5, 60), 256).shape == (5, 4)
    assert whiten(torch.ones(9, 4), 2).isfinite().all()


def test_k_means_reaches_scikit_learns_inertia_from_the_same_start() -> None:
    points = blobs(500, 5)
    start = points[:12]
    expected = KMeans(12, init=start.numpy(), n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(points.numpy())
    assigned, centroids = kmeans(points, start, iterations=300)
    assert torch.equal(assigned, torch.from_numpy(expected.labels_).long())
    assert (points - centroids[assigned]).square().sum().item() == pytest.approx(expected.inertia_, rel=1e-4)


def test_nearest_centroids_are_those_of_a_naive_search() -> None:
    points = blobs(90, 4)
    assert torch.equal(nearest(points, points[:7]), torch.cdist(points, points[:7]).argmin(1))


def test_empty_clusters_are_refilled() -> None:
    points = blobs(300, 4)
    start = torch.cat((points[:3], torch.full((5, 4), 1e3)))  # five that are nearest to nothing
    assert (kmeans(points, start)[0].bincount(minlength=8) > 0).all()


def test_an_empty_cluster_splits_the_largest() -> None:
    centroids = torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    split = refill(centroids, torch.tensor([2.0, 5.0, 0.0]))
    assert torch.equal(split[0], centroids[0])
    assert torch.allclose((split[1] + split[2]) / 2, centroids[1]) and not torch.equal(split[1], split[2])


def test_two_processes_get_equal_clusterings(tmp_path: Path) -> None:
    points = blobs(400, 30)
    torch.save(points, tmp_path / "points.pt")
    program = f"""
import torch
from methods.clustering import cluster
torch.set_num_threads(1)
torch.manual_seed(99)  # the training loop seeds each worker differently
points = torch.load(r"{tmp_path / "points.pt"}")
torch.save(cluster(points, 20, 16, torch.Generator().manual_seed(3)), r"{tmp_path / "clusters.pt"}")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])
    here = cluster(points, 20, 16, torch.Generator().manual_seed(3))
    assert torch.equal(here, torch.load(tmp_path / "clusters.pt"))


def test_a_restart_finds_the_same_clusters_and_the_same_head() -> None:
    features = blobs(200, 30)
    first = build()
    first.begin_pass(2, lambda: features)
    again = build()
    again.load_state_dict(first.state_dict())
    torch.manual_seed(99)  # as on another worker
    again.begin_pass(2, lambda: features)
    assert torch.equal(first.clusters, again.clusters)
    states = first.state_dict(), again.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0] if key != "moved")  # from where


def test_a_restart_within_a_pass_goes_on_with_its_clusters() -> None:
    first = build()
    first.begin_pass(0, lambda: blobs(200, 30))
    first.begin_pass(1, lambda: blobs(200, 30, seed=1))
    again = build()
    again.load_state_dict(first.state_dict())
    for method in (first, again):
        method.begin_epoch(2)
    assert torch.equal(first.clusters, again.clusters) and torch.equal(first.sizes, again.sizes)
    assert 0 < first.moved.item() == again.moved.item()
    torch.manual_seed(1)
    one = first.eval()(batch(12))["cluster"]
    torch.manual_seed(1)
    assert torch.equal(one, again.eval()(batch(12))["cluster"])


def test_each_pass_starts_with_a_new_head() -> None:
    features = blobs(200, 30)
    method = build()
    heads = []
    for epoch in (0, 1):
        method.begin_pass(epoch, lambda: features)
        heads.append(next(method.head.parameters()).clone())
    assert not torch.equal(*heads) and heads[1].std().item() == pytest.approx(0.01, rel=0.05)


def test_the_loss_is_that_of_images_drawn_uniformly_over_clusters() -> None:
    method, images = build(label_smoothing=0.1).eval(), batch(12)
    method.clusters = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    method.sizes = method.clusters.bincount(minlength=8).float()
    logits = method.head(method.encoder(images.images))
    each = F.cross_entropy(logits, method.clusters, label_smoothing=0.1, reduction="none")
    by_cluster = torch.stack([each[method.clusters == k].mean() for k in range(3)])
    assert torch.allclose(method(images)["cluster"], by_cluster.sum() / 8)  # the other five have no image to draw


def test_the_head_has_no_momentum() -> None:
    encoder, head = build().optimizer().param_groups
    assert (encoder["momentum"], head["momentum"]) == (0.9, 0.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_encoder_that_is_kept_sees_slopes(channels: int) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS["convnet"](channels, 24, 0.0).eval()
    DeepCluster(DeepCluster.Config(sobel=True), encoder, 10)
    kept = ENCODERS["convnet"](channels, 24, 0.0).eval()
    kept.load_state_dict(encoder.state_dict())
    images = torch.rand(4, channels, 24, 24)
    one, other = kept.stages["conv1"], kept(images, "conv1")
    assert torch.equal(other, one((slopes(images) - 0.5) * 4))
    assert torch.allclose(kept(images), encoder(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_slopes_of_a_flat_image_are_none(channels: int) -> None:
    seen = slopes(torch.full((4, channels, 24, 24), 0.3))
    steepness = seen[:, -1, 1:-1, 1:-1]
    assert torch.allclose(steepness, torch.zeros_like(steepness), atol=1e-6)
    assert seen.min() >= 0 and seen.max() <= 1


def test_purity_and_moves_by_hand() -> None:
    clusters, labels = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([4, 4, 5, 5, 5, 4])
    assert purity(clusters, labels) == pytest.approx(5 / 6)
    renamed = torch.tensor([7, 7, 7, 3, 3, 0])
    assert moved(clusters, renamed) == 0, "other numbers are no other clusters"
    assert moved(clusters, torch.tensor([7, 7, 3, 3, 3, 0])) == pytest.approx(1 / 6)


def test_a_restart_knows_how_many_images_moved() -> None:
    before, after = blobs(200, 30), blobs(200, 30, seed=1)
    whole = build()
    whole.begin_pass(0, lambda: before)
    assert whole.moved == NONE, "nothing to compare with"
    resumed = build()
    resumed.load_state_dict(whole.state_dict())
    for method in (whole, resumed):
        method.begin_pass(1, lambda: after)
    assert 0 < whole.moved.item() < 1 and resumed.moved == whole.moved


@pytest.mark.parametrize(
    ("epoch_images", "clustered"),
    [(0.5, [True, False, True, False, True]), (0.4, [True, False, False, True, False]), (1.0, 5 * [True])],
)
def test_images_are_clustered_before_each_pass_over_the_pool(
    epoch_images: float, clustered: list[bool], photo_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    monkeypatch.setattr(DeepCluster, "begin_pass", lambda self, epoch, embed: passes.append(epoch))
    few = load(photo_digits.folder, seed=0, pool_images=320)
    plan = Plan("deepcluster", "convnet", {"batch_size": 32}, 5, round(320 * epoch_images), 0)
    for _ in pretrain(plan, few, few.train[:10], lambda _: Judgement(0.0), Place()):
        pass
    assert [epoch in passes for epoch in range(5)] == clustered
