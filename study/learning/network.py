"""Network: encoder and head trained together on one label subset, from the pretrained encoder or from scratch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.encoders import Encoder
from methods.method import Batch, Config
from methods.precision import Precision, train_in
from methods.supervised import Supervised
from study.data.dataset import Dataset
from study.learning.features import Score, score
from study.learning.pretrain import Pool, batch_size_of, to_images
from study.learning.schedule import CHECKS, images_for, one_cycle
from study.seeds import derive

Places = NDArray[np.int64]


def train_network(
    encoder: Encoder,
    config: Config,
    encoder_lr: float,
    dataset: Dataset,
    subset: Places,
    *,
    seed: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Iterator[Supervised]:
    """Train encoder and a linear head on the images at `subset`, and yield the network at each check, CHECKS times.

    Adam under one cycle of the learning rate: `config.lr` for the head, `encoder_lr` for the encoder, which is changed.
    """
    torch.manual_seed(derive(seed, "network"))
    network = Supervised(config, encoder, len(dataset.classes)).to(device).to(memory_format=torch.channels_last)
    train_in(network, precision)
    head = [weight for name, weight in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": head, "lr": config.lr}, {"params": encoder.parameters(), "lr": encoder_lr}]
    optimizer = torch.optim.Adam(groups, fused=True)
    pool = Pool(dataset, subset, device, labelled_only=True)
    size = min(config.batch_size, len(pool))
    steps = max(CHECKS, images_for(len(pool)) // size)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / steps))
    for step, batch in enumerate(batches(pool, size, steps, seed), start=1):
        network.train()
        optimizer.zero_grad()
        torch.autograd.backward(network(batch)["class"])
        optimizer.step()
        rates.step()
        if step * CHECKS // steps > (step - 1) * CHECKS // steps:
            yield network


def batches(pool: Pool, size: int, steps: int, seed: int) -> Iterator[Batch]:
    """`steps` batches, epoch after epoch in another order."""
    order: Places = np.empty(0, dtype=np.int64)
    epoch = 0
    for step in range(steps):
        if len(order) < size:
            order = np.concatenate([order, np.random.default_rng(derive(seed, "fit", epoch)).permutation(len(pool))])
            epoch += 1
        torch.manual_seed(derive(seed, "views", step))
        yield pool.batch(order[:size])
        order = order[size:]


def predict(network: Supervised, dataset: Dataset, places: Places, device: torch.device) -> Tensor:
    """Class scores of the images at `places`, in eval mode, without augmentation: (n, K)."""
    network.eval()
    parts, size = [], batch_size_of(device)
    with torch.inference_mode():
        for start in range(0, len(places), size):
            pixels = torch.from_numpy(dataset.pixels[places[start : start + size]]).to(device)
            parts.append(network.head(network.encoder(to_images(pixels))))
    return torch.cat(parts)


def score_network(network: Supervised, dataset: Dataset, places: Places, device: torch.device) -> Score:
    """How well it does on the images at `places`."""
    labels = torch.from_numpy(dataset.labels[places]).to(device)
    return score(predict(network, dataset, places, device), labels)
