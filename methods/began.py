"""began: reconstruct real images well and painted ones badly, while a generator paints what is reconstructed well.

Berthelot, Schumm and Metz, "BEGAN: Boundary Equilibrium Generative Adversarial Networks", 2017. It reports no
classification; its discriminator is an autoencoder, whose encoder must beat an untrained one.

From the paper: both losses are mean absolute errors of reconstruction, on pixels in [-1, 1]; the share k of painted
images in the discriminator's loss is steered so that their error stays `gamma` times that of real ones; the decoder is
built as the generator is; codes of 64 numbers, uniform in [-1, 1]; Adam 1e-4, batches of 16. Departures: the
discriminator's first half is the study's encoder under a linear layer; decoder and generator are DCGAN's, with batch
norm and ReLU, not ELU and nearest neighbours; the learning rate is not halved when progress stalls; `augmentation` acts
on the real images. `label_smoothing` has nothing to act on. Running statistics of batch norm are those of real images.
Among several workers the first one's k rules, for DistributedDataParallel hands its buffers to all in every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods import method
from methods.encoders import Encoder
from methods.generator import Generator, aside, frozen, uniform_codes
from methods.inspection import SHOWN, Inspection, reconstructions, samples
from methods.method import Batch, Method
from methods.space import among, between
from methods.views import augment


class BEGAN(Method):
    """An autoencoder around the encoder against a generator, held in balance by the buffer `k`."""

    k: Tensor

    @dataclass(frozen=True)
    class Config(method.Config):
        """The paper's recipe."""

        batch_size: int = among(16, (16, 32, 64))
        lr: float = between(1e-4, 2e-5, 1e-3, log=True)
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(0.0, 0.0, 1.0)
        gamma: float = between(0.5, 0.3, 0.7)  # the painted images' error over the real ones': their diversity
        gain: float = 1e-3  # of k a step: the paper's lambda
        latent: int = 64
        width: int = 64  # channels of the last hidden layer of generator and decoder

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        d, h, w = encoder.shape()
        self.bottleneck = nn.Sequential(nn.Flatten(), nn.Linear(d * h * w, config.latent))
        self.decoder = Generator(config.latent, encoder.channels, encoder.size, config.width)
        self.generator = Generator(config.latent, encoder.channels, encoder.size, config.width)
        self.register_buffer("k", torch.zeros(()))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Errors of reconstruction: `real` and `fake` (minus k times) train the autoencoder, `generator` the other."""
        real = augment(batch.images, self.config.augmentation)
        fake: Tensor = self.generator(uniform_codes(real, self.config.latent))
        halves = (self.encoder, self.bottleneck, self.decoder)
        of_real = _error(real, self.decoder(self.bottleneck(self.encoder(real))))
        caught = painted = fake.detach()
        fooled = fake
        for half in halves:
            caught = functional_call(half, aside(half), caught)
            fooled = functional_call(half, frozen(half), fooled)
        of_fake = _error(painted, caught)
        of_generator = _error(fake, fooled)
        losses = {"real": of_real, "fake": -self.k.clone() * of_fake, "generator": of_generator}
        steered = self.k + self.config.gain * (self.config.gamma * of_real - of_generator).detach()
        self.k.copy_(steered.clamp(0, 1))
        return losses

    def inspect(self, batch: Batch) -> Inspection:
        """What the generator paints from one noise, and what the autoencoder makes of real images."""
        images = batch.images[:SHOWN]
        decoded = self.decoder(self.bottleneck(self.encoder(images)))
        painted = self.generator(uniform_codes(images, self.config.latent))
        return Inspection(
            samples("Samples of the generator", painted) | reconstructions(images, decoded), {"balance": self.k.item()}
        )


def _error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean absolute difference of pixels in [-1, 1], the scale of the paper; arguments are in [0, 1]."""
    return 2 * (images - reconstructions).abs().mean()
