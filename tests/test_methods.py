"""The contract that every pretraining method keeps."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from methods import METHODS
from methods.deepcluster import DeepCluster
from methods.encoders import ENCODERS
from methods.inspection import SHOWN, Grid, Matrix
from methods.method import HIDDEN, Batch, Method
from methods.rotnet import rotate
from study.data.dataset import Dataset
from study.learning.pretrain import Judgement, Place, Plan, Pool, build, embed, pretrain
from study.records import Epoch

PLAN = Plan("rotnet", "convnet", {"batch_size": 32, "dropout": 0.1}, epochs=3, epoch_images=64, seed=5)


def plan_for(name: str) -> Plan:
    return replace(PLAN, method=name)


def no_judgement(_: Method) -> Judgement:
    return Judgement(0.0)


def build_method(name: str) -> Method:
    torch.manual_seed(0)
    kind = METHODS[name]
    return kind(kind.Config(augmentation=0.0, dropout=0.0, label_smoothing=0.0), ENCODERS["convnet"](3, 32, 0.0), 10)


def make_batch(dataset: Dataset, count: int = 64) -> Batch:
    places = dataset.train[:count]
    images = torch.from_numpy(dataset.pixels[places]).permute(0, 3, 1, 2).float() / 255
    return Batch(images, torch.arange(count), torch.from_numpy(dataset.labels[places]))


TRAINED = [name for name, kind in METHODS.items() if kind.trains]


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_and_reach_the_encoder(name: str, photo_digits: Dataset) -> None:
    method = build_method(name)
    losses = method(make_batch(photo_digits))
    assert losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    for parameter in method.encoder.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_falls_on_64_images(name: str, photo_digits: Dataset) -> None:
    method, batch = build_method(name), make_batch(photo_digits)
    optimizer = method.optimizer()
    course = []
    for _ in range(24):
        losses = method(batch)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
        # A generator's loss rises as its opponent learns, which is the encoder's part in an adversarial method.
        course.append(sum(loss.item() for name, loss in losses.items() if name != "generator"))
    assert np.mean(course[-3:]) < 0.9 * course[0]


@pytest.mark.parametrize("name", METHODS)
def test_state_round_trips(name: str, photo_digits: Dataset) -> None:
    method, batch = build_method(name), make_batch(photo_digits)
    method.begin_pass(0, lambda: torch.randn(128, 64))
    method.begin_epoch(0)
    method(batch)  # BatchNorm statistics move
    copy = build_method(name)
    copy.load_state_dict(method.state_dict())
    for one in (method, copy):
        one.eval()
        torch.manual_seed(1)
    features = [one.encoder(batch.images) for one in (method, copy)]
    assert torch.equal(*features)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if not kind.reads_labels])
def test_scrambled_labels_change_nothing(name: str, photo_digits: Dataset) -> None:
    scrambled = replace(photo_digits, labels=np.random.default_rng(0).permutation(photo_digits.labels))
    weights, courses = [], []
    for dataset in (photo_digits, scrambled):
        methods: list[Method] = []
        courses.append(
            [epoch.loss for epoch in train(plan_for(name), dataset, methods)],
        )
        weights.append(methods[-1].state_dict())
    assert courses[0] == courses[1]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def train(plan: Plan, dataset: Dataset, keep: list[Method], folder: Path | None = None) -> list[Epoch]:
    def judge(method: Method) -> Judgement:
        keep.append(method)
        return Judgement(0.0)

    return list(pretrain(plan, dataset, dataset.train[:100], judge, Place(), folder))


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    name: str, photo_digits: Dataset, tmp_path: Path
) -> None:
    whole: list[Method] = []
    course = train(plan_for(name), photo_digits, whole, tmp_path / "whole")

    broken = pretrain(
        plan_for(name), photo_digits, photo_digits.train[:100], no_judgement, Place(), tmp_path / "broken"
    )
    next(broken)  # one epoch, then the process dies
    del broken
    resumed: list[Method] = []
    again = train(plan_for(name), photo_digits, resumed, tmp_path / "broken")

    assert [(epoch.epoch, epoch.loss) for epoch in again] == [(epoch.epoch, epoch.loss) for epoch in course]
    state = resumed[-1].state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole[-1].state_dict().items())


def first_clusters(dataset: Dataset, place: Place) -> Tensor:
    """The clusters of the pool before deepcluster's first step: the same weights, however many workers there are."""
    plan = plan_for("deepcluster")
    method = build(plan, dataset)
    pool = Pool(dataset, dataset.train[:100], place.device, labelled_only=False)
    torch.manual_seed(place.rank)  # the training loop seeds each worker differently
    method.begin_pass(0, lambda: embed(method, pool, place))
    method.begin_epoch(0)
    assert isinstance(method, DeepCluster)
    return method.clusters


def _replica(rank: int, dataset: Dataset, folder: Path) -> None:
    """One of two workers: trains every method, and leaves its weights in `folder`."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/rendezvous", timedelta(seconds=120), rank=rank, world_size=2
    )
    built: list[Method] = []

    def remember(plan: Plan, dataset: Dataset) -> Method:
        built.append(build(plan, dataset))
        return built[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.learning.pretrain.build", remember)
        for name in METHODS:
            list(pretrain(plan_for(name), dataset, dataset.train[:100], no_judgement, Place(rank, 2)))
            weights = {key: value.contiguous() for key, value in built[-1].state_dict().items()}
            save_file(weights, folder / f"{name}-{rank}.safetensors")
    save_file({"clusters": first_clusters(dataset, Place(rank, 2))}, folder / f"clusters-{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def replicas(photo_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of two workers: starting them takes longer than all their training."""
    folder = tmp_path_factory.mktemp("replicas")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_replica, args=(rank, photo_digits, folder)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_two_replicas_end_with_equal_weights(name: str, replicas: Path) -> None:
    first, second = (load_file(replicas / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_two_workers_find_the_clusters_of_one(photo_digits: Dataset, replicas: Path) -> None:
    alone = first_clusters(photo_digits, Place())
    assert len(set(alone.tolist())) > 90
    for rank in (0, 1):
        assert torch.equal(load_file(replicas / f"clusters-{rank}.safetensors")["clusters"], alone)


@pytest.mark.parametrize("name", METHODS)
def test_inspecting_changes_nothing_and_shows_the_same_twice(name: str, photo_digits: Dataset) -> None:
    method, batch = build_method(name), make_batch(photo_digits, 40)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    shown = []
    method.eval()
    for _ in range(2):
        torch.manual_seed(0)
        with torch.no_grad():
            shown.append(method.inspect(batch))
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    first, second = shown
    assert bool(first.figures) == method.trains, "every method has something to show"
    assert first.numbers == second.numbers and all(np.isfinite(value) for value in first.numbers.values())
    for title, figure in first.figures.items():
        again = second.figures[title]
        if isinstance(figure, Matrix):
            assert isinstance(again, Matrix) and torch.equal(figure.counts, again.counts)
            assert figure.counts.shape == (len(figure.rows), len(figure.columns)) and figure.counts.sum() > 0
        else:
            assert isinstance(again, Grid)
            for row, images in figure.rows.items():
                assert torch.equal(images, again.rows[row]) and 0 < len(images) <= SHOWN
                assert images.shape[1:] == (3, 32, 32) and images.amin() >= -1e-6 and images.amax() <= 1 + 1e-6


def test_an_encoder_that_no_step_trains_stays_as_it_was_drawn(photo_digits: Dataset) -> None:
    kept: list[Method] = []
    (epoch, *_) = train(replace(plan_for("random"), epochs=1), photo_digits, kept)
    assert epoch.images_seen == 0 and epoch.terms == {}
    drawn = build(replace(plan_for("random"), epochs=1), photo_digits).state_dict()
    assert all(torch.equal(value, drawn[key]) for key, value in kept[0].state_dict().items())


def test_features_are_read_where_the_plan_says(photo_digits: Dataset) -> None:
    assert build(PLAN, photo_digits).encoder.default_tap == "conv3"
    tapped = build(replace(PLAN, tap="conv2"), photo_digits).encoder
    pool = Pool(photo_digits, photo_digits.train[:20], torch.device("cpu"), labelled_only=True)
    assert embed(build(replace(PLAN, tap="conv2"), photo_digits), pool, Place()).shape == (
        20,
        np.prod(tapped.shape("conv2")),
    )


@pytest.mark.parametrize(("name", "batch_size"), [("rotnet", 32), ("rotnet", 48), ("supervised", 64)])
def test_all_methods_see_as_many_images_in_an_epoch(name: str, batch_size: int, photo_digits: Dataset) -> None:
    plan = replace(plan_for(name), params={"batch_size": batch_size}, epochs=1, epoch_images=290)
    (epoch,) = train(plan, photo_digits, [])  # supervised has 100 images to see them in
    assert abs(epoch.images_seen - 290) <= batch_size / 2


def test_hidden_labels_never_enter_a_batch(photo_digits: Dataset) -> None:
    paid = photo_digits.train[:100]
    pool = Pool(photo_digits, paid, torch.device("cpu"), labelled_only=False)
    labels = pool.batch(np.arange(len(pool))).labels
    assert (labels != HIDDEN).sum() == 100
    assert len(Pool(photo_digits, paid, torch.device("cpu"), labelled_only=True)) == 100


def test_rotations_are_quarter_turns() -> None:
    images = torch.rand(8, 3, 5, 5)
    views, turns = rotate(images, copies=1)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for view, image, turn in zip(views, images, turns.tolist(), strict=True):
        assert torch.equal(view, torch.rot90(image, turn, (1, 2)))
    views, turns = rotate(images, copies=4)
    assert torch.equal(views[8:16], torch.rot90(images, 1, (2, 3))) and turns.bincount().tolist() == [8, 8, 8, 8]
