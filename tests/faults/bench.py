"""The bench on which faults are caused: the uninterrupted reference, fresh folders, and what one try came to."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np

from tests.equality import digest
from tests.faults.command import NAME, Running
from tests.faults.verdict import Kept, Verdict, judge, keep
from tests.image_files import write_png

_PREPARED = ".data"
CLASSES, EACH, SIDE = 6, 40, 32


def write_images(folder: Path) -> None:
    """A few images, so that a study takes no longer than its start: each class is a pattern below noise."""
    random = np.random.default_rng(0)
    for number in range(CLASSES):
        pattern = random.integers(0, 128, (SIDE, SIDE))
        for index in range(EACH):
            noisy = pattern + random.integers(0, 128, (SIDE, SIDE))
            write_png(folder / f"class-{number}" / f"{index}.png", noisy.astype(np.uint8))


@dataclass(frozen=True)
class Tried:
    """What one fault did, once."""

    verdict: Verdict
    saw: tuple[str, ...]  # the line that each command ended with
    codes: tuple[int | None, ...]  # and its exit code; None where it hung
    left: tuple[str, ...]  # processes that outlived their command
    seconds: float
    moment: str  # what the study was at
    wrong: tuple[str, ...] = ()  # what else did not come as it should

    def survived(self, but_tables: bool) -> bool:
        """Whether nothing is wrong; `but_tables` leaves out that they equal the reference's."""
        found = replace(self.verdict, unequal=()) if but_tables else self.verdict
        ended = None not in self.codes and self.codes[-1] == 0
        return found == Verdict(0, 0, 0, 0, 0, 0, ()) and ended and not self.left and not self.wrong


@dataclass(frozen=True)
class Fault:
    """A fault, how it is caused, and the code that causes it once."""

    name: str
    how: str
    cause: Callable[[Bench, Random], Tried]
    times: int = 1
    spoils: bool = False  # True: a trial fails for good, so that the tables cannot equal the reference's


@dataclass
class Case:
    """One try under way: its folder and its commands."""

    bench: Bench
    results: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    moment: str = ""
    kept: Kept = field(default_factory=lambda: Kept({}, {}))
    commands: list[Running] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    @property
    def caused(self) -> Path:
        """The file that tells that a method broke."""
        return self.results / f"{NAME}-fault-was-caused"

    def start(self, *more: str, terminal: int | None = None, faulty: bool = True) -> Running:
        """Start the study; without `faulty` no hook breaks it."""
        running = Running(
            self.bench.images, self.results, *more, environment=self.environment if faulty else None, terminal=terminal
        )
        self.commands.append(running)
        return running

    def strike(self, running: Running) -> None:
        """Note what is finished, and what the study is at, just before a fault."""
        self.moment = f"{running.stage}, {sum(line.startswith('trial ') for line in running.lines)} trials"
        self._keep()

    def end(self, running: Running) -> int | None:
        """Wait for the end of a command; what is finished then must stay so."""
        code = running.end()
        self.codes.append(code)
        self._keep()
        return code

    def _keep(self) -> None:
        """Note what is finished: the first content of a file counts, for it must stay so."""
        now = keep(self.results)
        self.kept = Kept(now.trials | self.kept.trials, now.fits | self.kept.fits)

    def go_on(self, *more: str) -> None:
        """Start the study again as its user would, and wait for its end."""
        self.end(self.start("--resume", *more, faulty=False))

    def tried(self) -> Tried:
        """What it all came to."""
        return Tried(
            judge(self.results, self.kept, self.bench.reference),
            tuple(running.saw for running in self.commands),
            tuple(self.codes),
            tuple(name for running in self.commands for name in running.left),
            time.monotonic() - self.begun,
            self.moment,
            tuple(self.wrong),
        )


class Bench:
    """`with Bench() as bench`: runs the uninterrupted reference, and deletes all folders at its end."""

    def __init__(self, root: Path | None = None) -> None:
        """`root` keeps its folders, and the reference for the next time."""
        self._kept = root
        self._made = 0

    def __enter__(self) -> Bench:
        self.root = self._kept or Path(tempfile.mkdtemp(prefix="faults-"))
        self.images, self.reference = self.root / "images", self.root / "reference"
        self.trace = self.root / "changes.txt"
        begun = time.monotonic()
        if not (self.reference / NAME / "report.html").exists():
            shutil.rmtree(self.reference, ignore_errors=True)
            self.reference.mkdir(parents=True)
            write_images(self.images)
            self.trace.unlink(missing_ok=True)
            traced = {"STUDY_FAULT_TRACE": str(self.trace), "STUDY_FAULT_UNDER": str(self.reference / NAME)}
            running = Running(self.images, self.reference, environment=traced)
            code = running.end()
            assert code == 0, f"the uninterrupted study ended with {code}: {running.lines}"
            (self.root / "seconds").write_text(f"{time.monotonic() - begun:.1f}")
        self.seconds = float((self.root / "seconds").read_text())
        self.digest = digest(self.reference / NAME)
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is None:
            shutil.rmtree(self.root)

    @property
    def changes(self) -> list[str]:
        """Every change of a file that the reference's driver made, in order."""
        return self.trace.read_text().splitlines()

    def case(self, results: Path | None = None, **environment: str) -> Case:
        """A new try, in a fresh folder with the prepared images in it."""
        self._made += 1
        results = results or self.root / f"case-{self._made:03d}"
        shutil.rmtree(results / NAME, ignore_errors=True)
        (results / "mlflow.db").unlink(missing_ok=True)
        shutil.copytree(self.reference / _PREPARED, results / _PREPARED, dirs_exist_ok=True)
        case = Case(self, results)
        case.environment = environment | {
            "STUDY_FAULT_UNDER": str(results / NAME),
            "STUDY_FAULT_CAUSED": str(case.caused),
        }
        return case

    def unprepared(self, results: Path) -> Case:
        """A new try in `results`, where the images have yet to be prepared."""
        return Case(self, results)
