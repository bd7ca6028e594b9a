"""Schedule: how long a classifier is trained, how its learning rate runs, and how often it is looked at."""

from __future__ import annotations

import math

CHECKS = 8  # how often a fit is looked at
PATIENCE = 3  # checks without a better one, after which it stops


def images_for(labels: int) -> int:
    """How many images a fit sees at most: 60 epochs of 13 labels, 8 of 1,257; both trained modes get the same."""
    return int(200 * labels**0.55)


def one_cycle(progress: float) -> float:
    """Share of the top learning rate at `progress` in [0, 1]: up for a tenth, down along a cosine."""
    warm = 0.1
    if progress < warm:
        return 0.1 + 0.9 * progress / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))
