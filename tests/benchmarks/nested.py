"""nested: each pretraining scored by the best of many heads, against a search that proposes the head's setting too.

Label smoothing acts on the head alone where a method's pretext does not classify. The joint search proposes it with the
other settings, as studies do; the nested one leaves it out, and scores each epoch by the best of four smoothings, all
fitted together. Both already take the best of five penalties. Equal wall time, the same lanes, in turns.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from methods.method import Method
from methods.space import Range, Value, searched
from study.cluster import proposals
from study.cluster.lanes import Lanes
from study.cluster.layout import fit_layout
from study.cluster.messages import Job
from study.cluster.proposals import Watch, trial_seed
from study.cluster.runtime import joined
from study.cluster.search import search
from study.data.dataset import Dataset, load, prepare, subset
from study.data.sources import open_source
from study.learning.features import FrozenFeatures
from study.learning.heads import settings
from study.learning.jobs import OBJECTIVE_DRAWS
from study.learning.pretrain import Judgement, Place, Plan, pretrain
from study.records import Epoch, Trial
from tests.benchmarks.search import FRACTION, study_of

METHOD, SECONDS, SEEDS, DRAWS = "vae", 75.0, range(5), 5
SMOOTHINGS = (0.0, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Searched:
    """A pretraining, and the smoothings that its heads are chosen from."""

    folder: Path
    plan: Plan
    smoothings: tuple[float, ...]


def run_searched(job: Searched, place: Place) -> Iterator[Epoch]:
    """Pretrain; `objective` is the best heads' validation accuracy, the number `test` what they do on test images."""
    dataset = load(job.folder, seed=0, pool_images=None)
    subsets = [subset(dataset, draw=draw, seed=0, fraction=FRACTION) for draw in range(DRAWS)]
    chosen = [each for smoothing in job.smoothings for each in settings(smoothing)]

    def judge(method: Method) -> Judgement:
        features = FrozenFeatures(method.encoder, dataset, [*subsets, dataset.validation, dataset.test], place.device)
        heads = features.heads(subsets, chosen)
        told = [[s.accuracy for s in features.scores(each, dataset.validation)] for each in heads[:OBJECTIVE_DRAWS]]
        means = np.mean(told, axis=0)
        best = int(means.argmax())
        test = [features.scores(each.only(best), dataset.test)[0].accuracy for each in heads]
        return Judgement(float(means[best]), {"test": float(np.mean(test))})

    yield from pretrain(job.plan, dataset, subsets[0], judge, place)


@contextmanager
def without_smoothing() -> Iterator[None]:
    """Proposals leave label smoothing at its default meanwhile."""

    def others(config: type) -> dict[str, Range]:
        return {name: range_ for name, range_ in searched(config).items() if name != "label_smoothing"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "searched", others)
        patch.setattr(proposals, "defaults", lambda config: {name: getattr(config(), name) for name in others(config)})
        yield


def run(dataset: Dataset, lanes: Lanes, seed: int, nested: bool, scratch: Path) -> tuple[Epoch, int]:
    """The best epoch of one search, and how many trials it ran."""
    study = replace(study_of(dataset, seed, len(lanes.lanes)), method=METHOD, budget_seconds=SECONDS)
    ended: list[Trial] = []

    def job(number: int, params: dict[str, Value]) -> Job:
        plan = Plan.of(study, params, trial_seed(study, number))
        smoothings = SMOOTHINGS if nested else (float(params["label_smoothing"]),)
        return Job(f"{seed}-{nested}-{number:03d}", run_searched, Searched(dataset.folder, plan, smoothings))

    search(
        study, job, lanes, [], [], Watch(lambda _: None, lambda *_: None, ended.append), scratch / f"{seed}-{nested}"
    )
    return max((epoch for trial in ended for epoch in trial.history), key=lambda epoch: epoch.objective), len(ended)


def main() -> None:
    """Print a line a seed, and `nested difference D`, of test accuracy, with its 95 % interval over seeds."""
    found: dict[bool, list[Epoch]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as cache, joined(None) as nodes:
        scratch = Path(cache)
        dataset = prepare(open_source("photo-digits"), size=32, cache=scratch, seed=0)
        with Lanes(fit_layout(nodes, 1), scratch) as lanes:
            lanes.wait_until_ready()
            for seed in SEEDS:
                said = []
                for nested in (False, True) if seed % 2 else (True, False):
                    if nested:
                        with without_smoothing():
                            epoch, trials = run(dataset, lanes, seed, nested, scratch)
                    else:
                        epoch, trials = run(dataset, lanes, seed, nested, scratch)
                    found[nested].append(epoch)
                    said.append(
                        f"{'nested' if nested else 'joint'} {100 * epoch.objective:.1f} % on validation, "
                        f"{100 * epoch.numbers['test']:.1f} % on test, {trials} trials"
                    )
                print(f"nested-seed-{seed} {'; '.join(said)}", flush=True)
    test = _interval([n.numbers["test"] - j.numbers["test"] for n, j in zip(found[True], found[False], strict=True)])
    told = _interval([n.objective - j.objective for n, j in zip(found[True], found[False], strict=True)])
    joint = statistics.mean(epoch.numbers["test"] for epoch in found[False])
    print(
        f"nested difference {test} points of test accuracy, {told} of validation, 95 % t-intervals over n = "
        f"{len(SEEDS)} seeds; joint {100 * joint:.1f} % on test; {METHOD} on photo-digits, {SECONDS:.0f} s each; "
        f"{len(os.sched_getaffinity(0))} CPUs ({platform.machine()})"
    )


def _interval(differences: list[float]) -> str:
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{100 * statistics.mean(differences):+.2f} +- {100 * half:.2f}"
