"""wgan: rate real images above those that a generator paints, at a slope of one, while it learns to be rated higher.

Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, "Improved Training of Wasserstein GANs", 2017. It reports no
classification. The critic's features do not beat an untrained encoder's within 30,000 images: telling the pictures of a
young generator takes one direction, and nothing bounds how far features turn into it. Their effective rank on
photo-digits falls from 14 to 2 in six epochs, with 1 or 5 critic steps and at either learning rate tried.

From the paper: gradient penalty 10 between real and painted images, five critic steps to one of the generator, Adam
1e-4 with betas 0 and 0.9, batches of 64, normal codes of 128 numbers. Departures: the critic is the study's encoder
under a linear head, the generator DCGAN's; the generator steps together with the critic's last step, not after it;
`augmentation` acts on the real images; `label_smoothing` has nothing to act on.

Batch norm: the paper forbids it in the critic, because the penalty wants each image's own gradient. Encoders have it,
so here it normalises every image by the same constants: mean and variance over the step's real images (Salimans et
al., "virtual batch normalization", 2016, with a new reference in each step). No image then acts on another's score,
and the penalty is exact; the price is one more pass without gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from methods import method
from methods.encoders import Encoder
from methods.generator import Generator, frozen
from methods.inspection import SHOWN, Inspection, samples
from methods.method import Batch, Method
from methods.space import among, between
from methods.views import augment

DECAY = 0.9  # Adam's second beta
MOMENTUM = 0.1  # of batch norm's running statistics, nn.BatchNorm2d's own


class WGAN(Method):
    """The encoder under a linear head as critic of a generator that steps less often; the buffer `steps` counts."""

    steps: Tensor

    @dataclass(frozen=True)
    class Config(method.Config):
        """The paper's recipe."""

        batch_size: int = among(64, (32, 64, 128))
        lr: float = between(1e-4, 2e-5, 1e-3, log=True)
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(0.0, 0.0, 1.0)
        critic_steps: int = among(5, (1, 2, 5))  # to each step of the generator
        penalty: float = 10.0
        latent: int = 128
        width: int = 64  # channels of the generator's last hidden layer

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        d, h, w = encoder.shape()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(d * h * w, 1, bias=False))  # only differences of scores count
        self.generator = Generator(config.latent, encoder.channels, encoder.size, config.width)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._step = 0  # `steps`, known without asking the device

    def begin_epoch(self, epoch: int) -> None:
        """Take up the count where a checkpoint left it."""
        self._step = int(self.steps)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`critic` is the painted images' score over the real ones', `penalty` that of its slope, `generator` minus the
        painted images' score in every k-th step and 0 in others."""
        self._step += 1
        self.steps += 1
        real = augment(batch.images, self.config.augmentation)
        fake: Tensor = self.generator(torch.randn(len(real), self.config.latent, device=real.device))
        painted = fake.detach()
        constants = self._normalisation(real)
        with _constant_batch_norm(self.encoder):
            losses = {
                "critic": self._score(painted, constants).mean() - self._score(real, constants).mean(),
                "penalty": self.config.penalty * self._slope_error(mix(real, painted), constants),
            }
            if self._step % self.config.critic_steps == 0:
                features = functional_call(self.encoder, frozen(self.encoder) | constants, fake)
                losses["generator"] = -functional_call(self.head, frozen(self.head), features).mean()
            else:  # every weight needs a gradient in every step among several workers; this is zero
                losses["generator"] = 0 * torch.stack([weight.sum() for weight in self.generator.parameters()]).sum()
        return losses

    def optimizer(self) -> Optimizer:
        """One Adam that moves the generator just as one of its own would that saw only every k-th step.

        Its gradients in between are zero. With a first beta of 0 they move nothing; they make the second moment decay k
        times as often, hence the root of its beta; and each gradient enters it with weight 1 - beta, hence the scale.
        """
        decay = DECAY ** (1 / self.config.critic_steps)
        scale = ((1 - decay) / (1 - DECAY)) ** 0.5
        critic = [*self.encoder.parameters(), *self.head.parameters()]
        players = [
            {"params": critic, "betas": (0.0, DECAY)},
            {
                "params": list(self.generator.parameters()),
                "betas": (0.0, decay),
                "lr": self.config.lr * scale,
                "eps": 1e-8 * scale,
            },
        ]
        return torch.optim.Adam(players, lr=self.config.lr, fused=True)

    def inspect(self, batch: Batch) -> Inspection:
        """What the generator paints from one noise."""
        codes = torch.randn(SHOWN, self.config.latent, device=batch.images.device)
        return Inspection(samples("Samples of the generator", self.generator(codes)))

    def _score(self, images: Tensor, constants: dict[str, Tensor]) -> Tensor:
        """The critic's score of each image, (N, 1)."""
        scores: Tensor = self.head(functional_call(self.encoder, constants, images))
        return scores

    def _slope_error(self, images: Tensor, constants: dict[str, Tensor]) -> Tensor:
        """Mean squared distance from 1 of the norm of the score's gradient by each image, its pixels in [-1, 1]."""
        images = images.requires_grad_()
        (slopes,) = torch.autograd.grad(self._score(images, constants).sum(), images, create_graph=True)
        error: Tensor = (slopes.flatten(1).norm(dim=1) / 2 - 1).square().mean()
        return error

    @torch.no_grad()
    def _normalisation(self, images: Tensor) -> dict[str, Tensor]:
        """Buffers for the encoder, with the statistics of these images; its own running ones move as they always do."""
        fresh = {name: torch.zeros_like(buffer) for name, buffer in self.encoder.named_buffers()}
        functional_call(self.encoder, fresh, images)  # leaves MOMENTUM times the batch's statistics, and a count of 1
        for name, buffer in self.encoder.named_buffers():
            buffer.mul_(1 - MOMENTUM if buffer.is_floating_point() else 1).add_(fresh[name])
        return {name: moved / MOMENTUM for name, moved in fresh.items() if moved.is_floating_point()}


def mix(real: Tensor, fake: Tensor) -> Tensor:
    """A random point on the line between each pair of images."""
    return torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1, device=real.device))


@contextmanager
def _constant_batch_norm(encoder: Encoder) -> Iterator[None]:
    """Batch norm, and nothing else, normalises by its buffers meanwhile."""
    layers = [layer for layer in encoder.modules() if isinstance(layer, _BatchNorm) and layer.training]
    for layer in layers:
        layer.eval()
    yield
    for layer in layers:
        layer.train()
