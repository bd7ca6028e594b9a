"""What a study keeps of its trials. Each step may be cut short at any point: `tidy`, when it is resumed, ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from study.cluster.proposals import trial_seed
from study.records import Study, Trial, best_trial
from study.storage import files
from study.storage.checkpoints import BEST, CHECKPOINTS, REPEAT, damage
from study.storage.folder import Folder
from study.storage.mirror import Mirror
from study.storage.promoted import owner, promote


@dataclass(frozen=True)
class Home:
    """Where a study lives. Its folder is on this machine; of one in an object store it is a copy, brought there by
    `publish`. The checkpoints lie where the workers reach them.
    """

    folder: Path
    checkpoints: Folder
    publish: Callable[[], None]


@contextmanager
def home(results: Folder, name: str, check: Callable[[], None]) -> Iterator[Home]:
    """The home of the study `name`: its own folder, or a fresh copy of that in an object store.

    `check` raises where the study is no longer ours to write.
    """
    if results.path is not None:
        folder = results.path / name
        yield Home(folder, Folder.of(folder.resolve() / CHECKPOINTS), lambda: None)
        return
    with TemporaryDirectory(prefix="study-copy-") as copies:
        copy = Path(copies) / name
        mirror = Mirror(copy, results / name)
        mirror.fetch()

        def publish() -> None:
            check()
            mirror.publish()

        yield Home(copy, results / name / CHECKPOINTS, publish)


def keep(place: Home, trial: Trial, best: bool) -> str | None:
    """Record a finished trial, with its encoder where it is the best so far. Says in a line what went wrong, if so."""
    folder, kept = place.folder, place.checkpoints
    if best:  # what was made with the former best's settings goes first: baselines too have its label smoothing
        for name in kept.names():
            if name.startswith(REPEAT):
                (kept / name).remove_all()
        Folder.of(folder / files.FITS).remove_all()
    files.write_trial(folder, trial)
    place.publish()
    problem = _promote(kept, trial) if best else None
    _forget(folder, kept, trial)
    return problem


def tidy(study: Study, place: Home, trials: Sequence[Trial]) -> list[str]:
    """Finish what `keep` was cut short in. Says, in lines, which checkpoints of unfinished trials are damaged."""
    folder, kept, lines = place.folder, place.checkpoints, []
    best = best_trial(trials)
    if best is not None and owner(kept / BEST) != trial_seed(study, best.number):
        lines = [problem] if (problem := _promote(kept, best)) else []
    there = {*kept.names(), *(f"{started.number:03d}" for started in files.read_started(folder))}
    for trial in trials:
        if f"{trial.number:03d}" in there:
            _forget(folder, kept, trial)
    return lines + [line for each in files.read_started(folder) for line in damage(kept / f"{each.number:03d}")]


def _promote(kept: Folder, trial: Trial) -> str | None:
    try:
        promote(kept / f"{trial.number:03d}", kept / BEST, trial.history)
    except (ValueError, FileNotFoundError) as error:
        if trial.taken_from is not None:  # its encoder is where it ran
            return None
        return f"trial {trial.number} will be pretrained once more for its encoder: {error}"
    return None


def _forget(folder: Path, kept: Folder, trial: Trial) -> None:
    (kept / f"{trial.number:03d}").remove_all()
    files.remove_started(folder, trial.number)
