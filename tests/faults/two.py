"""Two at once: the same study started twice, and two studies in one results folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from tests.equality import digests
from tests.faults.bench import Bench, Fault, Tried
from tests.faults.command import NAME


def twice(*how: str) -> Callable[[Bench, Random], Tried]:
    """A cause: the study is started again while it runs, which has to be refused."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case()
        first = case.start(faulty=False)
        first.until_said("trial 1 ")
        case.strike(first)
        second = case.start(*how, faulty=False)
        if (code := case.end(second)) != 2:
            case.wrong.append(f"the second ended with {code}, and should be refused with 2")
        case.end(first)
        return case.tried()

    return cause


def together(bench: Bench, random: Random) -> Tried:
    """Both are started at once: one does the work, and the other is refused."""
    case = bench.case()
    both = [case.start(faulty=False), case.start(faulty=False)]
    codes = [case.end(running) for running in both]
    case.moment = "both from the start"
    if sorted(code if code is not None else -1 for code in codes) != [0, 2]:
        case.wrong.append(f"they ended with {codes}, and one should be refused with 2")
    case.codes.append(0)
    return case.tried()


def neighbours(bench: Bench, random: Random) -> Tried:
    """Two studies of other names share a results folder from their first second."""
    case = bench.case()
    first = case.start(faulty=False)
    time.sleep(random.uniform(0, 1))
    second = case.start("--name", "other", faulty=False)
    case.moment = "both from the start"
    codes = [case.end(second), case.end(first)]
    if codes != [0, 0]:
        case.wrong.append(f"they ended with {codes}")
    found = set(digests(case.results / "other"))
    if found != set(digests(bench.reference / NAME)):
        case.wrong.append(f"the second has only the tables {found}")
    return case.tried()


FAULTS = [
    Fault("twice", "the same command started again, with --resume, while it runs", twice("--resume")),
    Fault("twice-overwrite", "the same command started again, with --overwrite, while it runs", twice("--overwrite")),
    Fault("together", "the same new study started twice at once", together),
    Fault("neighbours", "two studies in one results folder at once", neighbours),
]
