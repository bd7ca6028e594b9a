"""What a report says of early stopping: what was cut at each rung, and how well early epochs ranked the last."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.rungs import REDUCTION, Ranking, rung_epochs, rungs
from study.records import Study, Trial
from study.reporting.figures import NARROW, WIDE
from study.reporting.pages import Picture, Section, Table
from study.reporting.rung_plots import draw_learning, draw_rankings
from study.reporting.wording import listed, percent


def stopping(study: Study, trials: Sequence[Trial]) -> Section:
    """How the trials learned, where they were cut and what that saved. A trial must have finished an epoch."""
    at = rung_epochs(study)
    ran = sum(trial.epochs for trial in trials)
    whole = study.epochs * sum(trial.status != "failed" for trial in trials)
    paragraphs = []
    if at:
        epochs = listed([f"{epoch:,}" for epoch in at])
        paragraphs.append(
            f"After epoch{'s' if len(at) > 1 else ''} {epochs} ASHA compares a trial with those that were there before "
            f"it, and lets it go on if it is among the best {percent(1 / REDUCTION, 0)}. The search ran {ran:,} "
            f"epochs; without a cut its trials would have run {whole:,}."
        )
    else:
        paragraphs.append(f"With {study.epochs} epochs a trial there is no rung at which ASHA could cut one.")
    elsewhere = sum(trial.status == "pruned" and trial.epochs not in at for trial in trials)
    if elsewhere:
        paragraphs.append(
            f"{elsewhere} of the trials called pruned ended between rungs, when the time of the search was over."
        )
    rows = tuple(
        (*(f"{count:,}" for count in (r.epoch, r.reached, r.cut, r.went_on)), _known(r.best_cut), _known(r.least_kept))
        for r in rungs(study, trials)
    )
    columns = ("after epoch", "trials", "cut", "went on", "best that was cut", "least that went on")
    picture = Picture(draw_learning(trials, at, WIDE), draw_learning(trials, at, NARROW))
    return Section("What early stopping cut", tuple(paragraphs), (Table(columns, rows),) if rows else (), (picture,))


def ranked_epochs(study: Study, ranked: Sequence[Ranking]) -> Section:
    """How well each epoch told the order after the last one."""
    paragraphs = (
        f"Rank correlation between the {ranked[0].trials} completed trials' validation accuracy after an epoch and "
        "after the last, with its 95 % interval over bootstrapped trials, which is too narrow where they are few. "
        f"Then what one cut does, over all sets of {REDUCTION} completed trials: how often the leader after the epoch "
        f"is also the best at the end, {percent(1 / REDUCTION, 0)} if the epoch said nothing and no values were equal, "
        "and how much lower than the best it ends, on average.",
        "Completed trials are a selected group: they survived the very cuts that are judged here and are alike, so "
        "they change places more easily than all trials would have. What a trial that was cut would have reached, "
        "nobody knows.",
    )
    told = {*rung_epochs(study), *(2**i for i in range(len(ranked).bit_length())), len(ranked)}
    rows = tuple(
        (str(r.epoch), _correlation(r), _signed(r.kendall), percent(r.kept, 0), f"{100 * r.lost:.1f} points")
        for r in ranked
        if r.epoch in told
    )
    columns = ("after epoch", "Spearman's ρ", "Kendall's τ", f"leader of {REDUCTION} is the best", "lost by keeping it")
    wide, narrow = (draw_rankings(ranked, rung_epochs(study), width) for width in (WIDE, NARROW))
    pictures = (Picture(wide, narrow),) if wide and narrow else ()
    return Section("How well early epochs ranked the last", paragraphs, (Table(columns, rows),), pictures)


def _known(objective: float | None) -> str:
    return "" if objective is None else percent(objective)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}".replace("-", "−")


def _correlation(ranking: Ranking) -> str:
    if ranking.spearman is None or ranking.low is None or ranking.high is None:
        return ""
    return f"{_signed(ranking.spearman)} [{ranking.low:.2f}, {ranking.high:.2f}]".replace("-", "−")
