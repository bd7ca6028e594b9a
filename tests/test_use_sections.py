"""The report sets both encoders side by side, marks what is retrieved right, and keeps its maps inside their frame."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Page, Table, to_html
from study.reporting.use_plots import MOST_CONFUSED, draw_confusion, draw_plane, draw_space
from study.reporting.use_sections import use_sections
from tests import made_up

USES = made_up.uses()
FIRST, MAPS, CONFUSED = use_sections(made_up.study(), USES)


def rows(table: Table) -> dict[object, tuple[object, ...]]:
    return {row[:-2]: row[-2:] for row in table.rows}


def test_every_figure_stands_beside_that_of_an_untrained_encoder() -> None:
    uses, stages = FIRST.tables
    assert uses.columns == ("use", "labels", "pretrained", "untrained")
    found = rows(uses)
    assert found["linear head, accuracy", "1,257"] == ("80.0 %", "60.0 %")
    assert found["vote of the nearest neighbours, accuracy", "126"] == ("70.0 % (k = 5)", "50.0 % (k = 5)")
    assert found["clusters and classes, ARI", ""] == ("0.300", "−0.010")
    assert stages.columns[0] == "stage" and [row[0] for row in stages.rows] == ["conv2", "conv3"]


def test_what_is_retrieved_wrong_has_a_thick_orange_frame_and_a_query_none() -> None:
    photo = FIRST.photos[0]
    sheet = Image.open(io.BytesIO(photo.png)).convert("RGB")
    shown = USES.shown["pretrained"].retrieved
    times = sheet.size[1] // (16 * len(shown) - 2)  # images of 8 pixels, 3 of frame around, 2 between
    for r, labels in enumerate(USES.album.classes(shown).tolist()):
        for c, label in enumerate(labels):
            corners = [sheet.getpixel((times * (16 * c + at), times * (16 * r + at))) for at in (0, 2)]
            blue, orange, white = (0, 114, 178), (213, 94, 0), (255, 255, 255)
            expected = [white, white] if c == 0 else [white, blue] if label == labels[0] else [orange, orange]
            assert corners == expected


def test_a_map_has_a_dot_an_image_inside_its_frame() -> None:
    shown = USES.shown["pretrained"]
    labels, images = USES.album.classes(shown.mapped), USES.album.images(shown.mapped)
    names = [str(c) for c in range(10)]
    for figure in (draw_plane("", shown.plane, labels, names, images), draw_space("", shown.space, labels, names)):
        places = [
            (float(x), float(y)) for dots in figure.dots for x, y in re.findall(r"M([\d.]+),([\d.]+)h0", dots.path)
        ]
        assert len(places) == len(labels)
        assert all(0 <= x <= figure.frame.width and 0 <= y <= figure.frame.height for x, y in places)
        assert all(label.x >= 0 and label.y <= figure.frame.height for label in figure.labels)
    assert figure.dots[0].space.count(" ") == (labels == labels.min()).sum() - 1


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_matrix_counts_and_shows_the_classes_with_the_most_errors(width: float) -> None:
    counts = torch.eye(30, dtype=torch.int64) * 9
    counts[3, 4], counts[29, 0] = 7, 5
    figure = draw_confusion(counts, [f"class number {c}" for c in range(30)], width)
    texts = [text.text for text in figure.texts]
    assert texts.count("9") >= MOST_CONFUSED and "7" in texts and "5" in texts
    assert all(cell.x >= 0 and cell.x + cell.width <= width for cell in figure.cells)
    assert max(text.y for text in figure.texts) < figure.frame.height


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    html = to_html(Page("t", (), (FIRST, MAPS, CONFUSED)))
    assert set(re.findall(r'(?:src|href)="([a-z]+:?)', html)) == {"data:"}
