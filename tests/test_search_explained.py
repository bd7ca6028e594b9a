"""The search explained: every figure keeps inside its frame, and a small search says what it is too small for."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch

from methods.colour import rgb_to_lab
from methods.space import Among, Between
from study.analysis.settings import Setting
from study.records import Study, Trial
from study.reporting.axes import axis_values
from study.reporting.figures import CHARACTER, RAMP, WIDE, Figure, shade
from study.reporting.pages import Page, Section, to_html, to_markdown, to_svg
from study.reporting.search_explained import search_explained
from study.reporting.setting_plots import draw_parallel, draw_slice
from tests import made_up

STUDY = made_up.study()
MANY = made_up.trials()
TITLES = [
    "Which settings mattered",
    "One setting at a time",
    "All settings at once",
    "The two settings that matter most",
    "What early stopping cut",
    "How well early epochs ranked the last",
]
TOO_FEW = "Too few trials to show"


def figures(sections: Sequence[Section]) -> list[Figure]:
    drawn = [figure for section in sections for p in section.pictures for figure in (p.wide, p.narrow)]
    return drawn + [figure for section in sections for figure in section.panels]


@cache
def whole() -> tuple[Section, ...]:
    """The explanation of all of them, made once."""
    return search_explained(STUDY, MANY)


def said(sections: Sequence[Section]) -> str:
    return " ".join(paragraph for section in sections for paragraph in section.paragraphs)


def test_a_whole_search_is_explained_in_every_way() -> None:
    sections = whole()
    assert [section.title for section in sections] == TITLES
    drawn = figures(sections)
    assert len(drawn) == 2 * 5 + 6  # two widths, and a panel a setting
    for figure in drawn:
        for mark in figure.marks:
            assert figure.frame.left <= mark.x <= figure.frame.right
            assert figure.frame.top <= mark.y <= figure.frame.bottom
        for cell in figure.cells:
            assert cell.x >= 0
            assert cell.x + cell.width <= figure.frame.width
        for x, y in re.findall(r"[ML]([\d.-]+),([\d.-]+)", " ".join(line.path for line in figure.lines)):
            assert figure.frame.left <= float(x) <= figure.frame.right
            assert figure.frame.top <= float(y) <= figure.frame.bottom
        assert CHARACTER * max(len(figure.note), len(figure.title)) < figure.frame.width
        assert all(0 < text.x < figure.frame.width and 0 < text.y < figure.frame.height for text in figure.texts)
        ElementTree.fromstring(to_svg(figure))
    assert search_explained(STUDY, MANY) == sections  # the report is the same each time it is made


def test_the_text_says_whom_the_figures_count() -> None:
    text = said(whole())
    assert "Optuna would count the 11 completed trials alone. Here all 16 with a value count" in text
    assert "the 5 pruned ones with the best that they had when they were cut" in text
    assert "every trial as it stood after epoch 1, all trained equally long" in text
    assert "Rank correlation between the 11 completed trials' validation accuracy" in text
    assert "Completed trials are a selected group" in text
    assert f"The search ran {11 * 9 + 5 * 2} epochs; without a cut its trials would have run {16 * 9}." in text
    assert "5 of the trials called pruned ended between rungs" in text  # made up, after two epochs


def one_valued(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, params=trials[0].params) for trial in trials]


VALUED = [trial for trial in MANY if trial.status != "failed"]
CASES: dict[str, tuple[Study, Sequence[Trial], Sequence[str], str]] = {
    "1 trial": (STUDY, MANY[:1], [TITLES[1], TITLES[4]], "it takes 10 trials with a value; 1 have one"),
    "2 trials": (STUDY, MANY[:2], [TITLES[1], TITLES[2], TITLES[4]], "it takes 10 trials with a value; 2 have one"),
    "5 trials": (STUDY, VALUED[:5], [TITLES[1], TITLES[2], TITLES[4]], "nothing tells which two matter"),
    "failed": (STUDY, [t for t in MANY if t.status == "failed"], [], "no trial finished an epoch"),
    "pruned": (
        STUDY,
        [replace(t, status="pruned", history=t.history[:2]) for t in VALUED],
        TITLES[:5],
        "0 completed, of 9",
    ),
    "one-valued": (STUDY, one_valued(VALUED), [*TITLES[1:3], *TITLES[4:]], "no setting varied"),
    "one setting": (
        STUDY,
        [replace(t, params={"lr": t.params["lr"]}) for t in MANY],
        [*TITLES[:2], *TITLES[4:]],
        "it takes two settings and two trials with a value; there are 1 and 16",
    ),
    "equal values": (
        STUDY,
        [replace(t, objective=0.5, history=tuple(replace(e, objective=0.5) for e in t.history)) for t in VALUED],
        [*TITLES[1:3], *TITLES[4:]],
        "all trials reached the same value",
    ),
    "one epoch": (
        replace(STUDY, epochs=1),
        [replace(t, status="completed", history=t.history[:1]) for t in VALUED],
        TITLES[:5],
        "16 completed, of 1",
    ),
    "unknown method": (replace(STUDY, method="gone"), MANY, TITLES, ""),
}


@pytest.mark.parametrize(("study", "trials", "shown", "why"), CASES.values(), ids=CASES)
def test_a_small_search_shows_what_it_can_and_says_why_not_the_rest(
    study: Study, trials: Sequence[Trial], shown: Sequence[str], why: str
) -> None:
    sections = search_explained(study, trials)
    titles = [section.title for section in sections]
    assert titles == [*shown, *([TOO_FEW] if why else [])]
    assert why in said(sections)
    if why:  # every missing section is named
        assert [text.split(":")[0] for text in sections[-1].paragraphs] == [t for t in TITLES if t not in shown]
    page = Page("a study", (), sections)
    assert to_markdown(page).count("(The figure is in report.html.)") == sum(
        bool(section.pictures or section.panels) for section in sections
    )
    assert to_html(page).count("<svg") == len(figures(sections))


def test_no_trials_need_no_explanation() -> None:
    assert search_explained(STUDY, []) == ()


def test_a_parallel_line_ends_at_its_trials_value_in_its_colour() -> None:
    setting = Setting("lr", Between(1e-4, 1e-2, log=True))
    low, high = (
        replace(MANY[0], number=i, objective=value, params={"lr": rate})
        for i, (value, rate) in enumerate(((0.2, 1e-4), (0.8, 1e-2)))
    )
    figure = draw_parallel([setting, setting], [high, low], WIDE)
    assert [line.style.colour for line in figure.lines] == [RAMP[0], RAMP[-1]]  # the best is drawn last, on top
    starts = [float(line.path[1:].split(",")[0]) for line in figure.lines]
    assert starts == [figure.frame.left + 10, figure.frame.right - 10]
    assert [line.text.split(":")[0] for line in figure.lines] == ["trial 0, completed", "trial 1, completed"]


def test_failed_trials_stand_below_the_scale_of_a_slice() -> None:
    trials = [*VALUED[:3], *(trial for trial in MANY if trial.status == "failed")]
    figure = draw_slice(Setting("lr", Between(1e-4, 1e-2, log=True)), trials)
    lowest = max(tick.at for tick in figure.y_ticks)
    below = [mark.style.mark for mark in figure.marks if mark.y > lowest]
    assert below == ["cross"] * (len(trials) - 3)
    assert figure.x_title == "log scale"


def test_axes_have_round_values() -> None:
    def texts(low: float, high: float, log: bool = False) -> list[str]:
        return [text for _, text in axis_values(Setting("it", Between(low, high, log)))]

    assert texts(1e-4, 1e-2, log=True) == ["0.0001", "0.001", "0.01"]
    assert texts(0.02, 0.3, log=True) == ["0.02", "0.05", "0.1", "0.2"]
    assert texts(0.011, 0.013, log=True) == ["0.011", "0.013"]
    assert texts(0, 0.6) == ["0", "0.2", "0.4", "0.6"]
    assert texts(-1, 1) == ["-1", "-0.5", "0", "0.5", "1"]
    assert texts(3, 3) == ["3"]
    assert axis_values(Setting("it", Among((32, "a")))) == [(0.25, "32"), (0.75, "a")]


def test_the_ramp_has_equal_steps_of_value_and_ends_at_the_extremes() -> None:
    assert [shade(value, 0.2, 0.9) for value in (0.2, 0.29, 0.31, 0.55, 0.9)] == ["r0", "r0", "r1", "r3", "r6"]
    assert shade(0.5, 0.5, 0.5) == "r3"


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_a_higher_value_stands_out_more_from_the_paper(scheme: int) -> None:
    css = to_svg(figures(search_explained(STUDY, MANY[:2]))[0])
    paper = lightness(re.findall(r"--paper: #(\w{6})", css)[scheme])
    ramp = [lightness(re.findall(rf"--{name}: #(\w{{6}})", css)[scheme]) for name in RAMP]
    away = [abs(value - paper) for value in ramp]
    assert away[0] > 12  # the lowest is still seen
    assert all(b - a > 6 for a, b in pairwise(away))


def lightness(colour: str) -> float:
    """L* of an RRGGBB colour, in [0, 100]."""
    rgb = torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=torch.float64)
    return rgb_to_lab(rgb.view(1, 3, 1, 1))[0, 0].item()
