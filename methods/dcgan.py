"""dcgan: tell real images from those that a generator paints, while it learns to be mistaken for real.

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", 2015. Its discriminator's features and a linear SVM reached 82.8 % on CIFAR-10; a study on SVHN reached
62.1 % with 500 labels on frozen features, far below rotation's 79.0. Within 30,000 images, which are 216 steps, it does
not beat an untrained encoder: the generator still paints one texture, and telling that from images teaches little.

From the paper: the generator, Adam 2e-4 with a first beta of 0.5, batches of 128, the non-saturating loss, images as
they are. From the study: codes of 128 numbers, 64 filters. Departures: the discriminator is the study's encoder under a
linear head, not strided convolutions with LeakyReLU, so that any encoder can be pretrained; its real images may be
augmented; `label_smoothing` lowers the target of real images alone (Salimans et al., 2016).

Batch norm in the discriminator: real and painted images pass in batches of their own, as in the paper, so that a batch
is normalised by its own kind; running statistics are those of real images alone, the only ones it meets later.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import Optimizer

from methods import method
from methods.encoders import Encoder
from methods.generator import Generator, aside, frozen, uniform_codes
from methods.inspection import SHOWN, Inspection, samples
from methods.method import Batch, Method
from methods.space import among, between
from methods.views import augment


class DCGAN(Method):
    """The encoder under a linear head against a generator."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """The paper's recipe at the size of study A."""

        batch_size: int = among(128, (32, 64, 128, 256))
        lr: float = between(2e-4, 5e-5, 2e-3, log=True)
        dropout: float = between(0.25, 0.0, 0.6)  # study A's
        augmentation: float = between(0.0, 0.0, 1.0)
        latent: int = 128
        width: int = 64  # channels of the generator's last hidden layer

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        d, h, w = encoder.shape()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(d * h * w, 1))
        self.generator = Generator(config.latent, encoder.channels, encoder.size, config.width)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropies: `real` and `fake` train the discriminator, `generator` the generator."""
        real = augment(batch.images, self.config.augmentation)
        fake: Tensor = self.generator(uniform_codes(real, self.config.latent))
        believed = self.head(self.encoder(real))  # (N, 1) logits
        caught = self.head(functional_call(self.encoder, aside(self.encoder), fake.detach()))
        fooled = functional_call(self.encoder, frozen(self.encoder), fake)
        fooled = functional_call(self.head, frozen(self.head), fooled)
        return {
            "real": F.binary_cross_entropy_with_logits(
                believed, torch.full_like(believed, 1 - self.config.label_smoothing)
            ),
            "fake": F.softplus(caught).mean(),  # -log(1 - sigmoid)
            "generator": F.softplus(-fooled).mean(),  # -log sigmoid
        }

    def optimizer(self) -> Optimizer:
        """Adam with the paper's first beta, without which it oscillates."""
        return torch.optim.Adam(self.parameters(), lr=self.config.lr, betas=(0.5, 0.999), fused=True)

    def inspect(self, batch: Batch) -> Inspection:
        """What the generator paints from one noise."""
        codes = uniform_codes(batch.images[:SHOWN], self.config.latent)
        return Inspection(samples("Samples of the generator", self.generator(codes)))
