"""What a report says of why a search came out as it did: the sections that its trials are enough for."""

from __future__ import annotations

from collections.abc import Sequence

from methods import METHODS
from methods.space import searched
from study.analysis.importance import LEAST_TRIALS, importances
from study.analysis.rungs import LEAST_COMPLETED, rankings, rung_epochs
from study.analysis.settings import Setting, settings, valued
from study.records import Study, Trial
from study.reporting.pages import Section
from study.reporting.setting_sections import all_settings, importance, one_setting, two_settings
from study.reporting.stopping_sections import ranked_epochs, stopping


def search_explained(study: Study, trials: Sequence[Trial]) -> tuple[Section, ...]:
    """Which settings mattered and what early stopping did, with a last section on what is missing and why."""
    declared = searched(METHODS[study.method].Config) if study.method in METHODS else {}
    axes = settings(declared, trials)
    if not axes:
        return ()
    values = valued(trials)
    first = next(iter(rung_epochs(study)), None)
    reached = importances(axes, trials, study.seed)
    cut = any(trial.status == "pruned" for trial in trials)
    after = importances(axes, trials, study.seed, first) if cut and first is not None else None
    if reached is not None:
        order = [each.setting for each in reached.shares]
        axes = tuple(sorted(axes, key=lambda setting: order.index(setting.name)))
    varied = [setting for setting in axes if len({trial.params[setting.name] for trial in values}) > 1]
    ranked = rankings(trials, study.seed)
    sections, missing = [], []
    if reached is not None:
        sections.append(importance(reached, after, first, trials))
    else:
        missing.append(f"Which settings mattered: {_why_no_importance(values, varied)}.")
    if values:
        sections.append(one_setting(axes, trials))
    else:
        missing.append("One setting at a time: no trial reached a value.")
    if len(values) > 1 and len(axes) > 1:
        sections.append(all_settings(axes, trials))
    else:
        missing.append(
            f"All settings at once: it takes two settings and two trials with a value; there are {len(axes)} and "
            f"{len(values)}."
        )
    if reached is not None and len(varied) > 1:
        sections.append(two_settings(varied[0], varied[1], trials))
    else:
        missing.append("The two settings that matter most: nothing tells which two matter.")
    if any(trial.history for trial in trials):
        sections.append(stopping(study, trials))
    else:
        missing.append("What early stopping cut: no trial finished an epoch.")
    if ranked:
        sections.append(ranked_epochs(study, ranked))
    else:
        completed = sum(trial.status == "completed" for trial in values)
        missing.append(
            f"How well early epochs ranked the last: it takes {LEAST_COMPLETED} completed trials of two epochs or "
            f"more; {completed} completed, of {study.epochs:,}."
        )
    return (*sections, *([Section("Too few trials to show", tuple(missing))] if missing else []))


def _why_no_importance(values: Sequence[Trial], varied: Sequence[Setting]) -> str:
    if len(values) < LEAST_TRIALS:
        return f"it takes {LEAST_TRIALS} trials with a value; {len(values)} have one"
    return "all trials reached the same value" if varied else "no setting varied"
