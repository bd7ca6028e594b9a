"""Signals: what a terminal, a scheduler or an impatient person sends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from random import Random

from tests.faults.bench import Bench, Case, Fault, Tried
from tests.faults.command import Running


def _interrupted(case: Case, running: Running, *options: str) -> Tried:
    code = case.end(running)
    if code not in (0, 130):
        case.wrong.append(f"exit code {code}, and should be 130")
    if code == 130 and not any("--resume" in line for line in running.lines):
        case.wrong.append("it does not say how to go on")
    if code != 0:
        case.go_on(*options)
    return case.tried()


def sent(number: signal.Signals) -> Callable[[Bench, Random], Tried]:
    """A cause: the driver alone gets a signal at a random moment of the second and third quarter."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case()
        running = case.start(faulty=False)
        running.until_moment(random.uniform(0.25, 0.75) * bench.seconds)
        case.strike(running)
        running.driver.send_signal(number)
        return _interrupted(case, running)

    return cause


def typed(presses: int, *options: str) -> Callable[[Bench, Random], Tried]:
    """A cause: Ctrl-C at a terminal, which every process of the foreground group gets."""

    def cause(bench: Bench, random: Random) -> Tried:
        case = bench.case()
        keyboard, terminal = os.openpty()
        running = case.start(*options, terminal=terminal, faulty=False)
        running.until_moment(random.uniform(0.25, 0.75) * bench.seconds)
        case.strike(running)
        for _ in range(presses):
            os.write(keyboard, b"\x03")
            time.sleep(0.3)
        tried = _interrupted(case, running, *options)
        os.close(keyboard)
        os.close(terminal)
        return tried

    return cause


def hung_up(bench: Bench, random: Random) -> Tried:
    """The terminal closes: its foreground group gets SIGHUP."""
    case = bench.case()
    keyboard, terminal = os.openpty()
    running = case.start(terminal=terminal, faulty=False)
    os.close(terminal)
    running.until_moment(random.uniform(0.25, 0.75) * bench.seconds)
    case.strike(running)
    os.close(keyboard)
    return _interrupted(case, running)


FAULTS = [
    Fault("sigterm", "SIGTERM to the driver at a random moment, then --resume", sent(signal.SIGTERM), times=2),
    Fault("sigint", "Ctrl-C at a terminal at a random moment, then --resume", typed(1), times=2),
    Fault("sigint-twice", "Ctrl-C twice within 0.3 s, then --resume", typed(2)),
    Fault(
        "sigint-repeats", "Ctrl-C at a terminal in a study with --repeats 2", typed(1, "--repeats", "2"), spoils=True
    ),
    Fault("sighup", "the terminal closed at a random moment, then --resume", hung_up),
]
