"""A study in an object store is worked on in a copy, of which every change is published and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from study import report
from study.records import Started
from study.report import write_comparison_report
from study.storage import files
from study.storage.folder import Folder, StorageError
from study.storage.mirror import Mirror
from tests import made_up
from tests.object_store import Store, running_store


@pytest.fixture
def remote(object_store: Store) -> Folder:
    return object_store.folder()


def contents(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.sizes()}


def write(folder: Path, trials: int) -> None:
    files.write_study(folder, made_up.study(), {})
    for trial in made_up.trials(trials):
        files.write_trial(folder, trial)


def test_a_study_comes_back_from_the_store_as_it_was_published(tmp_path: Path, remote: Folder) -> None:
    write(tmp_path / "one", 12)
    files.write_fits(tmp_path / "one", made_up.fits({"frozen": (0.4, 0.9)}))
    Mirror(tmp_path / "one", remote).publish()
    Mirror(tmp_path / "two", remote).fetch()
    assert contents(Folder.of(tmp_path / "one")) == contents(Folder.of(tmp_path / "two")) == contents(remote)
    assert files.read_trials(tmp_path / "two") == made_up.trials(12)


def test_only_what_has_changed_is_published_and_what_is_gone_is_removed(tmp_path: Path, remote: Folder) -> None:
    write(tmp_path, 4)
    mirror = Mirror(tmp_path, remote)
    mirror.publish()
    for name in remote.sizes():  # whoever writes them again is seen
        remote.write(name, b"published")
    files.write_trial(tmp_path, replace(made_up.trials(4)[2], lane=9))
    (tmp_path / "trials" / "001.json").unlink()
    mirror.publish()
    assert [name for name, content in contents(remote).items() if content != b"published"] == ["trials/002.json"]
    assert sorted(remote.sizes()) == ["study.json", "trials/000.json", "trials/002.json", "trials/003.json"]
    mirror.publish()
    assert remote.read("study.json") == b"published"


def test_a_file_of_the_same_length_that_is_written_at_once_again_is_published(tmp_path: Path, remote: Folder) -> None:
    mirror = Mirror(tmp_path, remote)
    for content in (b"one", b"two", b"six"):
        files.write_whole(tmp_path / "a", content)
        mirror.publish()
        assert remote.read("a") == content


def test_what_was_fetched_is_not_published_again_and_can_be_removed(tmp_path: Path, remote: Folder) -> None:
    write(tmp_path / "one", 3)
    Mirror(tmp_path / "one", remote).publish()
    mirror = Mirror(tmp_path / "two", remote)
    mirror.fetch()
    remote.write("study.json", b"mark")
    (tmp_path / "two" / "trials" / "001.json").unlink()
    mirror.publish()
    assert remote.read("study.json") == b"mark" and "trials/001.json" not in remote.sizes()


def test_checkpoints_are_left_where_the_workers_write_them(tmp_path: Path, remote: Folder) -> None:
    (remote / "checkpoints" / "003").write("state-001.safetensors", b"large")
    remote.write("study.json", b"{}")
    mirror = Mirror(tmp_path, remote)
    mirror.fetch()
    mirror.publish()
    assert Folder.of(tmp_path).names() == ["study.json"]
    assert remote.sizes() == {"checkpoints/003/state-001.safetensors": 5, "study.json": 2}


def test_a_trial_is_published_before_the_note_that_it_runs_is_removed(
    tmp_path: Path, remote: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that dies in between finds the trial finished, and not gone."""
    mirror = Mirror(tmp_path, remote)
    files.write_started(tmp_path, Started(0, {}, "2025-01-31T12:00:00+00:00"))
    mirror.publish()
    files.write_trial(tmp_path, made_up.trials(1)[0])
    files.remove_started(tmp_path, 0)
    remove, seen = Folder.remove, list[list[str]]()

    def watched(folder: Folder, name: str) -> None:
        seen.append(sorted(folder.sizes()))
        remove(folder, name)

    monkeypatch.setattr(Folder, "remove", watched)
    mirror.publish()
    assert seen == [["running/000.json", "trials/000.json"]]
    assert list(remote.sizes()) == ["trials/000.json"]


def test_publishing_goes_on_once_the_store_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.storage.remote._ATTEMPTS", 1)
    monkeypatch.setattr("study.storage.remote._SILENCE", 2.0)
    write(tmp_path, 2)
    with running_store() as store:
        remote = store.folder()
        mirror = Mirror(tmp_path, remote)
        mirror.publish()
        store.process.send_signal(signal.SIGSTOP)
        files.write_trial(tmp_path, made_up.trials(3)[2])
        with pytest.raises(StorageError, match="--resume"):
            mirror.publish()
        store.process.send_signal(signal.SIGCONT)
        mirror.publish()
        assert sorted(remote.sizes()) == ["study.json", *(f"trials/00{number}.json" for number in range(3))]


def test_a_name_that_leads_outside_is_refused(tmp_path: Path, object_store: Store) -> None:
    remote = object_store.folder()
    bucket, name = remote.location.removeprefix("s3://").partition("?")[0].split("/")
    url = f"http://127.0.0.1:{object_store.port}/{bucket}/{name}/trials/..%2F..%2F..%2Fstolen"
    urllib.request.urlopen(urllib.request.Request(url, data=b"x", method="PUT")).close()
    with pytest.raises(ValueError, match="leads outside"):
        Mirror(tmp_path / "copy", remote).fetch()
    assert not list(tmp_path.rglob("stolen"))


def test_the_comparison_of_studies_in_a_store_is_written_there(
    tmp_path: Path, remote: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("rotnet", "vae"):
        folder = tmp_path / f"digits-{method}"
        files.write_study(folder, replace(made_up.study(), name=f"digits-{method}", method=method), {})
        files.write_trial(folder, made_up.trials(1)[0])
        files.write_fits(folder, made_up.fits({"frozen": (0.4, 0.9), "supervised": (0.2, 0.9)}))
        Mirror(folder, remote / folder.name).publish()
        (remote / folder.name / "checkpoints" / "best").write("encoder.safetensors", b"large")
    assert report.main(["--results", remote.location, "--latex"]) == 0
    assert capsys.readouterr().out == f"{remote}/report.html, report.md, report.tex, and comparison.parquet\n"
    write_comparison_report(tmp_path, latex=True)
    for name in ("report.md", "report.html", "report.tex"):
        assert remote.read(name) == (tmp_path / name).read_bytes()
    assert remote.exists("comparison.parquet") and (remote / "figures").names()


def test_a_store_without_studies_is_bad_input_of_one_line(remote: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        report.main(["--results", remote.location])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: no study in {remote}: ")


def test_a_store_out_of_reach_is_one_line_and_no_traceback() -> None:
    address = "s3://key:secret@bucket/x?endpoint_override=127.0.0.1:9&scheme=http"
    ran = subprocess.run(
        [sys.executable, "-m", "study.report", "--results", address], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: s3://bucket/x fails (") and ran.stderr.count("\n") == 1
    assert "secret" not in ran.stderr
