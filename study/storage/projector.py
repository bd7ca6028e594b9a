"""Projector: the mapped features as TensorBoard's embedding projector opens them, `tensorboard --logdir projector`.

The format is that of tensorboard/plugins/projector/projector_config.proto and of what its plugin reads: values and
labels separated by tabs, and one square sheet of thumbnails, row by row.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.storage.files import write_whole
from study.storage.uses import Uses

PROJECTOR = "projector"  # folder, in a study's own
_CONFIG = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""


def write_projector(folder: Path, uses: Uses, classes: Sequence[str]) -> None:
    """Write folder/projector: the principal components of the pretrained features, classes, places and thumbnails."""
    shown, images = uses.shown["pretrained"], uses.album
    labels = images.classes(shown.mapped).tolist()
    names = [" ".join(name.split()) for name in classes]  # a tab or a line's end would break the table
    rows = ["class\timage", *(f"{names[c]}\t{place}" for c, place in zip(labels, shown.mapped.tolist(), strict=True))]
    pixels = (images.images(shown.mapped).movedim(1, -1) * 255).round().byte().numpy()  # (M, S, S, C)
    values = "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in shown.components.tolist())
    target = folder / PROJECTOR
    write_whole(target / "tensors.tsv", values)
    write_whole(target / "metadata.tsv", "\n".join(rows) + "\n")
    write_whole(target / "sprite.png", _png(_sheet(pixels)))
    write_whole(target / "projector_config.pbtxt", _CONFIG.format(name="features", side=pixels.shape[1]))


def _sheet(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (M, S, S, C) row by row on a square sheet, as many a row as a column: (R S, R S, 3)."""
    count, side, _, channels = pixels.shape
    each = math.ceil(math.sqrt(count))
    places = np.zeros((each * each, side, side, channels), dtype=np.uint8)
    places[:count] = pixels
    sheet = places.reshape(each, each, side, side, channels).swapaxes(1, 2).reshape(each * side, each * side, channels)
    return np.ascontiguousarray(np.broadcast_to(sheet, (*sheet.shape[:2], 3)))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
