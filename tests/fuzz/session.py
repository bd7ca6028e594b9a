"""Session: a target's inputs in child processes; a child that dies or hangs is a finding, and another goes on."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

START = 300.0  # seconds that a child may take to import and to fill its folder
PATIENCE = 30.0  # seconds that one input may take on a busy machine


@dataclass(frozen=True)
class Tried:
    """What came of one input."""

    target: str
    number: int
    outcome: str  # accepted, refused or finding
    said: str


@dataclass
class Session:
    """What came of a target's inputs."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Tried] = field(default_factory=list)

    def note(self, tried: Tried) -> None:
        """Count an input."""
        self.inputs += 1
        self.outcomes[tried.outcome] += 1
        if tried.outcome == "finding":
            self.findings.append(tried)


def fuzz(target: str, seed: int, count: int, first: int = 0) -> Session:
    """Try `count` inputs of a target, from number `first` on."""
    session = Session(target)
    begun = time.monotonic()
    number, stop = first, first + count
    while number < stop:
        for tried in one_child([target], seed, number, stop):
            session.note(tried)
            number = tried.number + 1
    session.seconds = time.monotonic() - begun
    return session


def one_child(targets: Sequence[str], seed: int, first: int, stop: int) -> Iterator[Tried]:
    """Try the inputs from `first` up to `stop` of each target in one child, until it is through, dies or hangs."""
    python = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.child"]
    command = [*python, str(seed), str(first), str(stop), *targets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as child:
        assert child.stdout is not None and child.stderr is not None
        under_way: tuple[str, int] | None = None
        patience, rest, late = START, b"", False
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while selector.select(patience):
                read = child.stdout.read(65536)
                if not read:
                    break
                *lines, rest = (rest + read).split(b"\n")
                for line in map(json.loads, lines):
                    if "outcome" in line:
                        under_way, patience = None, START
                        yield Tried(**line)
                    else:
                        under_way, patience = (line["target"], line["number"]), PATIENCE
            else:
                late = True
                child.send_signal(signal.SIGABRT)  # it then says where it is
        code = child.wait()
        said = child.stderr.read().decode(errors="replace")[-2000:]
        if under_way is not None:
            died = "it took too long" if late else f"the interpreter ended with {code}"
            yield Tried(*under_way, "finding", f"{died}\n{said}")
        elif code:
            raise RuntimeError(f"a child for {', '.join(targets)} ended with {code}: {said}")
