"""The projector's files are read as TensorBoard reads them: rows agree, and each thumbnail stands in its place."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from study.storage.projector import write_projector
from study.storage.uses import Uses
from tests import made_up


def test_values_classes_and_thumbnails_are_of_the_same_images(tmp_path: Path) -> None:
    uses: Uses = made_up.uses()
    shown, images = uses.shown["pretrained"], uses.album
    write_projector(tmp_path, uses, ["a\tb", *"123456789"])
    folder = tmp_path / "projector"
    values = np.loadtxt(folder / "tensors.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_allclose(values, shown.components, rtol=1e-4)
    header, *rows = (folder / "metadata.tsv").read_text().splitlines()
    assert header.split("\t") == ["class", "image"] and len(rows) == len(values)
    each = math.ceil(math.sqrt(len(rows)))
    sheet = np.asarray(Image.open(folder / "sprite.png"))
    assert sheet.shape == (8 * each, 8 * each, 3)
    for place, row in enumerate(rows):
        name, image = row.split("\t")
        assert name == ("a b" if (label := images.classes(torch.tensor(int(image)))) == 0 else str(label.item()))
        down, across = divmod(place, each)
        thumbnail = sheet[8 * down : 8 * down + 8, 8 * across : 8 * across + 8]
        assert np.array_equal(thumbnail, images.pixels[images.places == int(image)][0])


def test_the_configuration_names_the_files_and_a_thumbnails_size(tmp_path: Path) -> None:
    write_projector(tmp_path, made_up.uses(), "0123456789")
    config = (tmp_path / "projector" / "projector_config.pbtxt").read_text()
    for name, file in re.findall(r'(\w+_path): "(.+)"', config):
        assert (tmp_path / "projector" / file).is_file(), name
    assert re.findall(r"single_image_dim: (\d+)", config) == ["8", "8"]
    assert config.count("{") == config.count("}") == 2
