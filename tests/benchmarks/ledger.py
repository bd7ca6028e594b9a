"""ledger: where each second of the default study goes, in a table that adds up to the wall time.

Runs `python -m study.run --method rotnet --trials 50` as a command, times its phases by the lines that it prints, and
takes from its tables what the lanes did in the search and in the curve. Seconds of lanes are divided by their number.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from study.storage.files import read_trials

COMMAND = ("-m", "study.run", "--method", "rotnet", "--trials", "50")
PHASES = (  # as a study prints them, whatever its name is
    "preparing images",
    "starting Ray",
    "starting lanes",
    "search",
    "curve",
    "other uses of the features",
    "writing tables and report",
    "closing MLflow",
)


FITS = ("curve: finetuned", "curve: supervised")


def main() -> None:
    """Print the table, and a line `ledger ratio R`: the share of the wall time that is training steps."""
    with tempfile.TemporaryDirectory() as results:
        begun = time.time()
        phases = _run([sys.executable, *COMMAND, "--results", results])
        wall = time.time() - begun
        study = next(path.parent for path in Path(results).glob("*/study.json"))
        lanes = int(json.loads((study / "study.json").read_text())["study"]["lanes"])
        rows = _rows(phases, study, lanes)
    for name, seconds in rows:
        print(f"{seconds:8.1f} s {100 * seconds / wall:5.1f} %  {name}")
    total = sum(seconds for _, seconds in rows)
    print(f"{total:8.1f} s {100 * total / wall:5.1f} %  all rows; the command took {wall:.1f} s")
    steps = dict(rows)["search: training steps"] + sum(seconds for name, seconds in rows if name in FITS)
    print(
        f"ledger ratio {steps / wall:.2f}  {steps:.0f} s of training and of fits in {wall:.0f} s, {lanes} lanes; "
        f"{' '.join(COMMAND)}; {len(os.sched_getaffinity(0))} CPUs ({platform.machine()})"
    )


def _run(command: list[str]) -> dict[str, float]:
    """Seconds of each phase, from the command's start to its end."""
    phases: dict[str, float] = {}
    name, begun = "importing", time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.rstrip().rpartition(": ")[2]
            found = next((phase for phase in PHASES if text == phase), None)
            if text.startswith("starting ") and text.endswith((" lane", " lanes")):
                found = "starting lanes"
            if found:
                phases[name] = phases.get(name, 0.0) + time.time() - begun
                name, begun = found, time.time()
    phases["ending"] = 0.0
    phases[name] = phases.get(name, 0.0) + time.time() - begun
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return phases


def _rows(phases: dict[str, float], study: Path, lanes: int) -> list[tuple[str, float]]:
    """The phases, with the search and the curve split into what their lanes did."""
    epochs = [epoch for trial in read_trials(study) for epoch in trial.history]
    curves = pd.read_parquet(study / "curves.parquet")
    fits = curves[curves["split"] == "test"].groupby("mode")["seconds"].sum() / lanes
    steps = sum(epoch.images_seen / epoch.images_per_second for epoch in epochs) / lanes
    judging = sum(epoch.seconds for epoch in epochs) / lanes - steps
    rows: list[tuple[str, float]] = []
    for name, seconds in phases.items():
        if name == "search":
            rows += [("search: training steps", steps), ("search: features, heads and figures", judging)]
            rows.append(("search: checkpoints, proposals, lanes that wait", seconds - steps - judging))
        elif name == "curve":
            rows += [(f"curve: {mode}", float(found)) for mode, found in fits.items()]
            rows.append(("curve: tuning, lanes that wait", seconds - float(fits.sum())))
        else:
            rows.append((name, seconds))
    return rows
