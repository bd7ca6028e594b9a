"""The report over all studies answers, ranks and compares many methods, and says what shares no axis and why."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from methods.space import Value
from study.analysis.statistics import compare
from study.records import Fit, Mode, Study
from study.report import main, write_comparison_report
from study.reporting.compared import Compared, compared
from study.reporting.comparison_page import comparison_page
from study.reporting.latex import escaped, to_latex
from study.reporting.pages import Page, to_html, to_markdown
from study.reporting.side_by_side import StudyResults, differences, grouped, refusals
from tests import made_up
from tests.test_report import store

METHODS = ("autoencoder", "vae", "dcgan", "rotnet", "simclr", "wgan", "began", "recolor")


def result(study: Study, fits: list[Fit]) -> StudyResults:
    return StudyResults(study.name, study, made_up.trials(3), fits)


def many(dataset: str = "photo-digits") -> list[StudyResults]:
    """Eight methods, each a little better than the one before it, and their baselines."""
    found = []
    for place, method in enumerate(METHODS):
        modes: dict[Mode, tuple[float, float]] = {
            "frozen": (0.26 + 0.015 * place, 0.93),
            "finetuned": (0.22 + 0.015 * place, 0.93),
            "supervised": (0.19, 0.95),
            "random": (0.23, 0.87),
        }
        study = replace(made_up.study(f"{dataset}-{method}", method), dataset=dataset)
        found.append(result(study, made_up.fits(modes, seed=place)))
    return found


@pytest.fixture(scope="module")
def data() -> Compared:
    found = compared(grouped(many())[0])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def whole() -> Page:
    return comparison_page(many())


@pytest.fixture(scope="module")
def page(whole: Page) -> str:
    return to_html(whole)


def section(markdown: str, title: str) -> str:
    return next(part for part in markdown.split("\n## ") if part.startswith(title))


def test_the_answer_names_the_method_the_labels_alone_and_the_labels_saved(whole: Page) -> None:
    lead = whole.lead[0]
    number = r"\d+\.\d"
    assert re.fullmatch(
        rf"photo-digits: with 63 labels, recolor frozen is best with {number} % \[.*\], not separated from .*\. "
        rf"Training on those labels alone reaches {number} % \[.*\]: \+{number} points \[.*\], separated \(p .*\)\. "
        r"recolor frozen with 63 labels equals supervised with \d+ \[\d+, \d+\]\. "
        r"Some pretraining is separated from the labels alone and above them .*\.",
        lead,
    )


def test_each_data_set_is_answered_on_its_own() -> None:
    lead = comparison_page([*many()[:2], *many("fashion-mnist")[:2]]).lead
    assert lead[0].startswith("fashion-mnist: with 63 labels")
    assert lead[1].startswith("photo-digits: with 63 labels")


def test_another_label_count_can_be_asked_about() -> None:
    page = comparison_page(many()[:3], labels=500)
    assert page.lead[0].startswith("photo-digits: with 628 labels")
    assert any(section.title == "photo-digits: which beats which with 628 labels" for section in page.sections)


def test_a_ranking_goes_by_area_and_shows_what_each_method_cost(data: Compared, whole: Page) -> None:
    markdown = section(to_markdown(whole), "photo-digits: ranking")
    header, _, *rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    assert [header[place].strip("| ") for place in (0, 1, -3, -2)] == [
        "frozen",
        "area",
        "images seen",
        "time of all lanes",
    ]
    ranked = [row[0].strip("| ") for row in rows[:10]]
    assert ranked == [data.names[series] for series in data.ranked("frozen")]
    assert {"supervised", "random"} < set(ranked)
    heights = [float(row[1].split(" %")[0]) for row in rows[:10]]
    assert heights == sorted(heights, reverse=True)
    seen = f"{sum(trial.images_seen for trial in made_up.trials(3)):,}"
    cost = {row[0].strip("| "): row[-3] for row in rows[:10]}
    assert cost["recolor"] == seen
    assert cost["random"] == ""  # another method's study holds it


def test_an_unfinished_curve_has_no_area_and_shortens_no_other(data: Compared) -> None:
    *others, last = many()
    short = result(last.study, [fit for fit in last.fits if fit.mode == "frozen" and fit.fraction < 0.05])
    found = compared(grouped([*others, short])[0])
    assert found is not None
    assert not [series for series in found.areas if series.method == "recolor"]
    kept = {series: area for series, area in data.areas.items() if series in found.areas}
    assert {series: found.areas[series] for series in kept} == kept


def test_the_three_families_are_corrected_each_by_itself(data: Compared) -> None:
    contest = data.contests["frozen", data.central]
    assert len(contest.pairs) == 8 * 7 / 2
    assert len(contest.alone) == len(contest.untrained) == 8
    rows = data.curves[data.curves["labels"] == data.central[1]]
    series = contest.means[3].series
    (single,) = compare(rows, [(series, data.alone[series])])
    family = contest.alone[series].p
    assert single.p is not None and family is not None
    assert single.p < family <= 8 * single.p


def test_a_matrix_says_the_same_of_both_sides(whole: Page) -> None:
    markdown = section(to_markdown(whole), "photo-digits: which beats which")
    lines = [line.strip("| ").split(" |") for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line[1:]] for line in lines[2:10]]
    assert {sign for row in rows for sign in row[:8]} == {"+", "−", "·", ""}
    opposite = {"+": "−", "−": "+", "·": "·", "": ""}
    for i, row in enumerate(rows):
        assert row[i] == ""
        assert [rows[j][i] for j in range(8)] == [opposite[sign] for sign in row[:8]]
        assert row[8:] == [str(row[:8].count("+")), str(row[:8].count("−"))]


def test_of_many_curves_the_best_three_and_the_baselines_stand_out(page: str) -> None:
    wide = page.split("<svg")[1]
    strands = re.findall(r'<g class="strand( lit)?"><title>(\w+)', wide)
    assert len(strands) == len(METHODS) + 2
    assert {name for lit, name in strands if lit} == {"recolor", "began", "wgan", "supervised", "random"}
    assert page.count('<div class="panels">') == 1
    panels = page.split('<div class="panels">')[1].split("</div>")[0]
    assert re.findall(r'<text class="title"[^>]*>(\w+)<', panels) == list(METHODS[::-1])


class _Reader(HTMLParser):
    """What a reader sees without JavaScript and without pointing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.inside: list[str] = []
        self.links: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line", "path", "rect", "img"):
            self.inside.append(tag)
        self.links += [(tag, value or "") for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "title"} & set(self.inside):
            self.seen.append(data)


def test_the_page_needs_no_network_and_no_javascript(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    assert {link for _, link in reader.links} == {f"photo-digits-{method}/report.html" for method in METHODS}
    assert {tag for tag, _ in reader.links} == {"a"}
    outside = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[\w.]+\.\w|url\(|@import|fetch\(|XMLHttpRequest|import\(", outside)
    seen = " ".join(" ".join(reader.seen).split())
    assert "recolor frozen with 63 labels equals supervised with" in seen
    assert len(re.findall(r"\d\d\.\d\s% \[\d\d\.\d, \d\d\.\d\]", seen)) > 18 * len(made_up.FRACTIONS)


def test_the_figures_are_kept_beside_the_markdown(tmp_path: Path) -> None:
    for each in many()[:2]:
        store(tmp_path, each.study, each.fits)
    write_comparison_report(tmp_path)
    pictures = re.findall(r"!\[.*\]\(<(.*)>\)", (tmp_path / "report.md").read_text())
    assert pictures == ["figures/photo-digits-frozen.svg", "figures/photo-digits-finetuned.svg"]
    assert all("prefers-color-scheme: dark" in (tmp_path / picture).read_text() for picture in pictures)


def test_latex_marks_the_best_and_what_is_not_separated_from_it(data: Compared) -> None:
    lines = to_latex([data]).splitlines()
    places = len(made_up.FRACTIONS)
    frozen = lines[next(i for i, line in enumerate(lines) if r"\itshape frozen" in line) + 1 :][: len(METHODS)]
    cells = [line.removesuffix(r" \\").split(" & ") for line in frozen]
    assert all(len(row) == 1 + places for row in cells)
    assert [row[0] for row in cells] == [data.names[s] for s in data.ranked("frozen") if s.mode == "frozen"]
    contest = data.contests["frozen", data.central]
    column = 1 + data.places.index(data.central)
    best = contest.means[0].series
    marked = {row[0] for row in cells if row[column].endswith(r"$^\dagger$")}
    close = {s.method for pair in contest.against(best) if not pair.separated for s in (pair.first, pair.second)}
    assert [row[0] for row in cells if row[column].startswith(r"\textbf{")] == [best.method]
    assert marked == close - {best.method}


def test_latex_shows_names_of_users_as_text() -> None:
    assert escaped("50% of a_b & {c}$\\x#~^") == (
        r"50\% of a\_b \& \{c\}\$\textbackslash{}x\#\textasciitilde{}\textasciicircum{}"
    )


def test_the_latex_file_is_written_on_request(tmp_path: Path) -> None:
    store(tmp_path, FIRST, made_up.fits({"frozen": (0.3, 0.9)}))
    assert main(["--results", str(tmp_path)]) == 0
    assert not (tmp_path / "report.tex").exists()
    assert main(["--results", str(tmp_path), "--latex"]) == 0
    assert r"\begin{tabular}" in (tmp_path / "report.tex").read_text()


FIRST = made_up.study()
OTHER = made_up.study("other", "vae")


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (
            replace(OTHER, data_hash="0ther"),
            "other images, labels or test split (data hash 0ther rather than 5b1f00d5)",
        ),
        (replace(OTHER, data_hash="0ther", image_size=64), "other images (image size 64 rather than 32 pixels)"),
        (replace(OTHER, seed=1), "another split and other label subsets (seed 1 rather than 0)"),
        (replace(OTHER, test_images=99), "another test split (99 rather than 270 images)"),
        (replace(OTHER, train_labels=9), "other label subsets (of 9 rather than 1,257 images)"),
    ],
)
def test_what_shares_no_axis_is_named_with_the_reason(study: Study, reason: str) -> None:
    fits = made_up.fits({"frozen": (0.3, 0.9)})
    results = [result(FIRST, fits), result(replace(FIRST, name="second"), fits), result(study, fits)]
    groups = grouped(results)
    assert sorted(len(group.results) for group in groups) == [1, 2]
    assert refusals(groups) == [f"other shares no axis with photo-digits-rotnet and second: {reason}."]
    assert refusals(groups)[0] in comparison_page(results).lead


def test_other_settings_share_the_axis_and_are_shown() -> None:
    fits = made_up.fits({"frozen": (0.3, 0.9)})
    other = replace(OTHER, encoder="nin", tap="conv2", epochs=3, pool_limit=5000, lanes=4)
    assert refusals(grouped([result(FIRST, fits), result(other, fits)])) == []
    markdown = section(
        to_markdown(comparison_page([result(FIRST, fits), result(other, fits)])), "photo-digits: studies"
    )
    assert "| study | encoder | epochs | pool limit | tap |" in markdown
    assert "| other | nin | 3 | 5,000 | conv2 |" in markdown
    same = comparison_page([result(FIRST, fits), result(replace(FIRST, name="second"), fits)])
    assert "The studies differ in no setting but the method." in to_markdown(same)


def test_a_method_is_compared_with_the_baseline_of_its_own_encoder() -> None:
    first = result(FIRST, made_up.fits({"frozen": (0.3, 0.9), "supervised": (0.2, 0.9)}))
    nin = result(replace(OTHER, encoder="nin"), made_up.fits({"frozen": (0.4, 0.9), "random": (0.2, 0.8)}))
    found = compared(grouped([first, nin])[0])
    assert found is not None
    assert {series.study for series in found.alone} == {FIRST.name}
    assert {series.study for series in found.untrained} == {"other"}


def test_an_untrained_encoder_is_compared_where_it_is_read() -> None:
    early = replace(FIRST, tap="conv2")
    first = result(early, made_up.fits({"frozen": (0.3, 0.9), "supervised": (0.2, 0.9), "random": (0.2, 0.8)}))
    late = result(replace(OTHER, tap="conv3"), made_up.fits({"frozen": (0.4, 0.9), "random": (0.3, 0.85)}))
    found = compared(grouped([first, late])[0])
    assert found is not None
    assert {(series.study, other.study) for series, other in found.untrained.items()} == {
        (FIRST.name, FIRST.name),
        ("other", "other"),
    }
    assert {other.study for other in found.alone.values()} == {FIRST.name} and len(found.alone) == 2


def test_of_two_baselines_the_stronger_on_validation_counts_whoever_ran_it() -> None:
    def validated(low: float, high: float, fractions: tuple[float, ...] = made_up.FRACTIONS) -> list[Fit]:
        tested = made_up.fits({"supervised": (low, high)}, fractions=fractions)
        return tested + [replace(fit, split="validation") for fit in tested]

    first = result(FIRST, made_up.fits({"frozen": (0.3, 0.9)}) + validated(0.4, 0.96))
    weaker = result(made_up.study("weaker", "supervised"), validated(0.3, 0.9))
    partial = result(made_up.study("partial", "supervised"), validated(0.8, 0.97, fractions=(0.5, 1.0)))
    found = compared(grouped([weaker, first, partial])[0])
    assert found is not None
    assert {series.study for series in found.alone} == {FIRST.name}


def test_an_encoder_of_a_baseline_is_no_pretraining() -> None:
    fits = made_up.fits({"frozen": (0.3, 0.9), "random": (0.2, 0.8)})
    found = compared(grouped([result(FIRST, fits), result(made_up.study("none", "random"), fits)])[0])
    assert found is not None
    assert sorted((series.method, series.mode) for series in found.names) == [
        ("random", "random"),
        ("rotnet", "frozen"),
    ]


def test_nothing_of_a_results_folder_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "sprung").touch, ())

    folder = store(tmp_path, FIRST, made_up.fits({"frozen": (0.3, 0.9)}))
    for place in ("trials/001.json", "fits/trap.pkl", "checkpoints/best/encoder.pt", "trap.pickle"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SystemExit):
        main(["--results", str(tmp_path)])
    (folder / "trials" / "001.json").unlink()
    assert main(["--results", str(tmp_path)]) == 0
    assert not (tmp_path / "sprung").exists()


def test_studies_of_one_axis_that_began_otherwise_say_so() -> None:
    warm: tuple[dict[str, Value], ...] = ({"lr": 1e-3, "batch_size": 32}, {"lr": 2e-3, "batch_size": 64})
    cold = made_up.study("cold")
    studies = [cold, replace(cold, name="warm", warm_start=warm, patience=20, precision="bfloat16")]
    (group,) = grouped([StudyResults(study.name, study, [], []) for study in studies])
    table = differences(group)
    assert table is not None
    assert table.columns == ("study", "precision", "warm start", "patience")
    assert table.rows == (("cold", "float32", "none", "none"), ("warm", "bfloat16", "2 settings", "20"))
