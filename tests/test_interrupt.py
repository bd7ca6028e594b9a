"""Ctrl-C at the terminal: the study is kept, the end says how to go on, and going on works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study.storage.files import read_trials

pytestmark = pytest.mark.slow  # two whole commands, each with its own Ray

COMMAND = [
    *(sys.executable, "-m", "study.run", "--method", "rotnet", "--dataset", "photo-digits:1257", "--trials", "6"),
    *("--epochs", "4", "--epoch-images", "256", "--fractions", "0.01", "--draws", "2", "--objective-fraction", "0.01"),
]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_goes_on(tmp_path: Path, kind: signal.Signals) -> None:
    command = [*COMMAND, "--results", str(tmp_path)]
    folder = tmp_path / "photo-digits-1257-rotnet"
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("trial"):
            break
    running.send_signal(kind)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "go on with" in errors and "--resume" in errors and "Traceback" not in errors
    kept = read_trials(folder)
    assert 1 <= len(kept) < 6

    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=400)
    assert resumed.returncode == 0, resumed.stderr
    trials = read_trials(folder)
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial in trials for trial in kept), "what was finished is as it was"
