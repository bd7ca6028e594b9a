"""supervised: the yardstick. The same encoder, trained from scratch on the labels that the budget pays for.

It must reach what any careful person gets from those labels; a pretraining that does not beat it is not worth its cost.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from methods.encoders import Encoder
from methods.inspection import Inspection, Matrix
from methods.method import Batch, Method
from methods.views import augment

MOST_SHOWN = 20  # classes: a larger table nobody reads


class Supervised(Method):
    """A linear classifier on the whole last feature map: the very network that fine-tuning starts from."""

    reads_labels = True

    def __init__(self, config: Any, encoder: Encoder, classes: int) -> None:
        super().__init__(config, encoder, classes)
        d, h, w = encoder.shape()
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(d * h * w, classes))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the class: loss `class`. Every image of the batch must have a label."""
        logits = self.head(self.encoder(augment(batch.images, self.config.augmentation)))  # (N, K)
        return {"class": F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing)}

    def inspect(self, batch: Batch) -> Inspection:
        """Which class is taken for which, up to 20 classes."""
        logits = self.head(self.encoder.in_parts(batch.images))
        count = logits.shape[1]
        if count > MOST_SHOWN:
            return Inspection()
        counts = (count * batch.labels + logits.argmax(1)).bincount(minlength=count**2).view(count, count)
        names = tuple(map(str, range(count)))
        return Inspection({"Classes by their number: true, down, and predicted, across": Matrix(counts, names, names)})
