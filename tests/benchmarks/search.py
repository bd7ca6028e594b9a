"""search: seconds until the same best validation accuracy, plain Optuna with a pruner around the usual script / ours.

Both search rotnet's five settings on photo-digits with TPE, in trials of 16 epochs, and are scored alike: linear heads
on frozen features, by our code, which spares the script time. The script prunes with Optuna's MedianPruner and runs one
trial at a time with all CPUs. Each search runs for the same time, start-up included. Ours begins with the published
recipe, as it always does. The script begins at random, as plain Optuna does (`search`), and once more with the same
recipe as its first trial (`search-recipe`): what remains then is speed, and luck in a trial's noise.

Every search of ours is compared with every one of theirs, whose seeds have nothing to do with each other. The goal of
such a pair is the lower of the two best accuracies in the end, so that both reach it; a ratio is of the times.
"""

from __future__ import annotations

import gc
import itertools
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import optuna
import torch

from methods.precision import quickest
from methods.rotnet import RotNet
from methods.space import Value, defaults, searched
from study.analysis.importance import distribution
from study.cluster.lanes import Lanes
from study.cluster.layout import fit_layout
from study.cluster.messages import Job
from study.cluster.proposals import RANDOM_TRIALS, Watch, trial_seed
from study.cluster.runtime import joined
from study.cluster.search import search
from study.data.dataset import Dataset, prepare, subset
from study.data.sources import open_source
from study.learning.evaluate import Judges, frozen_objective
from study.learning.features import FrozenFeatures
from study.learning.jobs import OBJECTIVE_DRAWS, Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Budget, Epoch, Study
from study.storage.folder import Folder
from tests import made_up
from tests.benchmarks import usual

SECONDS = 300.0
MARKS = (20.0, 60.0, 150.0)  # seconds at which a line tells the best so far
SEEDS = (0, 1, 2)
EPOCHS, EPOCH_IMAGES, FRACTION = 16, 1257, 0.1
CPU = torch.device("cpu")

Course = list[tuple[float, float]]  # (seconds, best accuracy so far)


def ours(dataset: Dataset, seed: int) -> Course:
    """A search on lanes, from the start of Ray on."""
    course: Course = [(0.0, 0.0)]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, joined(None) as nodes:
        layout = fit_layout(nodes, 1)
        study = study_of(dataset, seed, layout.lanes)

        def epoch(lane: int, number: int, epoch: Epoch) -> None:
            course.append((time.perf_counter() - started, max(course[-1][1], epoch.objective)))

        def job(number: int, params: dict[str, Value]) -> Job:
            plan = Plan.of(study, params, trial_seed(study, number))
            images = Images(dataset.folder, 0, None)
            kept = Folder.of(folder) / f"{number:03d}"
            return Job(f"search-{number:03d}", run_pretraining, Pretraining(images, plan, Budget(FRACTION), 5, kept))

        with Lanes(layout, Path(folder)) as lanes:
            lanes.wait_until_ready()
            study = replace(study, budget_seconds=SECONDS - (time.perf_counter() - started))
            search(study, job, lanes, [], [], Watch(lambda _: None, epoch, lambda _: None), Path(folder))
    return course


def plain(dataset: Dataset, seed: int, workers: int, threads: int, recipe: bool) -> Course:
    """Plain Optuna around the usual script, in this process; told of the published recipe, or not."""
    course: Course = [(0.0, 0.0)]
    started = time.perf_counter()
    torch.set_num_threads(threads)
    budget = [subset(dataset, draw=draw, seed=0, fraction=FRACTION) for draw in range(OBJECTIVE_DRAWS)]
    judges = Judges("heldout", dataset, 0)
    space = {name: distribution(range_) for name, range_ in searched(RotNet.Config).items()}

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial._suggest(name, each) for name, each in space.items()}
        torch.manual_seed(seed * 1000 + trial.number)
        encoder, classifier = usual.network(dataset, params["dropout"])
        optimizer = torch.optim.Adam(classifier.parameters(), lr=params["lr"])
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        loader = usual.loader(dataset, params["augmentation"], params["batch_size"], workers)
        training = usual.steps(classifier, optimizer, loader, params["label_smoothing"], autocast=False)
        best = 0.0
        for number in range(1, EPOCHS + 1):
            classifier.train()
            for _ in range(max(1, round(EPOCH_IMAGES / params["batch_size"]))):
                next(training)
            rates.step()
            features = FrozenFeatures(encoder, dataset, [*budget, dataset.validation], CPU)
            best = max(best, frozen_objective(features, budget, judges, params["label_smoothing"]))
            seconds = time.perf_counter() - started
            course.append((seconds, max(course[-1][1], best)))
            trial.report(best, number)
            if seconds > SECONDS:
                trial.study.stop()
                break
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())
    if recipe:
        study.enqueue_trial(defaults(RotNet.Config))
    study.optimize(objective, timeout=SECONDS)
    gc.collect()  # its loaders' processes
    return course


def study_of(dataset: Dataset, seed: int, lanes: int) -> Study:
    return replace(
        made_up.study(),
        trials=None,
        budget_seconds=SECONDS,
        epochs=EPOCHS,
        epoch_images=EPOCH_IMAGES,
        objective_fraction=FRACTION,
        seed=seed,
        lanes=lanes,
        data_hash=dataset.hash,
        precision=quickest(on_gpus=False),
    )


def reached(course: Course, goal: float) -> float:
    """The seconds after which the best was no less than `goal`."""
    return next(seconds for seconds, best in course if best >= goal)


def told(name: str, theirs: list[Course], mine: list[Course]) -> str:
    """The line of all pairs of searches."""
    ratios = []
    for his, own in itertools.product(theirs, mine):
        goal = min(his[-1][1], own[-1][1])
        ratios.append(reached(his, goal) / reached(own, goal))
    return (
        f"{name} ratio {statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), geometric "
        f"mean of {len(theirs)} x {len(mine)} searches of {SECONDS:.0f} s"
    )


def main() -> None:
    """Print a line a search, and one `search ratio R` for each kind of script."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    threads, cpus = torch.get_num_threads(), len(os.sched_getaffinity(0))
    courses: dict[str, list[Course]] = {"ours": [], "script": [], "script that knows the recipe": []}
    with tempfile.TemporaryDirectory() as cache:
        dataset = prepare(open_source("photo-digits"), size=32, cache=Path(cache), seed=0)
        for seed in SEEDS:
            for whose, found in courses.items():
                if whose == "ours":
                    found.append(ours(dataset, seed))
                else:
                    found.append(plain(dataset, seed, workers=1, threads=cpus, recipe=whose != "script"))
                best = found[-1][-1][1]
                at = {f"{after:.0f}": max(b for t, b in found[-1] if t <= after) for after in MARKS}
                print(
                    f"search seed {seed}, {whose}: {100 * best:.1f} % first after {reached(found[-1], best):.0f} s, "
                    f"{len(found[-1]) - 1} epochs; "
                    + ", ".join(f"{100 * value:.1f} % after {after} s" for after, value in at.items()),
                    flush=True,
                )
    torch.set_num_threads(threads)
    print(told("search", courses["script"], courses["ours"]))
    print(told("search-recipe", courses["script that knows the recipe"], courses["ours"]))
    print(
        f"search: rotnet on photo-digits, {EPOCHS} epochs of {EPOCH_IMAGES} images, {quickest(on_gpus=False)} against "
        f"float32; {cpus} CPUs ({platform.machine()})"
    )
