"""Disks: full, read-only, slow, and files that were damaged while nobody ran."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.faults.bench import Bench, Fault, Tried
from tests.faults.command import NAME

_BEST = "checkpoints/best/encoder.safetensors"


@contextmanager
def _mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system in memory, which needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def _fill(folder: Path) -> Path:
    """A file that takes all that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


def full(after: str) -> Callable[[Bench, Random], Tried]:
    """A cause: the disk fills after that line, is freed when the study has ended, and the study is resumed."""

    def cause(bench: Bench, random: Random) -> Tried:
        with _mounted(bench.root / "disk", 64) as disk:
            case = bench.case(disk / "results")
            running = case.start(faulty=False)
            running.until_said(after)
            case.strike(running)
            filler = _fill(disk)
            case.end(running)
            filler.unlink()
            case.go_on()
            return case.tried()

    return cause


def full_at_start(bench: Bench, random: Random) -> Tried:
    """The images do not fit; then they do."""
    with _mounted(bench.root / "disk", 64) as disk:
        case = bench.unprepared(disk / "results")
        block = disk / "block"
        block.write_bytes(bytes(61 << 20))
        case.end(case.start(faulty=False))
        case.moment = "preparing images"
        block.unlink()
        case.go_on()
        return case.tried()


def read_only(bench: Bench, random: Random) -> Tried:
    """The study's folder can no longer be written to; then it can."""
    case = bench.case()
    running = case.start(faulty=False)
    running.until_said("trial 3 ")
    case.strike(running)
    study = case.results / NAME
    subprocess.run(["mount", "--bind", study, study], check=True)  # new to all: no open file keeps it writable
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", study], check=True)
        code = case.end(running)
    finally:
        subprocess.run(["umount", "--lazy", study], check=True)
    if code != 1:
        case.wrong.append(f"exit code {code}, and should be 1")
    case.go_on()
    return case.tried()


def slow(bench: Bench, random: Random) -> Tried:
    """Every file takes its time, in all processes, as on a share behind a slow network."""
    case = bench.case(STUDY_FAULT_SLOW="0.3")
    running = case.start()
    case.end(running)
    case.strike(running)
    return case.tried()


def _cut_short(bench: Bench, when: str) -> Path:
    """A study whose driver was killed in a trial with a checkpoint, or in the curve; made once, to be copied."""
    template = bench.root / f"cut-short-{when}"
    if not template.exists():
        case = bench.case(bench.root / "cutting")
        running = case.start(faulty=False)
        if when == "trial":
            running.until_said("trial 6 ")
            running.until(lambda: list(case.results.glob(f"{NAME}/checkpoints/007/state-*.safetensors")))
        else:
            running.until_said("curve")
        running.driver.kill()
        case.end(running)
        case.results.rename(template)
    return template


def damaged(when: str, name: str, damage: Callable[[Path], object]) -> Callable[[Bench, Random], Tried]:
    """A cause: after a kill a file is damaged, and the study resumed; where it refuses, the file is removed first."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case()
        shutil.rmtree(case.results)
        shutil.copytree(_cut_short(bench, when), case.results)
        case.moment = f"between two runs, in the {when}"
        found = sorted((case.results / NAME).glob(name))
        path = found[-1] if found else case.results / NAME / name  # of several states the newest
        damage(path)
        case.go_on()
        if case.codes[-1] != 0:
            path.unlink(missing_ok=True)
            case.kept.trials.pop(path.name, None)
            case.go_on()
        return case.tried()

    return cause


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :: 7] = bytes(len(content[len(content) // 2 :: 7]))
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _delete(path: Path) -> None:
    path.unlink()


def _half_written(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"number": 3, "tr')


_DAMAGES = {"scrambled": _scramble, "truncated": _truncate, "emptied": _empty, "deleted": _delete}
_STATE, _LEFT = "checkpoints/007/state-*.safetensors", ("trials/007.json.tmp", "study.json.tmp", "running/008.json.tmp")

FAULTS: list[Fault] = [
    Fault("disk-full", "the disk under --results fills after trial 3; freed, resumed", full("trial 3 ")),
    Fault("disk-full-in-curve", "the disk fills in the curve; freed, resumed", full("curve")),
    Fault("disk-full-at-start", "no room for the prepared images; freed, started again", full_at_start),
    Fault("read-only", "the study's folder remounted read-only after trial 3; then writable, resumed", read_only),
    Fault("slow", "--results where each file takes 0.3 s to open, rename or remove, in every process", slow),
    *(
        Fault(f"state-{how}", f"killed in trial 7, its newest state {how}, resumed", damaged("trial", _STATE, do))
        for how, do in _DAMAGES.items()
    ),
    *(
        Fault(f"best-{how}", f"killed in the curve, the best encoder {how}, resumed", damaged("curve", _BEST, do))
        for how, do in _DAMAGES.items()
    ),
    *(
        Fault(f"trial-{how}", f"killed in the search, trials/002.json {how}", damaged("trial", "trials/002.json", do))
        for how, do in _DAMAGES.items()
    ),
    Fault("fit-truncated", "killed in the curve, the tables gone", damaged("curve", "trials/005.json", _truncate)),
    *(
        Fault(
            f"left-{name.partition('/')[0].partition('.')[0]}",
            f"a half-written {name}",
            damaged("trial", name, _half_written),
        )
        for name in _LEFT
    ),
]
