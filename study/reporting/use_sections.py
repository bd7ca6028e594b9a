"""What a report says of the features beside the curve: a table against an untrained encoder, stages, images, maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from study.records import Study, Use, Whose
from study.reporting.figures import NARROW, WIDE
from study.reporting.gallery import png, tiled
from study.reporting.pages import Photo, Picture, Section, Table
from study.reporting.use_plots import COLOURED, MOST_CONFUSED, draw_confusion, draw_plane, draw_space
from study.reporting.wording import percent
from study.storage.uses import Shown, Uses

_NAMES: Mapping[tuple[str, str], str] = {
    ("linear", "accuracy"): "linear head, accuracy",
    ("linear", "top5"): "linear head, among the first five",
    ("neighbours", "accuracy"): "vote of the nearest neighbours, accuracy",
    ("clustering", "accuracy"): "clusters as classes, accuracy",
    ("clustering", "nmi"): "clusters and classes, NMI",
    ("clustering", "ari"): "clusters and classes, ARI",
    ("retrieval", "mean_average_precision"): "retrieval, mean average precision",
    ("retrieval", "precision_at_10"): "retrieval, precision of the first 10",
}
_COLUMNS: Mapping[Whose, str] = {"pretrained": "pretrained", "random": "untrained"}
_RIGHT, _WRONG = (0.0, 0.447, 0.698), (0.835, 0.369, 0.0)  # blue and vermilion, as in colours.css
_EDGE = 3  # pixels of a frame


def use_sections(study: Study, uses: Uses) -> tuple[Section, ...]:
    """The figures and the retrieved images, the maps, and what is taken for what."""
    first = next(use for use in uses.figures if use.use == "clustering")
    title = "What else the features are good for"
    paragraphs = (
        f"Of the best trial's encoder and of an untrained one, both frozen and read at {first.stage}, on "
        f"{first.images:,} test images{_part(first.images, study)}. Validation chose the penalty of each linear head "
        "and the number of neighbours; distance is the cosine. Clusters are those of k-means, as many as classes, on "
        "50 principal components, whitened and at unit length; for accuracy each stands for one class of its own in "
        "the best pairing, NMI and ARI need none. In retrieval each test image looks for those of its class among all "
        "others. All are single figures: no interval is given.",
        "By stage, a linear head on what each stage of the encoder says; the curve reads "
        f"{first.stage}.{_limited(uses, study)}",
    )
    return (
        Section(title, paragraphs, (_table(uses), _stages(uses)), photos=_photos(uses)),
        _maps(uses, study),
        _confusion(uses, study),
    )


def _table(uses: Uses) -> Table:
    stage = next(use.stage for use in uses.figures if use.use == "clustering")
    found: dict[tuple[str, str, int], dict[Whose, Use]] = {}
    for use in uses.figures:
        if use.stage == stage:
            found.setdefault((use.use, use.measure, use.labels), {})[use.encoder] = use
    order = {name: place for place, name in enumerate(_NAMES)}
    rows = tuple(
        (_NAMES[use, measure], f"{labels:,}" if labels else "", *(_cell(cells.get(whose)) for whose in _COLUMNS))
        for (use, measure, labels), cells in sorted(found.items(), key=lambda item: (order[item[0][:2]], item[0][2]))
    )
    return Table(("use", "labels", *_COLUMNS.values()), rows)


def _cell(use: Use | None) -> str:
    if use is None:
        return ""
    value = f"{use.value:.3f}".replace("-", "−") if use.measure in ("nmi", "ari") else percent(use.value)
    return f"{value} (k = {use.neighbours})" if use.neighbours is not None else value


def _stages(uses: Uses) -> Table:
    linear = {
        (use.stage, use.encoder, use.labels): percent(use.value)
        for use in uses.figures
        if use.use == "linear" and use.measure == "accuracy"
    }
    budgets = sorted({labels for _, _, labels in linear})
    columns = [f"{name}, {labels:,} labels" for labels in budgets for name in _COLUMNS.values()]
    rows = tuple(
        (stage, *(linear.get((stage, whose, labels), "") for labels in budgets for whose in _COLUMNS))
        for stage in dict.fromkeys(stage for stage, _, _ in linear)
    )
    return Table(("stage", *columns), rows)


def _photos(uses: Uses) -> tuple[Photo, ...]:
    return tuple(
        Photo(
            f"Retrieval, {_COLUMNS[whose]} encoder: a query at the left and the nine test images nearest to it; framed "
            "thin in blue where they are of its class, thick in orange where not.",
            png(tiled([_framed(row, uses) for row in shown.retrieved])),
            f"figures/retrieval-{whose}.png",
        )
        for whose, shown in uses.shown.items()
    )


def _framed(row: Tensor, uses: Uses) -> Tensor:
    """A query and what it found (1 + R, 3, S + 2E, S + 2E); a query has no frame."""
    images, labels = uses.album.images(row), uses.album.classes(row)
    images = images.expand(-1, 3, -1, -1)
    side = images.shape[-1]
    framed = torch.ones(len(row), 3, side + 2 * _EDGE, side + 2 * _EDGE)
    for place in range(1, len(row)):
        right = bool(labels[place] == labels[0])
        edge = _EDGE - 1 if right else 0
        inner = framed[place, :, edge : side + 2 * _EDGE - edge, edge : side + 2 * _EDGE - edge]
        inner[:] = torch.tensor(_RIGHT if right else _WRONG)[:, None, None]
    framed[:, :, _EDGE:-_EDGE, _EDGE:-_EDGE] = images
    return framed


def _maps(uses: Uses, study: Study) -> Section:
    panels = []
    for whose, shown in uses.shown.items():
        labels, images = uses.album.classes(shown.mapped), uses.album.images(shown.mapped)
        panels.append(draw_plane(f"In the plane, {_COLUMNS[whose]}", shown.plane, labels, study.classes, images))
    shown = uses.shown["pretrained"]
    labels = uses.album.classes(shown.mapped)
    panels.append(draw_space("In space, pretrained", shown.space, labels, study.classes))
    text = (
        f"t-SNE of {len(shown.mapped):,} test images, from principal components that hold {_variance(uses.shown)} of "
        "the variance of their features at unit length. Points that lie together have like features; the distance "
        "between groups and their size say little. Labels colour the points and did not place them"
        + (f"; the first {COLOURED} classes have a colour" if len(study.classes) > COLOURED else "")
        + ". The folder projector holds the same images for TensorBoard: tensorboard --logdir projector."
    )
    return Section("Maps of the features", (text,), panels=tuple(panels))


def _confusion(uses: Uses, study: Study) -> Section:
    counts = uses.shown["pretrained"].confusion
    labels = max(use.labels for use in uses.figures)
    found = counts.diag().sum().item() / max(1, counts.sum().item())
    picture = Picture(
        draw_confusion(counts, study.classes, WIDE), draw_confusion(counts, study.classes, NARROW), "confusion.svg"
    )
    text = f"The linear head on the pretrained features with {labels:,} labels; {percent(found)} are right."
    if len(study.classes) > MOST_CONFUSED:
        text += f" Shown are the {MOST_CONFUSED} of {len(study.classes):,} classes with the most errors."
    return Section("What is taken for what", (text,), pictures=(picture,))


def _variance(shown: Mapping[Whose, Shown]) -> str:
    said = [f"{percent(each.variance.item(), 0)} ({_COLUMNS[whose]})" for whose, each in shown.items()]
    return " and ".join(said)


def _part(images: int, study: Study) -> str:
    return f" of {study.test_images:,}, a stratified part" if images < study.test_images else ""


def _limited(uses: Uses, study: Study) -> str:
    most = max(use.labels for use in uses.figures)
    if most >= study.train_labels:
        return ""
    return f" At most {most:,} of the {study.train_labels:,} labels were used, a stratified part."
