"""stacked_autoencoder: train the encoder's stages one after another, each to restore its own input, then all together.

Bengio, Lamblin, Popovici and Larochelle, "Greedy Layer-Wise Training of Deep Networks", 2007; with noise at a stage's
input it is Vincent et al.'s stacked denoising autoencoder (2010). As there, a stage sees what the finished stages
below it say, and in the end the decoders are unrolled over one another (Hinton and Salakhutdinov, 2006). Their layers
are fully connected, here a layer is a stage of the encoder; the noise is Gaussian, for the reason given in
autoencoder. No code is narrower than the last map, so it is the noise alone that keeps the stages from copying. It
must beat an untrained encoder once all stages had their turn; no search stops a trial before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from methods import method
from methods.autoencoder import SPREAD, add_noise
from methods.decoder import Enlarge, refuse_skips, squared_error
from methods.encoders import Encoder
from methods.encoders.encoder import centred
from methods.inspection import SHOWN, Inspection, reconstructions
from methods.method import Batch, Method
from methods.space import among, between
from methods.views import augment


class StackedAutoencoder(Method):
    """A decoder for each stage, from the stage's map to the map below it."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """As the autoencoder's; a stage's input has a spread of about 1, for batch norm made it."""

        batch_size: int = among(32, (32, 64, 128))
        stage_epochs: int = 1  # epochs of each stage alone, from the first up; those left train all together
        noise: float = between(0.25, 0.0, 1.0)  # standard deviation at a stage's input, where its own is about 1
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(0.0, 0.0, 1.0)

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        refuse_skips(encoder)
        if config.stage_epochs < 0:
            raise ValueError(f"stacked_autoencoder's stage_epochs must be 0 or more, not {config.stage_epochs}")
        below = (encoder.channels, encoder.size, encoder.size)
        self.decoders = nn.ModuleList()
        for tap in encoder.stages:
            shape = encoder.shape(tap)
            self.decoders.append(Enlarge(shape, *below[:2]))
            below = shape
        self.stage: int | None = None  # the one that trains; None is all. Only the epoch decides

    def begin_epoch(self, epoch: int) -> None:
        """Give the epoch to its stage."""
        turn = epoch // self.config.stage_epochs if self.config.stage_epochs else len(self.decoders)
        self.stage = turn if turn < len(self.decoders) else None

    def train(self, mode: bool = True) -> Self:
        """Stages that are finished stay in eval mode: their maps are what the next has to restore."""
        super().train(mode)
        for stage in list(self.encoder.stages.values())[: self.stage or 0]:
            stage.eval()
        return self

    def optimizer(self) -> Optimizer:
        """Adam, which leaves alone, weights and moments, whatever is not of the stage."""
        optimizer = super().optimizer()
        optimizer.register_step_pre_hook(self._drop_idle_gradients)
        return optimizer

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of the stage, named after it, or of the images, `reconstruction`, when all train together."""
        views = augment(batch.images, self.config.augmentation)
        if self.stage is None:
            return {"reconstruction": squared_error(self._restore(views), views)}
        names = list(self.encoder.stages)
        error = self._stage_error(views, names, self.stage)
        # DistributedDataParallel waits for a gradient of every weight: the idle ones get zeros.
        return {names[self.stage]: error + 0 * torch.stack([weight.sum() for weight in self._idle()]).sum()}

    @property
    def grace_epochs(self) -> int:
        """Every stage's turn, and one epoch of all together."""
        return int(self.config.stage_epochs) * len(self.decoders) + 1

    def inspect(self, batch: Batch) -> Inspection:
        """Images and what all decoders make of the last map; before the stages had their turns, next to nothing."""
        images = batch.images[:SHOWN]
        return Inspection(reconstructions(images, self._restore(images)))

    def _restore(self, views: Tensor) -> Tensor:
        """All decoders, unrolled: images in [0, 1]."""
        x: Tensor = self.encoder(add_noise(views, self.config.noise / SPREAD))
        for decoder in reversed(self.decoders):
            x = decoder(F.relu(x))  # every stage ends in a ReLU: its map is not negative
        return torch.sigmoid(x)

    def _stage_error(self, views: Tensor, names: list[str], stage: int) -> Tensor:
        """How badly one stage and its decoder restore what the stages below say."""
        with torch.no_grad():
            wanted = self.encoder(views, names[stage - 1]) if stage else views  # (N, D, h, w)
        x = add_noise(wanted if stage else centred(wanted), self.config.noise)
        with self.encoder.mixed(x):
            mapped = self.encoder.stages[names[stage]](x)
        restored = self.decoders[stage](mapped.to(x.dtype))
        return squared_error(F.relu(restored) if stage else torch.sigmoid(restored), wanted)

    def _idle(self) -> list[nn.Parameter]:
        """Weights that the stage does not train; none when all train together."""
        if self.stage is None:
            return []
        stages = list(self.encoder.stages.values())
        active = {*stages[self.stage].parameters(), *self.decoders[self.stage].parameters()}
        return [weight for weight in self.parameters() if weight not in active]

    def _drop_idle_gradients(self, *_: Any) -> None:
        for weight in self._idle():
            weight.grad = None
