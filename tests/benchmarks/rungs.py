"""rungs: how well early epochs rank the last, method by method, over trials that nothing pruned.

A study's own report judges ASHA's cuts by the trials that survived them. Here random settings are all trained to the
end, and the order after each of ASHA's rungs is compared with the order after the last epoch. An early rung may mislead
and still pay, for what it saves is spent on further settings: so searches of equal epochs are played through with these
trials, the recipe first and then at random, again and again, under ASHA with its first rung early, late, and nowhere.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import statistics
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
from ray.tune.schedulers import TrialScheduler

from methods import METHODS
from methods.precision import quickest
from methods.space import searched
from study.analysis.importance import distribution
from study.analysis.rungs import REDUCTION, rankings
from study.cluster.lanes import Lanes
from study.cluster.layout import fit_layout
from study.cluster.messages import Failure, Job
from study.cluster.runtime import joined
from study.cluster.search import asha
from study.data.dataset import prepare
from study.data.sources import open_source
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Budget, Epoch, Trial
from study.storage.folder import Folder
from tests import made_up

NAMES = ("rotnet", "vae", "simclr", "dcgan", "wgan")
TRIALS, EPOCHS, EPOCH_IMAGES = 12, 16, 640
RUNGS = (1, 2, 4)
SEARCHES, SEARCH_EPOCHS = 100, (64, 256)  # played through: how many, and how long
GRACES = (1, 4, EPOCHS)  # epochs before the first rung


def main() -> None:
    """Print a line a method."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, joined(None) as nodes:
        dataset = prepare(open_source("photo-digits"), size=32, cache=Path(folder), seed=0)
        with Lanes(fit_layout(nodes, 1), Path(folder)) as lanes:
            for name in NAMES:
                jobs = [_job(name, number, Images(dataset.folder, 0, None), Path(folder)) for number in range(TRIALS)]
                epochs: dict[str, list[Epoch]] = defaultdict(list)
                for job, item in lanes.run(jobs):
                    if not isinstance(item, Failure):  # a trial that diverges has no last epoch
                        epochs[job.name].append(item)
                print(_line(name, [tuple(each) for each in epochs.values() if len(each) == EPOCHS]), flush=True)
    print(
        f"rungs: {TRIALS} random settings a method, the published recipe among them, {EPOCHS} epochs of {EPOCH_IMAGES} "
        f"images of photo-digits; {quickest(on_gpus=False)}, {len(os.sched_getaffinity(0))} CPUs ({platform.machine()})"
    )


def _job(name: str, number: int, images: Images, folder: Path) -> Job:
    space = {key: distribution(range_) for key, range_ in searched(METHODS[name].Config).items()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    params = study.ask(space).params if number else {}
    plan = Plan(name, "convnet", params, EPOCHS, EPOCH_IMAGES, number, precision=quickest(on_gpus=False))
    kept = Folder.of(folder / name / str(number))
    return Job(f"{name}-{number}", run_pretraining, Pretraining(images, plan, Budget(0.1), 5, kept))


def _line(name: str, histories: list[tuple[Epoch, ...]]) -> str:
    made = made_up.trials(1)[0]
    trials: list[Trial] = [
        replace(made, number=number, status="completed", history=history, objective=max(e.objective for e in history))
        for number, history in enumerate(histories)
    ]
    found = {each.epoch: each for each in rankings(trials, seed=0)}
    told = "; ".join(
        f"epoch {each.epoch}: rank correlation {each.spearman or 0:.2f} [{each.low or 0:.2f}, {each.high or 0:.2f}], "
        f"its leader of {REDUCTION} is the best in {100 * each.kept:.0f} %, and ends {100 * each.lost:.1f} points lower"
        for each in (found[at] for at in RUNGS)
    )
    last = sorted(100 * history[-1].objective for history in histories)
    played = "; ".join(
        f"best of searches of {epochs} epochs, first rung at "
        + ", ".join(f"{grace}: {100 * _mean_best(histories, grace, epochs):.2f} %" for grace in GRACES)
        for epochs in SEARCH_EPOCHS
    )
    ranged = f"{len(trials)} trials, {last[0]:.1f} to {last[-1]:.1f} % after the last epoch"
    return f"rungs-{name} {told}; {ranged}; {played} (n = {SEARCHES})"


def _mean_best(histories: list[tuple[Epoch, ...]], grace: int, epochs: int) -> float:
    return statistics.mean(_best(histories, grace, epochs, random.Random(seed)) for seed in range(SEARCHES))


def _best(histories: list[tuple[Epoch, ...]], grace: int, epochs: int, drawn: random.Random) -> float:
    """The best objective of a search on one lane that ends after so many epochs."""
    scheduler = asha(replace(made_up.study(), epochs=EPOCHS, grace_epochs=grace), [])
    best, left = 0.0, epochs
    for number in itertools.count():
        history = drawn.choice(histories) if number else histories[0]
        for epoch in history[:left]:
            best, left = max(best, epoch.objective), left - 1
            result = {"epoch": epoch.epoch, "objective": epoch.objective}
            if scheduler.on_trial_result(None, SimpleNamespace(trial_id=str(number)), result) == TrialScheduler.STOP:
                break
        if not left:
            break
    return best
