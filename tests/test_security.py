"""What somebody else made is data and nothing more: a results folder, images and names that mean harm do none."""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import torch

from study import run
from study.command_line import refuse
from study.data.own_images import MOST_NAME, source_name
from study.data.sources import open_source
from study.report import main, write_study_report
from study.reporting.latex import escaped
from study.storage import files
from study.storage.folder import Folder
from study.storage.locks import held
from study.storage.uses import write_uses
from study.tracking.tracker import Tracker
from tests import made_up
from tests.fuzz.targets import HERE, TARGETS, Target
from tests.image_files import write_classes
from tests.test_architecture import MODULES, ROOT, imports
from tests.test_report import _Reader

# Nothing is unpickled.

UNPICKLERS = {"pickle", "dill", "joblib", "shelve", "marshal", "yaml", "cloudpickle", "scipy.io"}
LOADERS = {"load", "loads", "read_pickle", "read_hdf", "load_module", "load_model", "Unpickler"}
LOADED = {"json", "safetensors.torch", "np"}  # modules whose `load` unpickles nothing; NumPy's unless it is told to


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_what_lies_in_a_file(path: Path) -> None:
    own = path.parent.name == "cluster" and path.stem in (
        "post_office",
        "messages",
    )  # between our own processes, in Ray
    found = {name for name in imports(path) if name in UNPICKLERS or name.split(".")[0] in UNPICKLERS}
    assert not found, f"{path} imports {found}"
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__"), f"{path}: {called}"
            if isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
                assert called.rpartition(".")[0] in LOADED or own, f"{path}: {called}"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.sprung),))


def traps(sprung: Path) -> dict[str, bytes]:
    """A pickle as it stands, as torch writes it, and as NumPy does."""
    saved, array = io.BytesIO(), io.BytesIO()
    torch.save({"method": Trap(sprung)}, saved)
    np.save(array, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    return {"pickle": pickle.dumps(Trap(sprung)), "torch": saved.getvalue(), "numpy": array.getvalue()}


def test_the_traps_would_spring(tmp_path: Path) -> None:
    pickle.loads(traps(tmp_path / "sprung")["pickle"])
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("target", [target for target in TARGETS if target.damaged], ids=lambda target: target.name)
def test_a_pickle_in_place_of_any_file_that_is_read_is_never_executed(target: Target, tmp_path: Path) -> None:
    folder, sprung = tmp_path / "in" / HERE, tmp_path / "sprung"
    folder.parent.mkdir()
    target.make(folder)
    tried = 0
    for pattern in target.damaged:
        for path in sorted(path for path in folder.glob(pattern) if path.is_file())[:20]:
            kept = path.read_bytes()
            for trap in traps(sprung).values():
                path.write_bytes(trap)
                try:
                    target.use(folder, Random(0))
                except (ValueError, SystemExit) as error:
                    assert "\n" not in str(error)
                tried += 1
            path.write_bytes(kept)
    assert tried and not sprung.exists()


def test_a_parquet_file_that_names_a_pickled_type_is_data(tmp_path: Path) -> None:
    trap = traps(tmp_path / "sprung")["pickle"]
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": trap}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field("image", image, metadata=extension), pa.field("label", pa.int64(), metadata=extension)]
    schema = pa.schema(fields, {"pandas": trap, "huggingface": "{}"})
    table = pa.table([pa.array([{"bytes": b"x", "path": None}] * 4, image), pa.array([0, 1, 0, 1])], schema)
    pa.parquet.write_table(table, tmp_path / "train.parquet")
    assert open_source(f"parquet:{tmp_path}").open().classes == ("0", "1")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_batches_of_cifar_that_are_not_the_published_ones_are_refused_unread(name: str, tmp_path: Path) -> None:
    for file in (f"{folder}/{name}" for folder, names in CIFAR.items() for name in names):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(traps(tmp_path / "sprung")["pickle"])
    with pytest.raises(ValueError, match="is damaged"):  # torchvision compares a checksum before it unpickles
        open_source(name, data_dir=tmp_path).open()
    assert not (tmp_path / "sprung").exists()


CIFAR = {
    "cifar-10-batches-py": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    "cifar-100-python": ("train", "test", "meta"),
}

# Names stay in their place, and so do links.


@pytest.mark.parametrize("name", ["..", "a/../..", "a b;rm", "x" * 250, "é" * 120, "😀", ".hidden", "-x", "a\nb"])
def test_the_name_of_a_source_is_one_short_part_of_a_path(name: str, tmp_path: Path) -> None:
    made = source_name(tmp_path / name)
    assert made == Path(made).name and made not in ("", ".", "..")
    assert len(made.encode()) <= MOST_NAME and not made.startswith((".", "-")) and made.isprintable()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", os.fsdecode(b"\xff"), "\u202e"])
def test_a_class_whose_name_cannot_be_printed_is_refused(name: str, tmp_path: Path) -> None:
    write_classes(tmp_path, "a", name)
    with pytest.raises(ValueError, match="rename it") as caught:
        open_source(f"folder:{tmp_path}")
    assert str(caught.value).isprintable()


def test_pipes_and_devices_among_the_images_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_classes(tmp_path / "own", "a", "b")
    pipe = tmp_path / "own" / "a" / "9.png"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"9\.png is no plain file"):
        open_source(f"folder:{tmp_path / 'own'}")
    pipe.unlink()
    pipe.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="leads to no file below"):
        open_source(f"folder:{tmp_path / 'own'}")
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet is no plain file"):
        open_source(f"parquet:{tmp_path}").open()


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a device"])
def test_what_stands_for_a_trial_but_is_no_file_of_the_study_is_refused(kind: str, tmp_path: Path) -> None:
    for study in ("own", "other"):
        files.write_trial(tmp_path / study, made_up.trials(1)[0])
    path = tmp_path / "own" / "trials" / "000.json"
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "a device" else tmp_path / "other" / "trials" / "000.json")
    with pytest.raises(ValueError, match=r"trials/000\.json cannot be read"):
        files.read_trials(tmp_path / "own")


def test_a_link_in_place_of_a_lock_does_not_empty_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "results" / ".locks").mkdir(parents=True)
    (tmp_path / "results" / ".locks" / "one").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="fails"), held(tmp_path / "results", "one"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


def test_links_in_a_results_folder_are_not_sent_to_a_tracking_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Path] = []
    tracker = Tracker("sqlite:///" + str(tmp_path / "x.db"), made_up.study(), "id", Folder.of(tmp_path))
    monkeypatch.setattr(tracker, "_courier", Recorder(sent))
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "one"
    (folder / "figures").mkdir(parents=True)
    (folder / "report.md").write_text("shown")
    (folder / "stolen.md").symlink_to(tmp_path / "secret")
    tracker.log_files(folder)
    assert sent == [folder / "report.md", folder / "figures"]
    (folder / "figures" / "a.png").symlink_to(tmp_path / "secret")
    sent.clear()
    tracker.log_files(folder)
    assert sent == [folder / "report.md"]


class Recorder:
    """Stands for what brings notes to a store."""

    def __init__(self, sent: list[Path]) -> None:
        self.sent = sent

    def tell(self, note: object) -> None:
        self.sent += getattr(note, "files", ())


# Text is shown as text.

EVIL = ("<script>alert(1)</script>", "a|b`c`", "\\input{/etc/passwd}", "[2em]", "x]]>\x07", '"onload="alert(1)', "é😀")


def test_names_of_classes_and_studies_are_shown_as_text_everywhere(tmp_path: Path) -> None:
    classes = (*EVIL, "h", "i", "j")
    study = replace(made_up.study(EVIL[0] + EVIL[2]), classes=classes, dataset=EVIL[2] + EVIL[1])
    trials, fits = made_up.trials(6), made_up.fits({"frozen": (0.4, 0.9), "supervised": (0.3, 0.9)})
    folder = tmp_path / "one"
    files.write_study(folder, study, {"command": list(EVIL), EVIL[0]: {EVIL[1]: EVIL[4]}})
    for trial in trials:
        files.write_trial(folder, replace(trial, error=EVIL[0] if trial.error else None))
    files.write_fits(folder, fits)
    write_uses(folder, made_up.uses())
    write_study_report(folder, study, files.read_trials(folder), files.read_fits(folder))
    assert main(["--results", str(tmp_path), "--latex"]) == 0
    for page in (folder / "report.html", tmp_path / "report.html"):
        reader = _Reader()
        reader.feed(page.read_text())
        assert reader.tags.count("script") == 1 and not re.search(r"<[^>]*\sonload=", page.read_text())
    for picture in [*folder.rglob("*.svg"), *tmp_path.glob("*.svg")]:
        ElementTree.parse(picture)
    for page in (folder / "report.md", tmp_path / "report.md"):
        plain = re.sub(r"(?m)^    .*$", "", page.read_text())  # code shows everything as it stands
        assert not re.search(r"(?<!\\)<script", plain)
        assert "\x07" not in plain
    assert not re.search(r"\\input|(?m:^\[)", (tmp_path / "report.tex").read_text())


@pytest.mark.parametrize("text", EVIL)
def test_latex_sees_no_command_in_a_name(text: str) -> None:
    commands = set(re.findall(r"\\[a-z]+", escaped(text)))
    assert commands <= {r"\textbackslash", r"\textless", r"\textgreater", r"\textasciitilde", r"\textasciicircum"}
    assert not escaped(text).startswith("[")


def test_an_error_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        refuse("no file \x1b]0;owned\x07\x9b2J\u202e here\nor there")
    assert capsys.readouterr().err == "error: no file ?]0;owned??2J? here or there\n"


# Secrets of an address are shown nowhere.

SECRET = "s3://KEYID:SECRETPART@bucket/results?endpoint_override=127.0.0.1:1&scheme=http"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--results", SECRET],
        ["--results", SECRET.replace("s3:", "s4:")],
        ["--dataset", SECRET],
        ["--dataset", f"folder:{SECRET}"],
        ["--data-dir", SECRET, "--dataset", "mnist"],
        ["--unlabelled", SECRET],
        ["--tracking-uri", "nosql://user:SECRETPART@host/"],
        ["--tracking-uri", "postgresql://user:SECRETPART@host:x/"],
        ["--traking-uri", "http://user:SECRETPART@host/"],
        ["--address", "ray://user:SECRETPART@127.0.0.1:1"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_refused_command_line_does_not_show_its_secrets(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started for input that is bad"))
    try:
        assert run.main(["--method", "rotnet", "--quiet", *arguments]) == 1
    except SystemExit as ended:
        assert ended.code == 2
    printed = capsys.readouterr()
    assert printed.err and "SECRETPART" not in printed.out + printed.err
    assert not list(tmp_path.rglob("*SECRETPART*"))
