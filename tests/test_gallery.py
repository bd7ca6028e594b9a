"""What a method showed of itself: kept beside its encoder, drawn in the report."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from methods.inspection import Figure, Grid, Matrix
from study.learning.pretrain import Plan
from study.records import Trial
from study.reporting.gallery import gallery, tiled
from study.storage import checkpoints, promoted
from study.storage.figures import read_figures, save_figures
from study.storage.folder import Folder
from tests import made_up

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FIGURES: dict[str, Figure] = {
    "Reconstructions": Grid({"original": IMAGES, "decoded": IMAGES[:2]}),
    "Samples": Grid({"painted": IMAGES}, over_epochs=True),
    "Turns": Matrix(torch.tensor([[1200, 2], [3, 4]]), ("0°", "90°"), ("0°", "90°")),
}


def completed() -> Trial:
    return next(trial for trial in made_up.trials() if trial.status == "completed")


def test_figures_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save_figures(Folder.of(tmp_path), 3, FIGURES, seed=7)
    found = read_figures(Folder.of(tmp_path), seed=7)
    assert list(found) == [3]
    for title, figure in FIGURES.items():
        again = found[3][title]
        if isinstance(figure, Matrix):
            assert isinstance(again, Matrix) and torch.equal(figure.counts, again.counts)
            assert (figure.rows, figure.columns) == (again.rows, again.columns)
        else:
            assert isinstance(again, Grid) and figure.over_epochs == again.over_epochs
            assert list(figure.rows) == list(again.rows)
            for name, images in figure.rows.items():
                assert torch.allclose(images, again.rows[name], atol=0.5 / 255 + 1e-6)


def test_figures_go_with_the_best_encoder(tmp_path: Path) -> None:
    best, history = Folder.of(tmp_path / "best"), completed().history
    for number, count in ((0, 3), (1, 1)):
        folder = Folder.of(tmp_path / str(number))
        for epoch in range(1, count + 1):
            plan = Plan("rotnet", "convnet", {}, 3, 64, number)
            checkpoints.save_encoder(folder, nn.Linear(1, 1), plan, epoch)
            save_figures(folder / checkpoints.FIGURES, epoch, FIGURES, number)
        promoted.promote(folder, best, history[:count])
        shown = tuple(promoted.read_figures(best))
        assert shown == tuple(range(1, count + 1)), "nothing is left of the best before"


def test_images_stand_where_their_row_and_column_are() -> None:
    sheet = tiled([IMAGES, IMAGES[:1, :1]])
    times = sheet.shape[0] // 18  # two rows of 8 pixels with a gap of 2
    assert sheet.shape == (18 * times, 28 * times, 3)
    small = sheet[::times, ::times]
    expected = (IMAGES[1] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(small[:8, 10:18], expected)
    grey = (IMAGES[0, 0] * 255).round().byte().numpy()
    assert all(np.array_equal(small[10:, :8, channel], grey) for channel in range(3))
    assert (small[8:10] == 255).all() and (small[10:, 10:] == 255).all()


def test_the_section_shows_the_best_epoch_and_samples_over_epochs() -> None:
    trial = completed()
    history = tuple(replace(epoch, objective=0.9 if epoch.epoch == 2 else 0.5) for epoch in trial.history)
    other: dict[str, Figure] = {"Reconstructions": Grid({"wrong": IMAGES}), "Samples": FIGURES["Samples"]}
    section = gallery(replace(trial, history=history), {1: other, 2: FIGURES, 5: other})
    assert section is not None and "after epoch 2" in section.paragraphs[0]
    first, second = section.photos
    assert first.caption == "Reconstructions. Rows from the top: original, decoded."
    assert second.caption == "Samples. Rows from the top: epoch 1, epoch 2, epoch 5."
    assert first.file == "figures/reconstructions.png"
    assert Image.open(io.BytesIO(first.png)).size[0] >= 3 * 56
    turns, numbers = section.tables
    assert turns.columns == ("Turns", "0°", "90°") and turns.rows[0] == ("0°", "1,200", "2")
    assert numbers.columns == ("epoch", "effective rank") and len(numbers.rows) == len(history)


def test_a_trial_that_showed_nothing_has_no_section() -> None:
    silent = tuple(replace(epoch, numbers={}) for epoch in completed().history)
    assert gallery(replace(completed(), history=silent), {}) is None
