"""The curve: which classifiers to fit for it, tuned on validation first, then fitted on every budget and draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from methods import METHODS
from methods.method import Config
from study.cluster.lanes import Lanes
from study.cluster.messages import Failure, Job
from study.learning.features import Score
from study.learning.jobs import FROZEN, Classifier, Fitting, Images, Outcome, classifier_config, run_fitting
from study.records import PRETRAINED, Budget, Fit, Mode, Split, Study, Trial
from study.storage.folder import Folder

# What tuning tries at the objective's budget: the same number of settings for both trained modes.
SUPERVISED_LR = (5e-4, 1e-3, 2e-3)
ENCODER_LR = (1e-4, 3e-4, 1e-3)
HEAD_LR = 1e-3
TUNING_DRAWS = 2


@dataclass(frozen=True)
class Tuned:
    """The settings that validation chose for one mode."""

    config: Config
    encoder_lr: float


class CurveError(RuntimeError):
    """A classifier of the curve could not be fitted."""


def modes(study: Study) -> tuple[Mode, ...]:
    """The modes of a study's curve."""
    return modes_of(study.method, study.modes)


def modes_of(method: str, asked: Sequence[Mode]) -> tuple[Mode, ...]:
    """Those of `asked` that make sense for a method, or all that do and cost little where none is asked for.

    A method that reads labels has nothing to transfer, an untrained one little. Raises ValueError where none is left.
    """
    sensible: tuple[Mode, ...] = ("frozen", "finetuned", "supervised", "random")
    on_request: tuple[Mode, ...] = ("frozen_mlp",)
    if METHODS[method].reads_labels:
        sensible, on_request = ("supervised", "random"), ()
    elif not METHODS[method].trains:
        sensible = ("frozen", "supervised", "random")
    found = tuple(mode for mode in (*sensible, *on_request) if mode in (asked or sensible))
    if not found:
        raise ValueError(f"{method} has no mode {', '.join(asked)}: --modes takes {', '.join(sensible)} with it")
    return found


def draw_curve(
    study: Study,
    images: Images,
    lanes: Lanes,
    best: Trial,
    encoders: Mapping[int, Folder],
    have: Sequence[Fit],
    fitted: Callable[[Sequence[Fit]], None],
    progress: Callable[[int, int], None],
) -> None:
    """Fit every classifier of the curve that `have` lacks; `fitted` is told of each, on validation and on test.

    Some that `have` holds may be told again, the same. `encoders` are the folders of the encoders by repeat: 0 is the
    best trial's own. `progress` hears (classifiers fitted, classifiers in all).
    Raises CurveError where a fit fails.
    """
    known = {(fit.repeat, fit.mode, _budget(study, fit), fit.draw) for fit in have}
    points = _points(study, sorted(encoders))
    # Heads that are trained together come out a hair different in other company: a group is fitted whole or not.
    torn = {
        _together(repeat, mode, draw)
        for repeat, mode, budget, draw in points
        if (repeat, mode, budget, draw) not in known
    }
    missing = [
        (repeat, mode, budget, draw)
        for repeat, mode, budget, draw in points
        if (repeat, mode, budget, draw) not in known or (mode in FROZEN and _together(repeat, mode, draw) in torn)
    ]
    base = classifier_config(best.params)
    candidates = {
        mode: _candidates(mode, base, study, best) for mode in dict.fromkeys(mode for _, mode, _, _ in missing)
    }
    tuning = [
        Classifier(mode, study.objective_budget, draw, tuned.config, tuned.encoder_lr, test=False)
        for mode, tried in candidates.items()
        if len(tried) > 1
        for tuned, draw in product(tried, range(TUNING_DRAWS))
    ]
    total, done = len(tuning) + len(missing), 0
    found: dict[tuple[Mode, Tuned], list[float]] = defaultdict(list)
    for outcome in _run(study, images, lanes, encoders, tuning, "tune"):
        each = outcome.classifier
        if outcome.fitted.validation is not None:
            found[each.mode, Tuned(each.config, each.encoder_lr)].append(outcome.fitted.validation.accuracy)
        done += 1
        progress(done, total)
    chosen = {
        mode: max(tried, key=lambda tuned: np.mean(found[mode, tuned] or 0)) for mode, tried in candidates.items()
    }
    wanted = [
        Classifier(mode, budget, draw, chosen[mode].config, chosen[mode].encoder_lr, test=True, repeat=repeat)
        for repeat, mode, budget, draw in missing
    ]
    for outcome in _run(study, images, lanes, encoders, wanted, "fit"):
        fitted(_records(study, outcome, best))
        done += 1
        progress(done, total)


def repeats(study: Study) -> range:
    """The repeats of a study's curve. Where nothing is pretrained, draws vary all that a seed varies."""
    return range(study.repeats if set(PRETRAINED) & set(modes(study)) else 1)


def _points(study: Study, repeats: Sequence[int]) -> list[tuple[int, Mode, Budget, int]]:
    """Every classifier of the curve: repeat, mode, budget and draw, the largest budgets of the first repeat first."""
    return [
        (repeat, mode, budget, draw)
        for repeat, budget, mode, draw in product(repeats, reversed(study.budgets), modes(study), range(study.draws))
        # With all labels every draw is the same, and so are heads on the same features: one is all there is.
        if not (mode in ("frozen", "frozen_mlp") and budget.fraction == 1 and draw > 0)
        # The baselines are not pretrained: a draw has its own fit seed, and its own untrained encoder.
        if repeat == 0 or mode in PRETRAINED
    ]


def _candidates(mode: Mode, base: Config, study: Study, best: Trial) -> list[Tuned]:
    """What validation chooses from; a single one needs no tuning."""
    if mode in FROZEN:
        return [Tuned(base, 0.0)]
    if METHODS[study.method].reads_labels:  # its own search has tuned it
        return [Tuned(base, base.lr)]
    small = replace(base, batch_size=32)  # the label subsets are small
    if mode == "supervised":
        own = replace(small, augmentation=Config.augmentation, dropout=Config.dropout)  # nothing of the pretraining's
        return [Tuned(replace(own, lr=lr), lr) for lr in SUPERVISED_LR]
    return [Tuned(replace(small, lr=HEAD_LR), lr) for lr in ENCODER_LR]


def _run(
    study: Study,
    images: Images,
    lanes: Lanes,
    encoders: Mapping[int, Folder],
    classifiers: Sequence[Classifier],
    purpose: str,
) -> Iterable[Outcome]:
    """Spread classifiers over the lanes: those that share features together, the trained ones one by one."""
    groups: dict[tuple[object, ...], list[Classifier]] = defaultdict(list)
    for place, each in enumerate(classifiers):
        alone = () if each.mode in FROZEN else (place // study.workers,)
        groups[(*_together(each.repeat, each.mode, each.draw), *alone)].append(each)
    jobs = [
        Job(
            f"{study.name}-{purpose}-{number}",
            run_fitting,
            Fitting(
                images,
                study.encoder,
                study.tap,
                encoders[group[0].repeat] if group[0].mode in PRETRAINED else None,
                tuple(group),
                study.seed,
                study.validation,
                study.precision,
            ),
        )
        for number, group in enumerate(groups.values())
    ]
    for job, answer in lanes.run(jobs):
        if isinstance(answer, Failure):
            raise CurveError(f"{job.argument.classifiers[0].mode} classifiers failed: {answer.reason}\n{answer.detail}")
        yield answer


def _together(repeat: int, mode: Mode, draw: int) -> tuple[Mode, int]:
    """What classifiers have in common that share features: the encoder."""
    return (mode, draw) if mode == "random" else (mode, repeat)


def _budget(study: Study, fit: Fit) -> Budget:
    if study.labels_per_class:
        return Budget(labels_per_class=round(fit.labels_per_class))
    return Budget(fraction=fit.fraction)


def _records(study: Study, outcome: Outcome, best: Trial) -> list[Fit]:
    each, fitted = outcome.classifier, outcome.fitted
    assert fitted.test is not None
    scores: dict[Split, Score | None] = {"validation": fitted.validation, "test": fitted.test}
    return [
        Fit(
            mode=each.mode,
            fraction=outcome.labels / study.train_labels if each.budget.fraction is None else each.budget.fraction,
            labels=outcome.labels,
            labels_per_class=outcome.labels / len(study.classes),
            draw=each.draw,
            seed=study.seed,
            split=split,
            accuracy=found.accuracy,
            top5=found.top5,
            trial_id=best.trial_id if each.mode in PRETRAINED else None,
            seconds=fitted.seconds,
            repeat=each.repeat,
        )
        for split, found in scores.items()
        if found is not None
    ]
