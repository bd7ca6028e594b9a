"""The report of one study: the answer, the curve, the search, its cost, and how to repeat it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from methods.inspection import Figure
from study.analysis.savings import labels_needed
from study.analysis.statistics import Comparison, Interval, Mean, Series, compare, means
from study.records import PRETRAINED, Fit, Study, Trial, best_trial
from study.reporting.figures import NARROW, WIDE
from study.reporting.gallery import gallery
from study.reporting.labels_section import labels_used
from study.reporting.pages import Page, Picture, Section, Table
from study.reporting.plots import MODES, Curve, draw_curves
from study.reporting.search_explained import search_explained
from study.reporting.search_sections import best_trials, cost, failures, space
from study.reporting.use_sections import use_sections
from study.reporting.wording import accuracy, equals, listed, points, verdict
from study.storage.tables import curves_frame
from study.storage.uses import Uses

CURVES_PICTURE = "curves.svg"


def study_page(
    study: Study,
    environment: Mapping[str, Any],
    trials: Sequence[Trial],
    fits: Sequence[Fit],
    shown: Mapping[int, Mapping[str, Figure]],
    uses: Uses | None = None,
) -> Page:
    """Everything a reader asks. `environment` is that of study.json, `shown` the best trial's figures by epoch."""
    best = best_trial(trials)
    curves = curves_frame(study, fits)
    found = means(curves)
    modes = [mode for mode in MODES if any(mean.series.mode == mode for mean in found)]
    alone = Series(study.name, study.method, "supervised")
    against = [(Series(study.name, study.method, mode), alone) for mode in modes if mode in PRETRAINED]
    comparisons = compare(curves, against)
    sections = [
        _curve(study, modes, found, comparisons) if found else None,
        labels_used(study, curves),
        gallery(best, shown) if best is not None else None,
        *(use_sections(study, uses) if uses is not None else ()),
        best_trials(trials),
        space(study, trials),
        *search_explained(study, trials),
        cost(study, trials, fits),
        failures(trials),
        _environment(environment),
        _repeat(environment),
    ]
    return Page(
        title=f"{study.name}: {study.method} on {study.dataset}",
        lead=_answer(study, curves, modes, found, comparisons),
        sections=tuple(section for section in sections if section is not None),
    )


def _answer(
    study: Study,
    curves: pd.DataFrame,
    modes: Sequence[str],
    found: Sequence[Mean],
    comparisons: Sequence[Comparison],
) -> tuple[str, ...]:
    if not found:
        return ("The curve is not measured yet: the search has not ended, or was interrupted before it.",)
    fraction = min((mean.fraction for mean in found), key=lambda f: abs(math.log(f / study.objective_fraction)))
    here = {mean.series.mode: mean for mean in found if mean.fraction == fraction}
    paired = {c.first.mode: c for c in comparisons if c.fraction == fraction}
    sentences = []
    for mode in (mode for mode in modes if mode in here and mode in PRETRAINED):
        sentence = (
            f"With {_labels_text(here[mode], study)}, {study.method} {mode} reaches {accuracy(here[mode].accuracy)}"
        )
        if mode in paired:
            sentence += f"; training on those labels alone reaches {accuracy(here['supervised'].accuracy)}"
            sentence += f": {points(paired[mode].difference)}, {verdict(paired[mode])}"
        sentences.append(sentence + ".")
    sentences += _saved(curves, list(paired.values()))
    if not sentences and "supervised" in here:
        mean = here["supervised"]
        sentences.append(f"With {_labels_text(mean, study)}, training on them alone reaches {accuracy(mean.accuracy)}.")
    if "random" in here:
        sentences.append(f"An untrained encoder, frozen, reaches {accuracy(here['random'].accuracy)} with them.")
    if sentences and "supervised" not in modes:
        sentences.append(
            "What those labels give alone is not in this study: run --method supervised on the same data, then "
            "python -m study.report sets the two side by side."
        )
    return (*sentences, *(_overall(mode, comparisons) for mode in modes if mode in paired))


def _saved(curves: pd.DataFrame, here: Sequence[Comparison]) -> list[str]:
    """How many labels the best mode spares, of those at one label count that surely spare any."""
    better = [c for c in here if c.separated and c.difference.mean > 0]
    found = [labels_needed(curves, c.first, c.second, c.labels) for c in better]
    certain = [needed for needed in found if needed is not None and needed.certain]
    best = max(certain, key=lambda needed: needed.accuracy, default=None)
    if best is None:
        return []
    return [f"{equals(best, f'{best.first.method} {best.first.mode}', 'training on labels alone')}."]


def _overall(mode: str, comparisons: Sequence[Comparison]) -> str:
    """At which label counts a mode beats the labels alone."""
    own = [c for c in comparisons if c.first.mode == mode]
    groups = {
        "better": [f"{c.labels:,}" for c in own if c.separated and c.difference.mean > 0],
        "not separated": [f"{c.labels:,}" for c in own if not c.separated],
        "worse": [f"{c.labels:,}" for c in own if c.separated and c.difference.mean < 0],
    }
    said = [
        f"{name} at every label count" if len(counts) == len(own) else f"{name} with {listed(counts)} labels"
        for name, counts in groups.items()
        if counts
    ]
    return f"Over the whole curve, {mode} against those labels alone: {'; '.join(said)}."


def _curve(study: Study, modes: Sequence[str], found: Sequence[Mean], comparisons: Sequence[Comparison]) -> Section:
    places = sorted({(mean.fraction, mean.labels) for mean in found})
    known = {(mean.series.mode, mean.fraction, mean.labels): mean.accuracy for mean in found}
    rows = [
        (
            f"{labels:,}",
            f"{labels / len(study.classes):.3g}",
            f"{fraction:.3g}",
            *(_cell(known.get((mode, fraction, labels)), study.draws) for mode in modes),
        )
        for fraction, labels in places
    ]
    tables = [Table(("labels", "a class", "fraction", *modes), tuple(rows))]
    if comparisons:
        columns = ("mode", "labels", "against those labels alone", "verdict")
        against = [(c.first.mode, f"{c.labels:,}", points(c.difference), verdict(c)) for c in comparisons]
        tables.append(Table(columns, tuple(against)))
    curves = [Curve(mode, MODES[mode], tuple(m for m in found if m.series.mode == mode)) for mode in modes]
    title = f"{study.method} on {study.dataset}"
    picture = Picture(draw_curves(curves, title, WIDE), draw_curves(curves, title, NARROW), CURVES_PICTURE)
    worst = 1.96 * math.sqrt(0.25 / study.test_images)
    paragraphs = (
        f"Accuracy on {study.test_images:,} test images, mean [95 % t-interval] over n = {study.draws} draws of the "
        f"labels unless a cell says otherwise. {_varied(found)}: with other test images all curves may lie up to some "
        f"{100 * worst:.1f} points higher or lower. At fraction 1 all draws hold the same labels, and "
        "only the seed of the fit varies.",
        *(
            [
                "Differences are paired: both sides have the same labels in each draw. Separated means p < 0.05 in a "
                f"paired t-test, Holm-corrected over all {len(comparisons)} comparisons of this study."
            ]
            if comparisons
            else []
        ),
    )
    return Section("Accuracy against labels", paragraphs, tuple(tables), (picture,))


def _varied(found: Sequence[Mean]) -> str:
    """What the intervals speak of, up to the test images."""
    repeats = max(mean.accuracy.repeats for mean in found)
    if repeats == 1:
        return (
            "The draws vary which images are labelled and the seed of the fit, not the pretraining and not the test "
            "images"
        )
    return (
        "The draws vary which images are labelled and the seed of the fit. What is pretrained was pretrained "
        f"{repeats} times, with other seeds, and its intervals cover that too, by the random effects of both. The "
        "first of the pretrainings is the search's best trial, so it was chosen for a good validation accuracy and the "
        "others were not. Nothing varies the test images"
    )


def _environment(environment: Mapping[str, Any]) -> Section | None:
    rows = tuple(_flat("", {key: value for key, value in environment.items() if key != "command"}))
    return Section("Where it ran", (), (Table(("what", "value"), rows),)) if rows else None


def _repeat(environment: Mapping[str, Any]) -> Section | None:
    command = environment.get("command")
    if not command:
        return None
    return Section("How to repeat it", (), code=command if isinstance(command, str) else shlex.join(command))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item)
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield prefix, "none" if value is None else text or "none"


def _cell(interval: Interval | None, draws: int) -> str:
    if interval is None:
        return ""
    return accuracy(interval) + (f", n = {interval.n}" if interval.n != draws else "")


def _labels_text(mean: Mean, study: Study) -> str:
    return f"{mean.labels:,} labels ({mean.labels / len(study.classes):.3g} a class)"
