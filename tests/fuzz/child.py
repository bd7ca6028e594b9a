"""Child: tries inputs in a process of its own, so that its parent sees a crash, a hang and what it was busy with.

    python -m tests.fuzz.child SEED FIRST STOP TARGET [TARGET ...]

It says on standard output, in JSON, which input it begins and what came of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random

from study.storage.folder import StorageError
from tests.fuzz.mutations import STAND_INS, mutated, remove
from tests.fuzz.targets import HERE, TARGETS, Target
from tests.fuzz.tensors import repacked

MEMORY = 1_500_000_000  # bytes that an input may take beside what the program holds
REFUSALS = (ValueError, StorageError)


class Opened:
    """The files that Python opens while an input is tried. What libraries open in C is not seen."""

    def __init__(self, *allowed: Path) -> None:
        self._allowed = tuple(str(path) for path in allowed)
        self.outside: list[str] = []
        self.watching = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.watching or event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith(self._allowed):
            self.outside.append(path)


def attempt(target: Target, folder: Path, outside: Path, seed: int, number: int, opened: Opened) -> tuple[str, str]:
    """Try one input: accepted, refused or finding, and what was said."""
    random = Random(f"{seed} {target.name} {number}")
    path: Path | None = None
    kept = b""
    if target.damaged:
        candidates = sorted(path for pattern in target.damaged for path in folder.glob(pattern) if path.is_file())
        path, other = random.choice(candidates), random.choice(candidates).read_bytes()
        kept = path.read_bytes()
        path.unlink()
        if random.random() < 0.06:
            elsewhere = outside / path.relative_to(folder)
            stand_in = random.choice(STAND_INS)
            stand_in(path, elsewhere)
        else:
            again = repacked(random, kept) if random.random() < 0.5 else None
            path.write_bytes(mutated(random, kept, other) if again is None else again)
    printed = io.StringIO()
    opened.outside.clear()
    opened.watching = True
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            target.use(folder, random)
        outcome, said = "accepted", ""
    except SystemExit as ended:
        said = printed.getvalue()
        one_line = said.count("\n") == 1 and said.endswith("\n") and said.startswith("error: ")
        outcome = "refused" if ended.code == 2 and one_line else "accepted" if ended.code == 0 else "finding"
    except REFUSALS as error:
        said = str(error)
        named = path is None or path.name in said or str(path.parent) in said
        outcome = "refused" if "\n" not in said and said.strip() and named and _ours(error) else "finding"
        said = said if outcome == "refused" else f"{type(error).__name__}: {said}\n{traceback.format_exc()[-1500:]}"
    except BaseException:
        outcome, said = "finding", traceback.format_exc()[-2500:]
    finally:
        opened.watching = False
    if opened.outside:
        outcome, said = "finding", f"opened {opened.outside[0]}"
    if path is not None:
        remove(path)
        path.write_bytes(kept)
    return outcome, said


def _ours(error: BaseException) -> bool:
    """UnicodeError and the like are ValueErrors too, which nobody meant to show."""
    return type(error).__module__.startswith("study.") or type(error) is ValueError


def main(seed: int, first: int, stop: int, names: list[str]) -> None:
    """Try the inputs from `first` up to `stop` of each target."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary, os.fdopen(os.dup(1), "w", buffering=1) as say:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        warnings.simplefilter("ignore")
        base = Path(temporary).resolve()
        ours = [Path(place).resolve() for place in (sys.prefix, sys.base_prefix, Path(__file__).parents[2])]
        system = map(Path, ("/proc", "/sys", "/usr", "/lib", "/dev/null", "/dev/urandom", "/etc/localtime"))
        opened = Opened(base / "in", *ours, *system)
        for name in names:
            target = next(target for target in TARGETS if target.name == name)
            folder, outside = base / "in" / name / HERE, base / "out" / name / HERE
            folder.parent.mkdir(parents=True)
            target.make(folder)
            shutil.copytree(folder, outside)
            os.chdir(folder.parent)
            held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))
            for number in range(first, stop):
                say.write(json.dumps({"target": name, "number": number}) + "\n")
                outcome, said = attempt(target, folder, outside, seed, number, opened)
                told = {"target": name, "number": number, "outcome": outcome, "said": said}
                say.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    _seed, _first, _stop = map(int, sys.argv[1:4])
    main(_seed, _first, _stop, sys.argv[4:])
