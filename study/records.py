"""Records: what a study, a trial, an epoch and a fit are. Frozen data and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the post office passes records on and needs no method, nor torch
    from methods.precision import Precision
    from methods.space import Value

Status = Literal["completed", "pruned", "failed"]
Mode = Literal["frozen", "frozen_mlp", "finetuned", "supervised", "random"]
PRETRAINED: tuple[Mode, ...] = ("frozen", "frozen_mlp", "finetuned")  # modes that start from a trial's encoder
Split = Literal["validation", "test"]
Whose = Literal["pretrained", "random"]
Validation = Literal["heldout", "within-budget"]


@dataclass(frozen=True)
class Epoch:
    """One epoch of one trial: a row of history.parquet."""

    epoch: int  # counted from 1
    loss: float  # sum of the terms, mean over the epoch
    terms: dict[str, float]  # each named loss, already weighted
    objective: float  # validation accuracy of a linear head on the frozen features, in [0, 1]
    seconds: float  # training and objective together
    images_seen: int  # in this epoch, over all workers
    images_per_second: float  # of the training alone
    numbers: dict[str, float] = field(default_factory=dict)  # what the method shows beside its loss; effective_rank


@dataclass(frozen=True)
class Trial:
    """One finished trial: a row of trials.parquet, with its epochs."""

    number: int  # counted from 0, in the order of proposal; trial 0 is the published recipe
    trial_id: str
    status: Status
    params: dict[str, Value]  # searched hyperparameters
    objective: float | None  # best over its epochs; None where none was finished
    seconds: float
    lane: int
    started_at: str  # ISO 8601, UTC
    seed: int
    error: str | None  # one line; None unless failed
    history: tuple[Epoch, ...]
    taken_from: str | None = None  # the earlier study that ran it, or its first epochs, and took its time

    @property
    def epochs(self) -> int:
        """How many epochs it ran."""
        return len(self.history)

    @property
    def images_seen(self) -> int:
        """Over all its epochs and workers."""
        return sum(epoch.images_seen for epoch in self.history)


@dataclass(frozen=True)
class Started:
    """A trial that was proposed: what a resumed study needs to go on with it."""

    number: int
    params: dict[str, Value]
    started_at: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Fit:
    """One classifier, trained on one label subset: a row of curves.parquet."""

    mode: Mode
    fraction: float  # of the labelled training images, in (0, 1]
    labels: int  # how many labels it was given
    labels_per_class: float  # labels / classes
    draw: int  # which of the nested label subsets
    seed: int
    split: Split
    accuracy: float  # in [0, 1]
    top5: float  # in [0, 1]
    trial_id: str | None  # whose encoder; None where none was pretrained
    seconds: float
    repeat: int = 0  # which pretraining of that trial's settings: 0 is the trial's own, others have other seeds


@dataclass(frozen=True)
class Use:
    """One figure of what an encoder's features are good for, on test images: a row of uses.parquet."""

    encoder: Whose  # the best trial's, or an untrained one
    use: str  # linear, neighbours, clustering or retrieval
    measure: str  # accuracy, top5, nmi, ari, mean_average_precision or precision_at_10
    stage: str  # of the encoder, whose features were read
    labels: int  # that were learned from; 0 where none is needed
    neighbours: int | None  # k, for `neighbours`
    images: int  # test images
    value: float  # a fraction; ari alone may fall below 0
    trial_id: str  # the best trial's, in either case


@dataclass(frozen=True)
class Budget:
    """How many labels a classifier may use: a fraction of the labelled training images, or so many a class."""

    fraction: float | None = None
    labels_per_class: int | None = None


@dataclass(frozen=True)
class Study:
    """The whole configuration of a study: what study.json holds, and what a resumed study must equal."""

    name: str
    dataset: str
    method: str
    encoder: str
    image_size: int  # pixels a side
    trials: int | None  # None where a time budget ends the search
    budget_seconds: float | None
    epochs: int  # of a trial that is not pruned
    epoch_images: int  # images seen in one epoch: the pool, or a part of it, another one each epoch
    fractions: tuple[float, ...]  # of the labelled training images; empty where labels_per_class is given
    labels_per_class: tuple[int, ...]
    draws: int
    objective_fraction: float
    seed: int
    workers: int  # a lane
    gpus_per_worker: float
    lanes: int

    pool_limit: int | None  # --pool-images: pretrain on a random part of the pool
    # Facts about the data, found when it was prepared.
    data_hash: str
    classes: tuple[str, ...]
    pool_images: int  # labelled and unlabelled
    train_labels: int  # labelled images in the pool: fraction 1
    validation_labels: int  # labels that the search sees beside its budget
    test_images: int

    tap: str | None = None  # the encoder's stage whose features are read; None in studies that did not say
    grace_epochs: int = 1  # before which no trial is pruned
    modes: tuple[Mode, ...] = ()  # --modes: of the curve; empty is every one that makes sense
    repeats: int = 1  # pretrainings of the best trial's settings that the curve rests on, its own among them
    validation: Validation = "heldout"  # --validation: whose labels tune, beside or inside the label budget
    precision: Precision = "float32"  # in which networks train
    warm_start: tuple[dict[str, Value], ...] = ()  # --warm-start: settings that trials 1, 2, ... try
    patience: int | None = None  # --patience: trials without a better one that end the search

    def trial_id(self, number: int) -> str:
        """What a trial is called wherever trials of several studies meet."""
        return f"{self.name}-{number:03d}"

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The label budgets of the curve."""
        if self.labels_per_class:
            return tuple(Budget(labels_per_class=count) for count in self.labels_per_class)
        return tuple(Budget(fraction=fraction) for fraction in self.fractions)

    @property
    def objective_budget(self) -> Budget:
        """The labels behind the validation accuracy that the search maximises."""
        return Budget(fraction=self.objective_fraction)


def stale(study: Study, finished: Sequence[Trial]) -> bool:
    """Whether the study's patience is at its end: so many trials of a higher number than the best have finished."""
    if study.patience is None or (best := best_trial(finished)) is None:
        return False
    return sum(trial.number > best.number for trial in finished) >= study.patience


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The highest validation accuracy; the earlier trial on a tie."""
    sound = [trial for trial in trials if trial.status != "failed" and trial.objective is not None]
    return max(sound, key=lambda trial: (trial.objective, -trial.number), default=None)
