"""`python -m tests.faults [FAULT ...] [--times N] [--seed S]`: cause faults in whole commands, and print what became
of the studies.

Every fault is caused for real: processes are killed, disks filled, files damaged. Nothing is wrong where a row says 0
everywhere and its tables equal those of an uninterrupted study. Mounting a disk needs root.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.faults import broken_methods, disks, kills, signals, stores, two
from tests.faults.bench import Bench, Fault, Tried

MODULES = (kills, broken_methods, disks, stores, signals, two)
FAULTS = {fault.name: fault for module in MODULES for fault in module.FAULTS}
HEAD = (
    "| fault | how | tried | survived | trials lost | doubled | fits lost | MLflow open, doubled, lost | tables equal "
    "| processes left | exit codes | what the user saw | s |"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Cause the faults that the command line names, or all; 1 where one was not survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("fault", nargs="*", help=f"names or patterns of {', '.join(FAULTS)} (all)")
    parser.add_argument("--times", type=int, help="how often each is tried (its own number)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    parser.add_argument("--keep", type=Path, help="keep all folders here, and the reference for the next time")
    options = parser.parse_args(arguments)
    wanted = [fault for fault in FAULTS.values() if _asked(fault, options.fault)]
    if not wanted:
        parser.error(f"no fault {' '.join(options.fault)}; there are {', '.join(FAULTS)}")
    rows = []
    with Bench(options.keep) as bench:
        print(f"uninterrupted: {bench.seconds:.0f} s, hash {bench.digest}", file=sys.stderr)
        for fault in wanted:
            tried = []
            for number in range(options.times or fault.times):
                tried.append(fault.cause(bench, Random(f"{options.seed}-{fault.name}-{number}")))
                print(_said(fault, tried[-1]), file=sys.stderr, flush=True)
            rows.append((fault, tried))
    print("\n".join([HEAD, "| --- " * HEAD.count(" | ") + "| --- |", *(_row(*row) for row in rows)]))
    return int(not all(_survived(fault, each) for fault, tried in rows for each in tried))


def _asked(fault: Fault, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(fault.name, pattern) for pattern in patterns)


def _survived(fault: Fault, tried: Tried) -> bool:
    return tried.survived(but_tables=fault.spoils)


def _said(fault: Fault, tried: Tried) -> str:
    """One try, as it ends."""
    found = tried.verdict
    wrong = [
        f"{name} {value}" for name, value in vars(found).items() if value and not (fault.spoils and name == "unequal")
    ]
    wrong += [f"left {name}" for name in tried.left] + list(tried.wrong)
    outcome = "survived" if _survived(fault, tried) else "NOT SURVIVED"
    return (
        f"{fault.name}: {outcome} [{tried.moment}] codes {tried.codes} {'; '.join(wrong)} {tried.seconds:.0f} s\n"
        + "\n".join(f"    {line[:300]}" for line in tried.saw)
    )


def _row(fault: Fault, tried: Sequence[Tried]) -> str:
    """A fault's row of the table."""
    found = [each.verdict for each in tried]
    lines = Counter(each.saw[0] for each in tried)
    equal = sum(not each.unequal for each in found)
    return " | ".join(
        [
            f"| `{fault.name}`",
            fault.how,
            str(len(tried)),
            str(sum(_survived(fault, each) for each in tried)),
            str(sum(each.trials_lost for each in found)),
            str(sum(each.trials_doubled for each in found)),
            str(sum(each.fits_lost for each in found)),
            ", ".join(
                str(sum(getattr(each, f"runs_{what}") for each in found)) for what in ("open", "doubled", "lost")
            ),
            "–" if fault.spoils else f"{equal} of {len(found)}",
            str(sum(len(each.left) for each in tried)),
            ", ".join(dict.fromkeys(" then ".join(map(str, each.codes)) for each in tried)),
            lines.most_common(1)[0][0][:160].replace("|", "/"),
            f"{sum(each.seconds for each in tried) / len(tried):.0f} |",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
