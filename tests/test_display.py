"""What the person at the terminal sees."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from study.records import Trial
from study.terminal.display import Display
from study.terminal.time_left import duration, steps_left, trials_left
from tests import made_up

TRIALS = made_up.trials(10)  # number 4 and 9 failed
BEST = max((trial for trial in TRIALS if trial.objective is not None), key=lambda trial: trial.objective or 0.0)
POINTS = [
    ("frozen", 126, 0.1, 0.681, 0.66, 0.702, 5),
    ("supervised", 126, 0.1, 0.442, 0.40, 0.484, 5),
    ("frozen", 1257, 1.0, 0.9, None, None, 1),
]
PATHS = [Path("results/a-study/report.html")]
COMMAND = "mlflow ui --backend-store-uri sqlite:///results/mlflow.db"


def display(file: io.StringIO, terminal: bool = False, quiet: bool = False, budget: float | None = None) -> Display:
    console = Console(file=file, width=120, force_terminal=terminal, force_interactive=terminal, _environ={})
    return Display("a-study", "rotnet", "photo-digits", None if budget else 20, budget, 9, 2, quiet, console)


def run(shown: Display, trials: list[Trial]) -> None:
    """A short study: what the driver tells a display, in order."""
    with shown:
        shown.phase("preparing images")
        shown.preparing(5028, 5028)
        shown.phase("search")
        for trial in trials:
            for epoch in trial.history:
                shown.epoch(trial.lane, trial.number, epoch)
            shown.finished(trial)
        shown.phase("curve")
        shown.fits(70, 140)
        shown.note("MLflow: not recorded")
        shown.summary(POINTS, BEST, PATHS, COMMAND)


def picture(shown: Display) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(shown._picture())
    return capture.get()


def test_a_pipe_gets_a_plain_line_for_each_trial_and_phase() -> None:
    file = io.StringIO()
    run(display(file), TRIALS)
    text = file.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert [line for line in lines if line in ("preparing images", "search", "curve")] == [
        "preparing images",
        "search",
        "curve",
    ]
    assert sum(line.startswith("trial ") for line in lines) == len(TRIALS)
    assert "trial 4 failed: FloatingPointError: the loss is NaN in epoch 1" in lines
    assert any(line.startswith("trial 3 completed: ") and "4 of 20 trials" in line for line in lines)


def test_a_quiet_study_says_nothing_before_its_end_and_its_notes_then() -> None:
    file = io.StringIO()
    shown = display(file, quiet=True)
    with shown:
        shown.phase("search")
        shown.finished(TRIALS[0])
        shown.note("12 images were skipped")
        assert file.getvalue() == ""
        shown.summary(POINTS, BEST, PATHS, COMMAND)
    assert file.getvalue().startswith("12 images were skipped\n")
    assert "mlflow ui" in file.getvalue()


def test_a_terminal_keeps_notes_and_failures_above_a_picture_that_goes_away() -> None:
    file = io.StringIO()
    run(display(file, terminal=True), TRIALS)
    text = file.getvalue()
    assert "trial 4 failed: FloatingPointError" in text
    assert "MLflow: not recorded" in text
    assert text.rindex("\x1b[?25h") < text.index("best trial")  # the cursor is back before the summary


def test_the_picture_shows_lanes_progress_best_and_counts() -> None:
    shown = display(io.StringIO(), terminal=True)
    shown.phase("search")
    for trial in TRIALS:
        shown.finished(trial)
    shown.epoch(0, 10, replace(TRIALS[0].history[3], objective=0.4567))
    shown.epoch(1, 11, TRIALS[0].history[0])
    text = picture(shown)
    assert "10 of 20 trials" in text
    assert "left" in text
    assert "trial 10, epoch 4 of 9" in text
    assert "45.7 %" in text
    assert "trial 11, epoch 1 of 9" in text
    assert f"best {100 * (BEST.objective or 0):.1f} % in trial {BEST.number}: batch_size" in text
    assert f"{sum(trial.status == 'pruned' for trial in TRIALS)} pruned   2 failed" in text


def test_the_picture_counts_images_and_fits_outside_the_search() -> None:
    shown = display(io.StringIO(), terminal=True)
    shown.phase("preparing images")
    assert "preparing images" in picture(shown)
    shown.preparing(1000, 5028)
    assert "1,000 of 5,028 images" in picture(shown)
    shown.phase("curve")
    assert "images" not in picture(shown)
    shown.fits(70, 140)
    assert "70 of 140 fits" in picture(shown)


def test_a_budget_is_shown_as_time_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("study.terminal.display.time.monotonic", lambda: clock)
    shown = display(io.StringIO(), terminal=True, budget=600)
    clock = 100.0
    shown.phase("search")
    clock = 220.0
    shown.finished(TRIALS[0])
    assert "1 trial, 2 min of 10 min" in picture(shown)
    assert "8 min left" in picture(shown)


def test_a_running_trial_is_no_longer_shown_once_it_ended() -> None:
    shown = display(io.StringIO(), terminal=True)
    shown.phase("search")
    shown.epoch(0, 0, TRIALS[0].history[0])
    assert "trial 0" in picture(shown)
    shown.finished(TRIALS[0])
    assert "trial 0, epoch" not in picture(shown)


def test_an_objective_that_is_no_number_is_never_the_best() -> None:
    shown = display(io.StringIO(), terminal=True)
    shown.finished(replace(TRIALS[0], objective=float("nan")))
    assert "best" not in picture(shown)
    shown.finished(TRIALS[1])
    assert "in trial 1" in picture(shown)


def test_the_summary_has_a_row_for_each_label_count_and_a_column_for_each_mode() -> None:
    file = io.StringIO()
    run(display(file), TRIALS[:1])
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    assert "labels of all frozen supervised" in lines
    assert "126 10 % 68.1 ± 2.1 44.2 ± 4.2" in lines
    assert "1,257 100 % 90.0" in lines
    assert str(PATHS[0]) in lines
    assert COMMAND in lines
    assert any(line.startswith(f"best trial {BEST.number}: ") and "label_smoothing" in line for line in lines)


def test_paths_and_commands_are_never_wrapped_or_read_as_markup() -> None:
    file = io.StringIO()
    shown = display(file)
    path = Path("results", "[red]" + "a" * 200, "report.html")
    command = f"mlflow ui --backend-store-uri 'sqlite:////{'b' * 200} c/mlflow.db'"
    shown.summary([], None, [path], command)
    assert file.getvalue().splitlines() == [str(path), command]


def test_time_left_of_a_search_counts_lanes_and_what_is_under_way() -> None:
    assert trials_left([], [5.0], 10, 2) is None
    assert trials_left([10.0, 20.0], [], 10, 1) == 150
    assert trials_left([10.0, 20.0], [], 10, 5) == 30
    assert trials_left([10.0], [5.0, 5.0], 4, 2) == 15
    assert trials_left([10.0], [], 1, 8) == 10  # the last trial has one lane, however many are idle
    assert trials_left([10.0], [99.0], 1, 2) == 0
    assert trials_left([10.0], [], 0, 2) == 0


def test_time_left_of_equal_steps_is_proportional() -> None:
    assert steps_left(30, 10, 40) == 90
    assert steps_left(30, 0, 40) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.7, "1 min"),
        (192, "3 min 12 s"),
        (3600, "1 h"),
        (7530, "2 h 5 min"),
        (90000, "25 h"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
