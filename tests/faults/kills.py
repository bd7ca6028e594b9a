"""Kills: the driver at any moment and at any change of a file, and each of Ray's processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

import psutil

from tests.faults.bench import Bench, Case, Fault, Tried


def _driver(case: Case, moment: float, *resume: str) -> None:
    running = case.start(*resume, faulty=False)
    running.until_moment(moment)
    case.strike(running)
    try:
        running.driver.kill()
    except psutil.NoSuchProcess:  # the reference took longer than this command
        case.moment += ", had ended: nothing was killed"
    case.end(running)


def driver(bench: Bench, random: Random) -> Tried:
    """The driver dies once, at a moment of the whole command."""
    case = bench.case()
    _driver(case, random.uniform(0, bench.seconds))
    case.go_on()
    return case.tried()


def driver_again(bench: Bench, random: Random) -> Tried:
    """The driver dies, and dies again while the study is resumed."""
    case = bench.case()
    _driver(case, random.uniform(0.4, 0.7) * bench.seconds)
    first = case.moment
    _driver(case, random.uniform(0.3, 0.7) * bench.seconds, "--resume")
    case.moment = f"{first}; {case.moment}"
    case.go_on()
    return case.tried()


def driver_writing(bench: Bench, random: Random) -> Tried:
    """The driver dies just before it renames, removes or makes something."""
    return killed_before(bench, random.randint(1, len(bench.changes)))


def killed_before(bench: Bench, number: int) -> Tried:
    """The driver dies just before that change, counted from 1."""
    case = bench.case(STUDY_FAULT_WRITE=str(number))
    running = case.start()
    case.end(running)
    case.strike(running)
    case.moment += f", before {bench.changes[number - 1]}"
    case.go_on()
    return case.tried()


def _actor(titles: Sequence[str], after: str) -> Callable[[Bench, Random], Tried]:
    """A cause: the process of one of these titles dies within a second after that line."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case()
        running = case.start(faulty=False)
        running.until_said(after)
        time.sleep(random.uniform(0, 1))
        case.strike(running)
        victims = running.children(*titles)
        if not victims:
            case.wrong.append(f"no process {titles[0]} to kill")
        for victim in victims:
            victim.kill()
        if case.end(running) != 0:
            case.go_on()
        return case.tried()

    return cause


_ACTORS = {
    "worker": (("ray::RayTrainWorker",), "Train worker"),
    "post-office": (("ray::PostOffice",), "post office"),
    "raylet": (("raylet",), "raylet"),
    "gcs": (("gcs_server",), "gcs_server"),
}

FAULTS = [
    Fault("driver", "SIGKILL of the driver at a random moment, then --resume", driver, times=20),
    Fault("driver-again", "the same, and once more during --resume", driver_again, times=4),
    Fault("driver-writing", "SIGKILL of the driver before its n-th change of a file, n random", driver_writing, 10),
    *(
        Fault(name, f"SIGKILL of the {what} in the search, after trial 3", _actor(titles, "trial 3 "), times=2)
        for name, (titles, what) in _ACTORS.items()
    ),
    *(
        Fault(f"{name}-in-curve", f"SIGKILL of the {_ACTORS[name][1]} in the curve", _actor(_ACTORS[name][0], "curve"))
        for name in ("worker", "raylet")
    ),
]
