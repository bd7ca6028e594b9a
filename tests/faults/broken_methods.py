"""Broken methods: a trial that fails, eats all memory, kills its worker or hangs, by a hook outside the code."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from study.storage.files import read_trials
from tests.faults.bench import Bench, Fault, Tried
from tests.faults.command import NAME

TRIAL, EPOCH = 4, 2  # one that is not pruned before
HANG_AFTER = "60s"  # longer than any honest step on a busy machine


def _broken(kind: str, once: bool) -> Callable[[Bench, Random], Tried]:
    """A cause: rotnet's forward breaks in that epoch of that trial, the first time or each time."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case(STUDY_FAULT=f"{kind}:{TRIAL}:{EPOCH}{':once' if once else ''}")
        running = case.start("--hang-after", HANG_AFTER)
        running.until_said(f"trial {TRIAL - 1} ")
        case.strike(running)
        case.end(running)
        if not case.caused.exists():
            case.wrong.append(f"nothing broke: trial {TRIAL} never came to epoch {EPOCH}")
        failed = [trial for trial in read_trials(case.results / NAME) if trial.status == "failed"]
        if not once and [trial.number for trial in failed] != [TRIAL]:
            case.wrong.append(f"trials {[trial.number for trial in failed]} failed and should be [{TRIAL}]")
        if failed:
            case.wrong += [] if failed[0].error else ["the failed trial has no reason"]
            running.lines.append(f"error: {failed[0].error}")
        return case.tried()

    return cause


_KINDS = {
    "nan": "NaN loss",
    "raise": "an exception",
    "memory": "a petabyte from torch's allocator",
    "python-memory": "a petabyte from Python",
    "exit": "sys.exit()",
    "eaten": "SIGKILL of its worker, as the OOM killer does it",
    "crash": "a segmentation fault",
    "sleep": "a sleep without end",
    "spin": "a loop without end",
    "lock": "C code that holds the interpreter's lock for ever",
}
_DEATHS = ("eaten", "crash", "sleep", "spin", "lock")

FAULTS = [
    *(
        Fault(kind, f"{what} in trial {TRIAL}, every time", _broken(kind, False), spoils=True)
        for kind, what in _KINDS.items()
    ),
    *(Fault(f"{kind}-once", f"{_KINDS[kind]} in trial {TRIAL}, once", _broken(kind, True)) for kind in _DEATHS),
]
