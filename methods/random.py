"""random: no pretraining at all. The other yardstick beside `supervised`: an encoder as it was drawn.

Random convolutions are no bad features (Saxe et al., "On Random Weights and Unsupervised Feature Learning", 2011), so a
pretraining has something to show only where it beats them. A study of it chooses the best of as many draws as it has
trials, on validation, just as every other study chooses its best trial.
"""

from __future__ import annotations

from torch import Tensor

from methods.method import Batch, Method


class Random(Method):
    """An encoder that no step trains."""

    trains = False

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Nothing to minimise."""
        return {}
