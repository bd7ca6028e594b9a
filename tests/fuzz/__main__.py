"""`python -m tests.fuzz [--count N] [--seed S] [--first I] [TARGET ...]`: damaged inputs, and what comes of them.

An input is reproduced by its seed, target and number alone. Exit code 1 where there are findings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.fuzz.session import Session, fuzz
from tests.fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=12_000, help="inputs, over all targets (12000)")
    parser.add_argument("--seed", type=int, default=0, help="where all of them come from (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to reproduce one (0)")
    parser.add_argument("target", nargs="*", help=f"{', '.join(names)} (all)")
    options = parser.parse_args(arguments)
    if unknown := set(options.target) - set(names):
        parser.error(f"no target {', '.join(unknown)}: there are {', '.join(names)}")
    chosen = [target for target in TARGETS if not options.target or target.name in options.target]
    shares = sum(target.share for target in chosen)
    sessions = []
    for target in chosen:
        session = fuzz(target.name, options.seed, max(1, -(-options.count * target.share // shares)), options.first)
        sessions.append(session)
        print(_row(session), flush=True)
        for tried in session.findings[:20]:
            print(f"  {tried.number}: {tried.said}")
    whole = Session("all")
    for session in sessions:
        whole.inputs += session.inputs
        whole.seconds += session.seconds
        whole.outcomes.update(session.outcomes)
    print(f"\n| target | inputs | accepted | refused | findings | seconds |\n| --- {'| ---: ' * 5}|")
    print("\n".join(map(_row, (*sessions, whole))))
    return 1 if whole.outcomes["finding"] else 0


def _row(session: Session) -> str:
    counts = (session.inputs, *(session.outcomes[outcome] for outcome in ("accepted", "refused", "finding")))
    return f"| {session.target} | {' | '.join(f'{count:,}' for count in counts)} | {session.seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
