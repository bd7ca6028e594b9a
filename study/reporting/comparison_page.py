"""The report over all studies: which method at which label count, and whether it beats the labels alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

from study.analysis.contests import Contest
from study.analysis.savings import labels_needed
from study.analysis.statistics import Interval, Series
from study.reporting.compared import Compared, Place, compared
from study.reporting.comparison_figures import each_method, pictures
from study.reporting.pages import Link, Page, Section, Table
from study.reporting.ranking import beats, rankings
from study.reporting.side_by_side import Group, StudyResults, differences, grouped, refusals
from study.reporting.wording import accuracy, duration, equals, listed, points, verdict


def comparison_page(results: Sequence[StudyResults], labels: int | None = None) -> Page:
    """All studies; those of the same images and the same split are set side by side, the others apart.

    `labels` is the label count that the answers, the rankings and the matrices speak of; None takes that of the search.
    """
    groups = grouped(results)
    lead: list[str] = []
    sections: list[Section] = []
    for group in groups:
        data = compared(group, labels)
        if data is None:
            lead.append(f"{group.title}: no curve is measured yet.")
            sections.append(_studies(group))
            continue
        lead.append(f"{group.title}: {_answer(data)}")
        sections += [_best(data), rankings(data)]
        sections += [section for section in (beats(data), each_method(data)) if section is not None]
        sections += [_curves(data), _studies(group)]
    if len(groups) > 1:
        lead.append("Only studies of the same images and the same split share an axis and are compared.")
    return Page("All studies", (*lead, *refusals(groups)), tuple(sections))


def _answer(data: Compared) -> str:
    """Which method, whether it beats the labels alone, what it saves, and where on the curve that holds."""
    best = _best_at(data, data.central)
    if best is None:
        series, mean = max(_here(data, data.central), key=lambda item: item[1].mean)
        return f"with {data.central[1]:,} labels, {data.full(series)} is best with {accuracy(mean)}."
    contest, series = best
    said = [f"with {contest.labels:,} labels, {data.full(series)} is best with {accuracy(contest.means[0].accuracy)}"]
    if close := _not_separated(data, contest, series):
        said[0] += f", not separated from {_few(close)}"
    alone = contest.alone.get(series)
    if alone is not None:
        reached = data.accuracy[alone.second, data.central]
        said.append(
            f"Training on those labels alone reaches {accuracy(reached)}: {points(alone.difference)}, {verdict(alone)}"
        )
        needed = labels_needed(data.curves, series, alone.second, contest.labels)
        if needed is not None:
            said.append(equals(needed, data.full(series), data.names[alone.second]))
        said.append(_along(data))
    return ". ".join(said) + "."


def _along(data: Compared) -> str:
    """At which label counts some pretraining beats the labels alone."""
    better = {place: [c for mode in data.modes if (c := data.contests.get((mode, place)))] for place in data.places}
    won = [f"{place[1]:,}" for place, held in better.items() if any(c.better_than_alone for c in held)]
    if not won:
        return "At no label count is a pretraining separated from the labels alone and above them"
    if len(won) == len(data.places):
        return "At every label count some pretraining is separated from the labels alone and above them"
    return f"Some pretraining is separated from the labels alone and above them with {listed(won)} labels, else none"


def _best_at(data: Compared, place: Place) -> tuple[Contest, Series] | None:
    """The best pretrained curve of all modes, and its contest."""
    held = [contest for mode in data.modes if (contest := data.contests.get((mode, place)))]
    contest = max(held, key=lambda contest: contest.means[0].accuracy.mean, default=None)
    return None if contest is None else (contest, contest.means[0].series)


def _here(data: Compared, place: Place) -> list[tuple[Series, Interval]]:
    return [(series, mean) for (series, at), mean in data.accuracy.items() if at == place]


def _not_separated(data: Compared, contest: Contest, series: Series) -> list[str]:
    """The methods of the same mode that the draws do not tell from a curve, the best first."""
    open_ = {s for pair in contest.against(series) if not pair.separated for s in (pair.first, pair.second)}
    return [data.names[mean.series] for mean in contest.means if mean.series in open_ - {series}]


def _few(names: Sequence[str]) -> str:
    """Up to three names; of more, the first two and how many others."""
    return listed(list(names)) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} others"


def _best(data: Compared) -> Section:
    note = (
        "Means [95 % t-interval] over draws of the labels. Differences are paired over draws; separated means p < 0.05 "
        "in a paired t-test. At each label count and in each mode there are three families, each Holm-corrected: all "
        "pairs of methods; each method against the same encoder trained on the labels alone; each against that "
        "encoder untrained. The intervals do not cover another pretraining or other test images. A baseline that "
        "several studies hold counts once: of those at the most label counts, the one that is best on validation."
    )
    tables = tuple(_best_of(data, mode) for mode in data.modes)
    drawn, hint = pictures(data)
    return Section(f"{data.group.title}: best at each label count", (*hint, note), tables, drawn)


def _best_of(data: Compared, mode: str) -> Table:
    rows = []
    for contest in (data.contests[mode, place] for place in data.places if (mode, place) in data.contests):
        series = contest.means[0].series
        alone, close = contest.alone.get(series), _not_separated(data, contest, series)
        rows.append(
            (
                f"{contest.labels:,}",
                data.names[series],
                accuracy(contest.means[0].accuracy),
                _few(close) if close else "none",
                points(alone.difference) if alone else "",
                verdict(alone) if alone else "",
                f"{len(contest.better_than_alone)} of {len(contest.alone)}" if contest.alone else "",
            )
        )
    columns = ("labels", f"best {mode}", "test accuracy", "not separated from", "against the labels alone", "verdict")
    return Table((*columns, "methods that beat them"), tuple(rows))


def _curves(data: Compared) -> Section:
    rows = []
    for series in data.names:
        cells = [data.accuracy.get((series, place)) for place in data.places]
        draws = sorted({cell.n for cell in cells if cell})
        n = str(draws[0]) if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"
        rows.append((data.full(series), n, *(accuracy(cell) if cell else "" for cell in cells)))
    columns = ("curve", "n", *(f"{labels:,} labels" for _, labels in data.places))
    return Section(f"{data.group.title}: every curve", (), (Table(columns, tuple(rows)),))


def _studies(group: Group) -> Section:
    rows = []
    for result in group.results:
        status = Counter(trial.status for trial in result.trials)
        rows.append(
            (
                Link(result.study.name, f"{quote(result.folder)}/report.html"),
                result.study.method,
                result.study.encoder,
                f"{status['completed']} / {status['pruned']} / {status['failed']}",
                f"{result.study.epochs:,}",
                f"{sum(trial.images_seen for trial in result.trials):,}",
                duration(sum(trial.seconds for trial in result.trials)),
                f"{result.study.validation_labels:,}",
            )
        )
    columns = ("study", "method", "encoder", "trials completed / pruned / failed", "epochs a trial", "images seen")
    table = Table((*columns, "time of all lanes", "validation labels"), tuple(rows))
    differ = differences(group)
    notes = ["A comparison is fair at equal compute: look at the images that each search has seen."]
    if len(group.results) > 1:
        notes.append(
            "The second table holds every setting in which these studies differ: they share the axis all the same."
            if differ
            else "The studies differ in no setting but the method."
        )
    return Section(f"{group.title}: studies", tuple(notes), (table, differ) if differ else (table,))
