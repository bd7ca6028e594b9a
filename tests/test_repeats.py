"""Repeats pretrain the best settings with other seeds, once each, and the curve is fitted for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from safetensors.torch import load_file

from methods.rotnet import RotNet
from methods.space import defaults
from study.cluster.curve import draw_curve
from study.cluster.lanes import Lanes
from study.cluster.messages import Failure, Job
from study.cluster.repeats import repeat_best
from study.data.dataset import Dataset
from study.learning.evaluate import Fitted
from study.learning.features import Score
from study.learning.jobs import Fitting, Images, Outcome
from study.learning.pretrain import Place
from study.records import PRETRAINED, Fit
from study.storage import files
from study.storage.folder import Folder
from study.storage.promoted import ENCODER
from tests import made_up

SETTINGS = defaults(RotNet.Config) | {"batch_size": 16, "copies": 1}
BEST = replace(made_up.trials(1)[0], params=SETTINGS, history=made_up.trials(1)[0].history[:2])
STUDY = replace(
    made_up.study(),
    epochs=3,
    epoch_images=32,
    draws=2,
    objective_fraction=0.02,
    fractions=(0.02, 1.0),
    modes=("frozen", "frozen_mlp", "finetuned", "supervised", "random"),
    repeats=3,
    tap="conv3",
)


@dataclass
class Here:
    """Lanes of this very process: jobs run one after another, until `stop` items were told."""

    stop: int | None = None
    fails: str = ""
    ran: list[str] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
        told = 0
        for job in jobs:
            self.ran.append(job.name[-8:])
            if self.fails and job.name.endswith(self.fails):
                yield job, Failure("the loss is not finite", "")
                continue
            for item in job.work(job.argument, Place()):
                if told == self.stop:
                    raise KeyboardInterrupt
                told += 1
                yield job, item


@dataclass
class Fits:
    """Lanes that note what is to be fitted, and make its figures up."""

    jobs: list[Fitting] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
        for job in jobs:
            self.jobs.append(job.argument)
            for each in job.argument.classifiers:
                score = Score(0.5, 0.9)
                yield job, Outcome(each, 25, Fitted(score, score if each.test else None, 1.0))


@dataclass(frozen=True)
class Kept:
    """A folder of checkpoints with two repeats, the second of which was interrupted and taken up again."""

    folder: Path
    repeat: Callable[[Path, Here], dict[int, Folder]]
    ran: list[str]  # by the two calls
    notes: list[str]


@pytest.fixture(scope="module")
def kept(photo_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    images = Images(photo_digits.folder, STUDY.seed, STUDY.pool_limit)
    notes: list[str] = []

    def repeat(folder: Path, lanes: Here) -> dict[int, Folder]:
        return repeat_best(STUDY, images, cast(Lanes, lanes), BEST, Folder.of(folder), lambda *_: False, notes.append)

    folder = tmp_path_factory.mktemp("kept")
    first, second = Here(stop=5), Here()  # the first is interrupted within the second repeat
    with pytest.raises(KeyboardInterrupt):
        repeat(folder, first)
    assert sorted(repeat(folder, second)) == [0, 1, 2]
    return Kept(folder, repeat, first.ran + second.ran, notes)


def test_a_finished_repeat_is_not_run_again(kept: Kept) -> None:
    assert kept.ran == ["repeat-0", "repeat-1", "repeat-2", "repeat-2"], "the trial's own was not there either"
    assert sorted(path.name for path in kept.folder.iterdir()) == ["best", "repeat-1", "repeat-2"]
    again = Here()
    kept.repeat(kept.folder, again)
    assert again.ran == []


def test_an_interrupted_repeat_ends_as_a_whole_one_of_its_own_seed(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "repeat-1").symlink_to(kept.folder / "repeat-1")
    kept.repeat(tmp_path, Here())
    whole = load_file(tmp_path / "repeat-2" / ENCODER)
    one, two = (load_file(kept.folder / f"repeat-{number}" / ENCODER) for number in (1, 2))
    assert all(two[name].equal(whole[name]) for name in whole)
    assert any(not one[name].equal(two[name]) for name in whole)


def test_a_repeat_that_fails_is_left_out_with_its_reason(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "repeat-2").symlink_to(kept.folder / "repeat-2")
    assert sorted(kept.repeat(tmp_path, Here(fails="repeat-1"))) == [0, 2]
    assert kept.notes[-1] == "repeat 1 is left out: the loss is not finite"


def _curve(encoders: dict[int, Folder], have: Sequence[Fit]) -> tuple[list[Fitting], list[Fit]]:
    """The jobs that the curve asks for, and its fits."""
    lanes, fits = Fits(), list[Fit]()
    images = Images(Path("none"), STUDY.seed, STUDY.pool_limit)
    draw_curve(STUDY, images, cast(Lanes, lanes), BEST, encoders, have, fits.extend, lambda done, total: None)
    return lanes.jobs, fits


def test_what_is_pretrained_is_fitted_for_each_repeat_on_its_own_encoder(tmp_path: Path) -> None:
    encoders = {repeat: Folder.of(tmp_path / str(repeat)) for repeat in range(3)}
    jobs, fits = _curve(encoders, [])
    for job in jobs:
        for each in job.classifiers:
            assert job.pretrained == (encoders[each.repeat] if each.mode in PRETRAINED else None)
    cells = [(fit.mode, fit.fraction, fit.repeat, fit.draw) for fit in fits if fit.split == "test"]
    wanted = [
        (mode, fraction, repeat, draw)
        for mode in STUDY.modes
        for fraction in STUDY.fractions
        for repeat in (range(3) if mode in PRETRAINED else (0,))
        for draw in ((0,) if fraction == 1 and mode in ("frozen", "frozen_mlp") else (0, 1))
    ]
    assert sorted(cells) == sorted(wanted)


def test_further_repeats_are_added_to_a_curve_that_is_there(tmp_path: Path) -> None:
    encoders = {repeat: Folder.of(tmp_path / str(repeat)) for repeat in range(3)}
    two = {repeat: encoders[repeat] for repeat in (0, 1)}
    _, fits = _curve(two, [])
    files.write_fits(tmp_path, fits)
    assert len(files.read_fits(tmp_path)) == len(fits)
    _, more = _curve(encoders, files.read_fits(tmp_path))
    assert {(fit.mode, fit.repeat) for fit in more} == {(mode, 2) for mode in PRETRAINED}


def test_heads_that_are_trained_together_are_fitted_in_the_company_they_had(tmp_path: Path) -> None:
    """An interrupted curve ends with the same figures as a whole one, to the last bit."""
    encoders = {repeat: Folder.of(tmp_path / str(repeat)) for repeat in range(3)}
    jobs, fits = _curve(encoders, [])
    whole = {frozenset(job.classifiers) for job in jobs}
    lost = [("frozen", 1, 0.02, 0), ("random", 0, 1.0, 1), ("supervised", 0, 0.02, 1)]
    kept = [fit for fit in fits if (fit.mode, fit.repeat, fit.fraction, fit.draw) not in lost]
    again, more = _curve(encoders, kept)
    fitted = [job for job in again if job.classifiers[0].test]
    assert all(frozenset(job.classifiers) in whole for job in fitted)
    assert len(fitted) == len(lost)
    assert {(fit.mode, fit.repeat) for fit in more} == {("frozen", 1), ("random", 0), ("supervised", 0)}


def test_a_study_that_pretrains_nothing_has_one_repeat(photo_digits: Dataset, tmp_path: Path) -> None:
    images, lanes = Images(photo_digits.folder, STUDY.seed, STUDY.pool_limit), Here()
    study = replace(STUDY, modes=("supervised", "random"))
    assert sorted(
        repeat_best(study, images, cast(Lanes, lanes), BEST, Folder.of(tmp_path), lambda *_: False, print)
    ) == [0]
    assert lanes.ran == ["repeat-0"], "the trial's own, which is not there"
