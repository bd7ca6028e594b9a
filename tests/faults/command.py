"""A study's command under observation: what it prints and when, its processes, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

HERE = Path(__file__).parent
NAME = "tiny"
TRIALS = 12
STUDY = (
    *("--method", "rotnet", "--name", NAME, "--lanes", "1", "--trials", str(TRIALS), "--epochs", "4"),
    *("--epoch-images", "64", "--fractions", "0.1,0.2", "--draws", "2", "--objective-fraction", "0.1"),
    *("--modes", "frozen,random"),
)
PATIENCE = 600.0  # seconds without a line, or without the end that is due, after which a command counts as hung
_MARK = "STUDY_FAULTS_RUN"  # in the environment of all its processes


class Running:
    """`python -m study.run` with a tiny study in `results`. Its processes carry a mark: ours alone are ended."""

    def __init__(
        self,
        images: Path,
        results: Path,
        *more: str,
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> None:
        """`images` holds class folders, `more` are further options, the later winning; `terminal`: where to run."""
        self._mark = uuid.uuid4().hex
        root = HERE.parent.parent
        self.begun = time.monotonic()
        self.lines: list[str] = []
        self.spoke = self.begun
        where = ("--dataset", f"folder:{images}", "--results", str(results))
        command = [sys.executable, "-m", "study.run", *STUDY, *where, *more]
        self._process = subprocess.Popen(
            command if terminal is None else ["setsid", "--ctty", "--wait", *command],
            stdin=terminal if terminal is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=terminal is None,
            cwd=root,  # which comes first where Python looks for modules
            env=os.environ
            | {"PYTHONPATH": f"{HERE / 'faulty'}{os.pathsep}{root}", _MARK: self._mark}
            | dict(environment or {}),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())
            self.spoke = time.monotonic()

    @property
    def driver(self) -> psutil.Process:
        """The command's own process."""
        started = psutil.Process(self._process.pid)
        return started.children()[0] if started.name() == "setsid" else started

    @property
    def alive(self) -> bool:
        """Whether the command has not ended yet."""
        return self._process.poll() is None

    @property
    def stage(self) -> str:
        """The last phase that it printed."""
        phases = ("preparing", "starting", "search", "curve", "other uses", "writing", "closing")
        seen = [phase for line in self.lines for phase in phases if phase in line.split("trial")[0]]
        return seen[-1] if seen else "import"

    @property
    def saw(self) -> str:
        """The line that a user reads as the outcome: an error where there is one, or the last."""
        spoken = [line for line in self.lines if line.startswith(("error:", "interrupted:", "MLflow:"))]
        return (spoken or [line for line in self.lines if line.strip()] or ["nothing"])[-1]

    def until(self, found: Callable[[], object]) -> bool:
        """Wait until `found`, the command's end or the end of our patience; whether it was found."""
        while not (seen := found()) and self.alive and time.monotonic() - self.spoke < PATIENCE:
            time.sleep(0.01)
        return bool(seen)

    def until_said(self, text: str) -> bool:
        """Wait until a line holds `text`."""
        return self.until(lambda: any(text in line for line in list(self.lines)))

    def until_moment(self, seconds: float) -> None:
        """Wait until so many seconds after the start."""
        self.until(lambda: time.monotonic() - self.begun >= seconds)

    def children(self, *titles: str) -> list[psutil.Process]:
        """The driver's descendants whose command line begins with one of `titles`, or has a program of that name."""
        found = []
        for process in self.driver.children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.Error:  # it has ended meanwhile
                continue
            if words and (words[0].startswith(titles) or Path(words[0]).name in titles):
                found.append(process)
        return found

    def end(self) -> int | None:
        """Its exit code, or None where it hung; what it then left running is ended. See `left`."""
        while (code := self._process.poll()) is None and time.monotonic() - self.spoke < PATIENCE:
            time.sleep(0.05)
        if code is None:
            self.driver.kill()
            self._process.wait()
        deadline = time.monotonic() + 30
        while (left := self._marked()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.left = []
        for process in left:
            with suppress(psutil.Error):
                self.left.append(" ".join(Path(word).name for word in process.cmdline()[:4]))
                process.kill()
        self._reader.join(timeout=10)
        return code

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found
