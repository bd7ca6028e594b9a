"""Whole studies through the command, small enough for two cores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from study import run
from study.storage.files import read_trials

SMALL = ["--method", "rotnet", "--dataset", "photo-digits:1257", "--epochs", "4", "--epoch-images", "96"]
CURVE = ["--fractions", "0.01,0.02", "--draws", "2", "--objective-fraction", "0.01"]


@dataclass(frozen=True)
class Ran:
    """A study that was run, and what it printed."""

    results: Path
    printed: str

    @property
    def folder(self) -> Path:
        return self.results / "photo-digits-1257-rotnet"

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def ran(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("rich.console.Console.print", lambda self, *text, **how: lines.append(" ".join(map(str, text))))
        code = run.main([*SMALL, *CURVE, "--trials", "6", "--lanes", "2", "--results", str(results)])
    assert code == 0
    return Ran(results, "\n".join(lines))


def test_every_trial_has_its_row(ran: Ran) -> None:
    trials = ran.table("trials")
    assert sorted(trials["trial"]) == list(range(6))
    assert set(trials["status"]) <= {"completed", "pruned"}
    assert {f"param.{name}" for name in ("batch_size", "lr", "dropout", "augmentation", "label_smoothing")} <= set(
        trials
    )
    assert trials["objective"].between(0.05, 1).all()
    history = ran.table("history")
    assert (history.groupby("trial").size().sort_index() == trials.set_index("trial")["epochs"].sort_index()).all()


def test_the_curve_has_a_row_for_every_mode_budget_draw_and_split(ran: Ran) -> None:
    curves = ran.table("curves")
    assert len(curves) == 4 * 2 * 2 * 2
    assert set(curves["mode"]) == {"frozen", "finetuned", "supervised", "random"}
    assert set(curves["labels"]) == {13, 25}
    assert curves["accuracy"].between(0, 1).all()
    best = curves[curves["mode"] == "frozen"]["trial_id"].unique()
    trials = ran.table("trials")
    assert list(best) == [trials["trial_id"][trials["objective"].argmax()]]


def test_other_uses_are_measured_of_the_best_encoder_and_of_an_untrained_one(ran: Ran) -> None:
    uses, curves, trials = ran.table("uses"), ran.table("curves"), ran.table("trials")
    assert set(uses["encoder"]) == {"pretrained", "random"}
    assert set(uses["use"]) == {"linear", "neighbours", "clustering", "retrieval"}
    assert list(uses["trial_id"].unique()) == [trials["trial_id"][trials["objective"].argmax()]]
    linear = uses[(uses["use"] == "linear") & (uses["measure"] == "accuracy") & (uses["stage"] == "conv3")]
    for encoder, mode in (("pretrained", "frozen"), ("random", "random")):
        ours = linear[(linear["encoder"] == encoder) & (linear["labels"] == 13)]["value"].item()
        first = curves[(curves["mode"] == mode) & (curves["labels"] == 13) & (curves["draw"] == 0)]
        assert ours == pytest.approx(first[first["split"] == "test"]["accuracy"].item()), "the curve's own head"
    assert "What else the features are good for" in (ran.folder / "report.md").read_text()


def test_nothing_but_the_study_is_left(ran: Ran) -> None:
    assert {path.name for path in ran.folder.iterdir()} == {
        *("study.json", "trials", "fits", "running", "checkpoints"),
        *("trials.parquet", "history.parquet", "curves.parquet", "report.md", "report.html", "curves.svg"),
        *("uses.json", "uses.parquet", "uses", "projector", "figures", "confusion.svg"),
    }
    assert [path.name for path in (ran.folder / "checkpoints").iterdir()] == ["best"]
    assert not list((ran.folder / "running").iterdir())


def test_mlflow_has_a_parent_and_a_child_a_trial_and_none_is_running(ran: Ran) -> None:
    client = MlflowClient(f"sqlite:///{ran.results}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    children = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 6
    assert {each.info.status for each in children} <= {"FINISHED", "KILLED"} and parent.info.status == "FINISHED"
    assert all(
        {"batch_size", "lr", "dropout", "augmentation", "label_smoothing"} <= set(c.data.params) for c in children
    )
    assert "accuracy.frozen" in parent.data.metrics
    assert "use.random.retrieval.mean_average_precision" in parent.data.metrics


def test_the_end_says_what_was_found_and_where_it_lies(ran: Ran) -> None:
    assert "report.html" in ran.printed and "mlflow ui --backend-store-uri sqlite:///" in ran.printed


def test_a_study_that_exists_is_not_touched(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in ran.folder.rglob("*")}
    with pytest.raises(SystemExit) as ended:
        run.main([*SMALL, "--results", str(ran.results)])
    assert ended.value.code == 2 and "--resume" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in ran.folder.rglob("*")}


def test_another_configuration_is_not_resumed(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main([*SMALL, *CURVE, "--draws", "3", "--lanes", "2", "--resume", "--results", str(ran.results)])
    assert ended.value.code == 2 and "draws was 2 and is 3" in capsys.readouterr().err


def test_a_study_of_an_older_version_gets_its_other_uses(ran: Ran) -> None:
    before = (ran.folder / "uses.parquet").read_bytes()
    for path in (ran.folder / "uses.json", ran.folder / "uses.parquet"):
        path.unlink()
    kept = [path.stat().st_mtime_ns for path in (ran.folder / "fits").iterdir()]
    arguments = [*SMALL, *CURVE, "--trials", "6", "--lanes", "2", "--resume", "--quiet", "--results", str(ran.results)]
    assert run.main(arguments) == 0
    assert (ran.folder / "uses.parquet").read_bytes() == before
    assert [path.stat().st_mtime_ns for path in (ran.folder / "fits").iterdir()] == kept


def test_a_study_with_another_curve_takes_over_the_trials(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    other = ["--name", "other", "--fractions", "0.02,0.05", "--draws", "2", "--objective-fraction", "0.01"]
    arguments = [*SMALL, *other, "--modes", "frozen", "--trials", "6", "--lanes", "2", "--results", str(ran.results)]
    before = {trial.number: trial for trial in read_trials(ran.folder)}
    assert run.main(arguments) == 0
    trials = read_trials(ran.results / "other")
    assert len(trials) == 6 and {trial.taken_from for trial in trials} == {ran.folder.name}
    for trial in trials:
        ran_there = before[trial.number]
        both = list(zip(trial.history, ran_there.history, strict=False))  # with two lanes one may be cut elsewhere
        assert both and all((a.objective, a.loss, a.numbers) == (b.objective, b.loss, b.numbers) for a, b in both)
        assert trial.params == ran_there.params and all(a.seconds == b.seconds for a, b in both)
    said = capsys.readouterr().out
    assert "6 of 6 trials are those of photo-digits-1257-rotnet" in said and "pretrained once more" not in said
    best = "checkpoints/best/encoder.safetensors"
    assert (ran.results / "other" / best).read_bytes() == (ran.folder / best).read_bytes()
    curves = pd.read_parquet(ran.results / "other" / "curves.parquet")
    assert set(curves["labels"]) == {25, 63} and set(curves["mode"]) == {"frozen"}
    assert "taken from photo-digits-1257-rotnet" in (ran.results / "other" / "report.md").read_text()


def test_a_finished_study_is_extended(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_trials(ran.folder)
    code = run.main(
        [*SMALL, *CURVE, "--trials", "7", "--lanes", "2", "--resume", "--quiet", "--results", str(ran.results)]
    )
    assert code == 0
    after = read_trials(ran.folder)
    assert after[:6] == before and len(after) == 7
    assert json.loads((ran.folder / "study.json").read_text())["study"]["trials"] == 7
    assert "rotnet" not in capsys.readouterr().out.splitlines()[0], "a quiet study prints its end alone"
