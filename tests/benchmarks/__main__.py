"""`python -m tests.benchmarks [NAME ...]`: what is measured, not asserted. Each prints lines `NAME ratio R`."""

from __future__ import annotations

import sys

from tests.benchmarks import dataloader, heads, ledger, limit, nested, overhead, precision, rungs, scale, search, views

BENCHMARKS = {
    "dataloader": dataloader.main,
    "heads": heads.main,
    "ledger": ledger.main,
    "limit": limit.main,
    "nested": nested.main,
    "overhead": overhead.main,
    "precision": precision.main,
    "rungs": rungs.main,
    "scale": scale.main,
    "search": search.main,
    "views": views.main,
}


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"error: no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
