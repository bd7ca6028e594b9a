"""siamese_vae: a VAE whose codes of two views of one image must lie closer than those of two images.

The recipe is that of a study on 96x96 images, which joined Kingma and Welling's VAE (2014) to the triplet loss of
FaceNet (Schroff, Kalenichenko and Philbin, 2015): squared error + 0.01 KL + 5 times the triplet of sampled codes,
squared distances, margin 0.5. The positive is a crop of 80 of 96 pixels, mirrored, jittered in hue and saturation,
turned by up to 20 degrees; the negative is the next image of the batch. It reached 3.6 % top-1 of 1000 classes, below
its plain VAE, as it does here; within 30,000 images it does not beat an untrained encoder. The triplet is solved in the
first epochs (from 90 to 0.01 on photo-digits), and asks for codes that ignore a mirror and a turn, which tell digits
apart. Only the image itself is decoded. Its four convolutions are the study's encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import method
from methods.decoder import code_decoder, code_layer, squared_error
from methods.encoders import Encoder
from methods.inspection import SHOWN, Inspection, reconstructions, samples
from methods.method import Batch, Method
from methods.space import among, between
from methods.vae import divergence, sample
from methods.views import augment, crop, random_colour, random_flip, random_rotation

CROP = 80 / 96  # side of the positive's part of the image
HUE, SATURATION, DEGREES = 0.05, 0.05, 20.0


class SiameseVAE(Method):
    """One encoder for both views; the decoder sees the first."""

    @dataclass(frozen=True)
    class Config(method.Config):
        """Study B's recipe."""

        batch_size: int = among(32, (32, 64, 128))
        code: int = among(64, (16, 32, 64, 128))
        beta: float = between(0.01, 0.001, 1.0, log=True)  # weight of the divergence
        triplet: float = between(5.0, 0.5, 50.0, log=True)  # weight of the triplet
        margin: float = between(0.5, 0.1, 10.0, log=True)  # in squared distance
        dropout: float = between(0.0, 0.0, 0.6)
        augmentation: float = between(0.0, 0.0, 1.0)  # of the image itself; the positive's is fixed

    def __init__(self, config: Config, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        self.to_code = code_layer(encoder, 2 * config.code)
        self.decoder = code_decoder(config.code, encoder.channels, encoder.size)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `reconstruction`, `divergence` of the image's codes, and `triplet`, all weighted."""
        views = augment(batch.images, self.config.augmentation)
        both = torch.cat((views, positive(batch.images)))
        both = both.contiguous(memory_format=torch.channels_last)
        mean, log_variance = self.to_code(self.encoder(both)).chunk(2, 1)  # (2N, code) each
        anchors, positives = sample(mean, log_variance).chunk(2)  # (N, code) each
        n = len(views)
        return {
            "reconstruction": squared_error(self.decoder(anchors), views),
            "divergence": self.config.beta * divergence(mean[:n], log_variance[:n]),
            "triplet": self.config.triplet * triplet(anchors, positives, self.config.margin),
        }

    def inspect(self, batch: Batch) -> Inspection:
        """Images decoded from the means of their codes, and images decoded from the prior."""
        images = batch.images[:SHOWN]
        mean, _ = self.to_code(self.encoder(images)).chunk(2, 1)
        drawn = self.decoder(torch.randn_like(mean))
        return Inspection(reconstructions(images, self.decoder(mean)) | samples("Samples from the prior", drawn))


def positive(images: Tensor) -> Tensor:
    """Another view of each image (N, C, S, S): cropped, mirrored, jittered, turned."""
    side = images.shape[3] * CROP
    corner = torch.rand(len(images), 2, device=images.device) * (images.shape[3] - side)  # (N, 2): top, left
    views = random_flip(crop(images, torch.cat((corner, torch.full_like(corner, side)), 1)))
    return random_rotation(random_colour(views, 0, 0, SATURATION, HUE), DEGREES)


def triplet(anchors: Tensor, positives: Tensor, margin: float) -> Tensor:
    """How much less than `margin` an anchor (N, D) is closer to its positive than to the anchor before it; the mean."""
    near = (anchors - positives).square().sum(1)  # (N,)
    far = (anchors - anchors.roll(1, 0)).square().sum(1)
    return F.relu(near - far + margin).mean()
