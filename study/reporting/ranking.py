"""Ranking: tables of all methods of one axis, what they cost, and which beats which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from study.analysis.contests import Contest
from study.analysis.savings import labels_needed
from study.analysis.statistics import Series
from study.reporting.compared import BASELINES, Compared, Place
from study.reporting.pages import Section, Table
from study.reporting.wording import accuracy, duration, label_count, points, verdict

BETTER, WORSE, OPEN = "+", "−", "·"  # of a row against a column


def rankings(data: Compared) -> Section:
    """A table a mode: the pretrained curves and the baselines, by area."""
    tables = tuple(_ranking(data, mode) for mode in data.modes or ["no pretraining"])
    note = (
        "By the area under accuracy against log(labels): the mean accuracy over the label counts that the curves have "
        "in common. Labels that equal a curve are what training on labels alone needs for the same mean accuracy. "
        "Means [95 % t-interval] over draws of the labels. Images seen, time of all lanes and trials (completed / "
        "pruned / failed) are those of the search; a comparison is fair where they are alike. A baseline that another "
        "method's study holds beside its own curves has had no search."
    )
    return Section(f"{data.group.title}: ranking", (note,), tables)


def beats(data: Compared) -> Section | None:
    """A matrix a mode: which method is separated from which at the central label count."""
    contests = [data.contests[mode, data.central] for mode in data.modes if (mode, data.central) in data.contests]
    tables = tuple(_matrix(data, contest) for contest in contests if len(contest.means) > 1)
    if not tables:
        return None
    note = (
        f"A row against a column: {BETTER} better, {WORSE} worse, {OPEN} not separated. Differences are paired over "
        "draws; separated means p < 0.05 in a paired t-test, Holm-corrected over all pairs of a table: "
        f"{', '.join(f'{len(contest.pairs)} {contest.mode}' for contest in contests if contest.pairs)}. "
        "Not separated is not equal: few draws separate little. Ask about another label count with "
        "python -m study.report --labels N."
    )
    return Section(f"{data.group.title}: which beats which with {data.central[1]:,} labels", (note,), tables)


def _ranking(data: Compared, mode: str) -> Table:
    shown = _three(data.places, data.central)
    contest = data.contests.get((mode, data.central))
    rows = []
    for series in data.ranked(mode):
        cells = [data.accuracy.get((series, place)) for place in shown]
        area = data.areas.get(series)
        rows.append(
            (
                data.names[series],
                accuracy(area) if area else "",
                *(accuracy(cell) if cell else "" for cell in cells),
                *_against_alone(data, contest, series),
                *_cost(data, series),
            )
        )
    labels = f"{data.central[1]:,}"
    return Table(
        (
            *(mode, "area"),
            *(f"{place[1]:,} labels" for place in shown),
            *(f"with {labels}, against the labels alone", "verdict", f"labels that equal it with {labels}"),
            *("images seen", "time of all lanes", "trials"),
        ),
        tuple(rows),
    )


def _three(places: Sequence[Place], central: Place) -> list[Place]:
    """The fewest labels, the central count and the most; where the central one is one of those, the middle too."""
    shown = {places[0], central, places[-1]}
    return sorted(shown if len(shown) == 3 else shown | {places[len(places) // 2]})


def _against_alone(data: Compared, contest: Contest | None, series: Series) -> tuple[str, str, str]:
    if contest is None or series not in contest.alone:
        return "", "", ""
    comparison = contest.alone[series]
    needed = labels_needed(data.curves, series, data.alone[series], contest.labels)
    return points(comparison.difference), verdict(comparison), label_count(needed) if needed else ""


def _cost(data: Compared, series: Series) -> tuple[str, str, str]:
    result = data.study(series)
    if series.mode in BASELINES and series.mode != series.method:
        return "", "", ""
    status = Counter(trial.status for trial in result.trials)
    return (
        f"{sum(trial.images_seen for trial in result.trials):,}",
        duration(sum(trial.seconds for trial in result.trials)),
        f"{status['completed']} / {status['pruned']} / {status['failed']}",
    )


def _matrix(data: Compared, contest: Contest) -> Table:
    ordered = [mean.series for mean in contest.means]
    known = {}
    for pair in contest.pairs:
        better = pair.separated and pair.difference.mean > 0
        worse = pair.separated and pair.difference.mean < 0
        known[pair.first, pair.second] = BETTER if better else WORSE if worse else OPEN
        known[pair.second, pair.first] = WORSE if better else BETTER if worse else OPEN
    rows = []
    for place, series in enumerate(ordered, 1):
        signs = [known.get((series, other), "") for other in ordered]
        rows.append((f"{place} {data.names[series]}", *signs, str(signs.count(BETTER)), str(signs.count(WORSE))))
    numbers = (str(place) for place in range(1, len(ordered) + 1))
    return Table((f"{contest.mode}, {contest.labels:,} labels", *numbers, "beats", "is beaten by"), tuple(rows))
