"""Reports answer first, are honest about labels and draws, stand alone, and show users' text as text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.analysis.statistics import means
from study.records import Fit, Study, Trial
from study.report import main, write_comparison_report, write_study_report
from study.storage.files import write_fits, write_study, write_trial
from study.storage.tables import curves_frame, read_table
from tests import made_up

ENVIRONMENT = {"command": ["python", "-m", "study.run", "--name", "two words"], "versions": {"torch": "2.14"}}
ROTNET = made_up.fits(
    {"frozen": (0.35, 0.95), "finetuned": (0.30, 0.97), "supervised": (0.19, 0.95), "random": (0.23, 0.87)}
)
SVG = "{http://www.w3.org/2000/svg}"


def write(results: Path, study: Study, trials: Sequence[Trial], fits: Sequence[Fit]) -> Path:
    folder = results / study.name
    write_study(folder, study, ENVIRONMENT)
    write_study_report(folder, study, trials, fits)
    return folder


def store(results: Path, study: Study, fits: Sequence[Fit]) -> Path:
    folder = results / study.name
    write_study(folder, study, ENVIRONMENT)
    write_trial(folder, made_up.trials(1)[0])
    write_fits(folder, fits)
    return folder


def text(folder: Path) -> str:
    """report.html as its reader sees it without JavaScript, on one line."""
    reader = _Reader()
    reader.feed((folder / "report.html").read_text())
    return " ".join(" ".join(reader.seen).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[str] = []
        self.silent = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.silent = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.seen.append(data)


def test_the_report_begins_with_the_answer(tmp_path: Path) -> None:
    folder = write(tmp_path, made_up.study(), made_up.trials(), ROTNET)
    lead = (folder / "report.md").read_text().split("\n\n")[1]
    accuracy = r"\d\d\.\d % \[\d\d\.\d, \d\d\.\d\\?\]"
    assert re.fullmatch(
        rf"With 63 labels \(6\.3 a class\), rotnet frozen reaches {accuracy}; training on those labels alone reaches "
        rf"{accuracy}: \+\d+\.\d points \[\d+\.\d, \d+\.\d\\?\], separated \(p [<=] [\d.]+\)\.",
        lead,
    )
    frozen = next(
        m for m in means(curves_frame(made_up.study(), ROTNET)) if m.series.mode == "frozen" and m.labels == 63
    )
    assert f"rotnet frozen reaches {100 * frozen.accuracy.mean:.1f} %" in lead


def test_the_answer_tells_labels_saved_only_where_that_is_certain(tmp_path: Path) -> None:
    page = text(write(tmp_path / "far", made_up.study(), made_up.trials(), ROTNET))
    said = r"rotnet frozen with 63 labels equals training on labels alone with (\d+) \[(\d+), (\d+)\]\."
    found = re.findall(said, page)
    assert len(found) == 1
    needed, low, high = map(int, found[0])
    assert 63 < low < needed < high
    for least in (0.19, 0.35):  # the same curves, and a pretraining that does harm
        fits = made_up.fits({"frozen": (0.19, 0.95), "supervised": (least, 0.95)})
        assert "equals training" not in text(write(tmp_path / str(least), made_up.study(), made_up.trials(), fits))


def test_both_forms_of_the_report_tell_the_whole_study(tmp_path: Path) -> None:
    folder = write(tmp_path, made_up.study(), made_up.trials(), ROTNET)
    markdown, page = (folder / "report.md").read_text(), text(folder)
    for fact in (
        "11 completed, 5 pruned, 4 failed",
        "FloatingPointError: the loss is NaN in epoch 1",
        "270 labelled validation images",
        "label_smoothing",
        "0.0001 to 0.01, log scale",
        "548,052",
        "python -m study.run --name 'two words'",
        "Holm-corrected over all 14 comparisons",
        "With 63 labels",
    ):
        assert fact in markdown
        assert fact in page
    assert "![rotnet on photo-digits](<curves.svg>)" in markdown


def test_equal_curves_are_called_not_separated(tmp_path: Path) -> None:
    fits = made_up.fits({"frozen": (0.4, 0.9), "supervised": (0.4, 0.9)})
    folder = write(tmp_path, made_up.study(), made_up.trials(), fits)
    assert "frozen against those labels alone: not separated at every label count." in text(folder)


def test_one_draw_gets_no_interval_and_no_verdict(tmp_path: Path) -> None:
    fits = made_up.fits({"frozen": (0.5, 0.9), "supervised": (0.3, 0.9)}, draws=1)
    page = text(write(tmp_path, replace(made_up.study(), draws=1), made_up.trials(), fits))
    assert "[no interval]" in page
    assert "not separated (one draw)" in page
    assert "band: 95 % t-interval" not in page


def test_a_search_inside_the_label_budget_is_said_to_be_one(tmp_path: Path) -> None:
    folder = write(tmp_path, replace(made_up.study(), validation_labels=0), made_up.trials(), ROTNET)
    assert "by cross-validation inside the label budget" in text(folder)


@pytest.mark.parametrize(
    ("trials", "fits", "said"),
    [
        ([], [], "The curve is not measured yet"),
        (made_up.trials(7), [], "The best 6 of 7 trials"),
        ([t for t in made_up.trials() if t.status == "failed"], [], "0 completed, 0 pruned, 4 failed"),
        (made_up.trials(1), ROTNET[:1], "With 13 labels"),
        (made_up.trials(), made_up.fits({"supervised": (0.2, 0.9)}), "training on them alone reaches"),
        (made_up.trials(), made_up.fits({"frozen": (0.2, 0.9)}), "run --method supervised on the same data"),
    ],
    ids=["nothing", "interrupted search", "all failed", "one fit", "the baseline itself", "no baseline"],
)
def test_an_unfinished_study_has_a_report(tmp_path: Path, trials: list[Trial], fits: list[Fit], said: str) -> None:
    assert said in text(write(tmp_path, made_up.study(), trials, fits))


def test_text_of_users_is_shown_and_never_interpreted(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)">|*a* [b](javascript:alert(2)) & `c` _d_'
    study = replace(made_up.study(), dataset=evil)
    trials = [
        replace(trial, error=f"{evil}\n# not a heading") for trial in made_up.trials() if trial.status == "failed"
    ]
    folder = write(tmp_path, study, [*made_up.trials(4), *trials], ROTNET)
    reader = _Reader()
    reader.feed((folder / "report.html").read_text())
    assert "img" not in reader.tags
    assert reader.tags.count("script") == 1
    assert evil in text(folder)
    ElementTree.parse(folder / "curves.svg")
    markdown = (folder / "report.md").read_text()
    assert "<img" not in markdown.replace(r"\<img", "")
    assert "\n# not a heading" not in markdown
    assert "](javascript" not in markdown.replace(r"\](javascript", "")
    row = next(line for line in markdown.splitlines() if line.startswith("| 9 |") and "heading" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4  # three cells


def test_the_page_needs_no_other_file_and_no_network(tmp_path: Path) -> None:
    html = (write(tmp_path, made_up.study(), made_up.trials(), ROTNET) / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(|fetch\(", html)
    assert len(html) < 250_000  # each of 20 trials is drawn in five figures, at two widths
    assert "prefers-color-scheme: dark" in html


def test_the_picture_has_a_mark_a_mean_and_a_name_a_curve(tmp_path: Path) -> None:
    root = ElementTree.parse(write(tmp_path, made_up.study(), made_up.trials(), ROTNET) / "curves.svg").getroot()
    marks = [path for path in root.iter(f"{SVG}path") if "mark" in (path.get("class") or "").split()]
    assert len(marks) == 4 * len(made_up.FRACTIONS) + 4  # and one beside each name
    names = {" ".join((node.text or "").split()) for node in root.iter(f"{SVG}text")}
    assert {"frozen", "finetuned", "supervised", "random"} <= names
    assert "Mean over n = 5 draws; band: 95 % t-interval" in names


def side_by_side(results: Path) -> None:
    store(results, made_up.study(), ROTNET)
    vae = made_up.fits({"frozen": (0.3, 0.9), "random": (0.23, 0.87)}, seed=1)
    store(results, made_up.study("photo-digits-vae", "vae"), vae)


def test_studies_of_the_same_data_are_set_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side_by_side(tmp_path)
    assert main(["--results", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = text(tmp_path)
    assert "photo-digits: with 63 labels, rotnet frozen is best with" in page
    assert "Training on those labels alone reaches" in page
    assert "vae frozen" in page
    comparison = read_table(tmp_path / "comparison.parquet")
    assert len(comparison) == (4 + 2) * len(made_up.FRACTIONS)
    assert set(comparison["data_hash"]) == {"5b1f00d5"}
    assert not comparison.duplicated(["study", "mode", "fraction"]).any()


def test_a_baseline_that_two_studies_hold_counts_once(tmp_path: Path) -> None:
    side_by_side(tmp_path)
    write_comparison_report(tmp_path)
    table = (tmp_path / "report.md").read_text().split("every curve")[1]
    rows = [line for line in table.splitlines() if line.startswith("| random")]
    assert len(rows) == 1


OTHER = made_up.study("other-vae", "vae")


@pytest.mark.parametrize("study", [replace(OTHER, data_hash="0ther"), replace(OTHER, seed=1)], ids=["images", "split"])
def test_other_images_or_another_split_share_no_axis(tmp_path: Path, study: Study) -> None:
    store(tmp_path, made_up.study(), ROTNET)
    store(tmp_path, study, made_up.fits({"frozen": (0.3, 0.9)}))
    write_comparison_report(tmp_path)
    html = (tmp_path / "report.html").read_text()
    pictures = [{"rotnet", "vae"} & set(re.findall(r">([a-z]+)</text>", figure)) for figure in html.split("<svg")[1:]]
    assert {"vae"} in pictures
    assert {"rotnet", "vae"} not in pictures
    assert "Only studies of the same images and the same split share an axis" in text(tmp_path)


def test_a_user_error_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--results", str(tmp_path)])
        assert ended.value.code == 2

    refused()
    folder = store(tmp_path, made_up.study(), ROTNET[:1])
    (folder / "trials" / "000.json").write_text("{")
    refused()
    write_trial(folder, made_up.trials(1)[0])
    write_study(tmp_path / "copy", made_up.study(), ENVIRONMENT)
    refused()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "no study in" in lines[0]
    assert "000.json cannot be read" in lines[1]
    assert "both hold study 'photo-digits-rotnet'" in lines[2]


def test_the_optimism_of_the_choice_stands_beside_the_labels_that_made_it(tmp_path: Path) -> None:
    validation = [replace(fit, split="validation", accuracy=fit.accuracy + 0.031) for fit in ROTNET]
    held_out = text(write(tmp_path / "a", made_up.study(), made_up.trials(), [*ROTNET, *validation]))
    assert "Optimism of the held-out choice" in held_out and "+3.1 points [3.1, 3.1]" in held_out
    within = replace(made_up.study(), validation_labels=0, validation="within-budget")
    folded = text(write(tmp_path / "b", within, made_up.trials(), [*ROTNET, *validation]))
    assert "Optimism of the choice by folds" in folded and "used no other labels" in folded
