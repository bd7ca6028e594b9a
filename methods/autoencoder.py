"""autoencoder: paint the image again from a short code of a noisy copy.

Rumelhart, Hinton and Williams, "Learning Internal Representations by Error Propagation", 1986; the noise is Vincent,
Larochelle, Bengio and Manzagol's, "Extracting and Composing Robust Features with Denoising Autoencoders", 2008: the
input is corrupted, the clean image is wanted. Of their corruptions this is the Gaussian one: putting out pixels, the
other, moves the mean, which the encoder's batch norm keeps, away from that of clean images. Their fully connected
layers are the study's encoder here, the decoder is DCGAN's, and there is no augmentation or dropout, as with them. It
must beat an untrained encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods import method
from methods.decoder import code_decoder, code_layer, squared_error
from methods.encoders import Encoder
from methods.inspection import SHOWN, Grid, Inspection
from methods.method import Batch, Method
from methods.space import among, between
from methods.views import augment

SPREAD = 4  # the encoder multiplies images by this, to a standard deviation of about 1


class Autoencoder(Method):
    """Encoder, a linear layer to the code, and a convolutional decoder."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """A little noise, a short code, small batches: features of a photograph's parts take many steps to come."""

        batch_size: int = among(32, (32, 64, 128))
        code: int = among(64, (16, 32, 64, 128, 256))
        noise: float = between(
            0.25, 0.0, 1.0
        )  # standard deviation, where the images' own is 1; 0 is a plain autoencoder
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(0.0, 0.0, 1.0)

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        self.to_code = code_layer(encoder, config.code)
        self.decoder = code_decoder(config.code, encoder.channels, encoder.size)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error against the view without the noise: loss `reconstruction`."""
        views = augment(batch.images, self.config.augmentation)
        code = self.to_code(self.encoder(add_noise(views, self.config.noise / SPREAD)))  # (N, code)
        return {"reconstruction": squared_error(self.decoder(code), views)}

    def inspect(self, batch: Batch) -> Inspection:
        """Images, what the encoder saw of them, and what the decoder made of that."""
        images = batch.images[:SHOWN]
        noisy = add_noise(images, self.config.noise / SPREAD)
        rows = {"original": images, "with noise": noisy.clamp(0, 1)} if self.config.noise else {"original": images}
        return Inspection(
            {"Reconstructions": Grid(rows | {"decoded": self.decoder(self.to_code(self.encoder(noisy)))})}
        )


def add_noise(maps: Tensor, deviation: float) -> Tensor:
    """Add normal noise to every value of (N, C, H, W)."""
    return maps + deviation * torch.randn_like(maps) if deviation else maps
