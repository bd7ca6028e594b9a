"""Pretraining methods by the name that `--method` takes. To add one: a file here, and its line below."""

from __future__ import annotations

from methods.method import Method
from methods.rotnet import RotNet
from methods.supervised import Supervised

METHODS: dict[str, type[Method]] = {
    "rotnet": RotNet,
    "supervised": Supervised,
}
