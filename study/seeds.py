"""Seeds: every random number of a study comes from its seed and the place where it is needed."""

from __future__ import annotations

import hashlib


def derive(*place: int | str) -> int:
    """A 63-bit seed from a path such as (seed, "epoch", 3, rank); the same on every machine and Python version."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
