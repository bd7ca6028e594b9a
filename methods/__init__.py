"""Pretraining methods by the name that `--method` takes. To add one: a file here, and its line below."""

from __future__ import annotations

from methods.adversarial_autoencoder import AdversarialAutoencoder
from methods.autoencoder import Autoencoder
from methods.began import BEGAN
from methods.colorization import Colorization
from methods.dcgan import DCGAN
from methods.deepcluster import DeepCluster
from methods.method import Method
from methods.random import Random
from methods.recolor import Recolor
from methods.rotnet import RotNet
from methods.siamese_vae import SiameseVAE
from methods.simclr import SimCLR
from methods.stacked_autoencoder import StackedAutoencoder
from methods.supervised import Supervised
from methods.vae import VAE
from methods.wgan import WGAN

METHODS: dict[str, type[Method]] = {
    "rotnet": RotNet,
    "autoencoder": Autoencoder,
    "stacked_autoencoder": StackedAutoencoder,
    "vae": VAE,
    "siamese_vae": SiameseVAE,
    "adversarial_autoencoder": AdversarialAutoencoder,
    "deepcluster": DeepCluster,
    "colorization": Colorization,
    "recolor": Recolor,
    "dcgan": DCGAN,
    "wgan": WGAN,
    "began": BEGAN,
    "simclr": SimCLR,
    "supervised": Supervised,
    "random": Random,
}
