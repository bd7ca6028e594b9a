"""What a person may get wrong: one line that says what to do, exit code 2, and nothing left behind."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study import run


def save(path: Path, side: int = 32, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_folder(folder: Path, classes: int, images: int) -> Path:
    for label in range(classes):
        for number in range(images):
            save(folder / f"class{label}" / f"{number}.png", seed=label * 100 + number)
    return folder


def corrupt(folder: Path) -> Path:
    class_folder(folder, 2, 12)
    (folder / "class1" / "3.png").write_bytes(b"no image at all")
    return folder


def table(folder: Path, columns: dict[str, pa.Array]) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return folder


def no_images(folder: Path) -> Path:
    return table(folder, {"text": pa.array(["a", "b"]), "label": pa.array([0, 1])})


def broken_images(folder: Path) -> Path:
    buffer = io.BytesIO(b"not a picture")
    images = [{"bytes": buffer.getvalue(), "path": None}] * 40
    return table(folder, {"image": pa.array(images), "label": pa.array([0, 1] * 20)})


ROTNET = ["--method", "rotnet"]
Make = Callable[[Path], list[str]]

BAD: dict[str, tuple[list[str] | Make, str]] = {
    "no method": ([], "--method"),
    "unknown method": (["--method", "rotnett"], "no method 'rotnett': did you mean rotnet?"),
    "unknown data set": ([*ROTNET, "--dataset", "cifr10"], "did you mean cifar10?"),
    "unknown encoder": ([*ROTNET, "--encoder", "resnet19"], "did you mean resnet18?"),
    "unknown stage": ([*ROTNET, "--tap", "conv9"], "no stage 'conv9': did you mean conv4?"),
    "modes that a method lacks": (["--method", "supervised", "--modes", "frozen"], "--modes takes supervised, random"),
    "unknown option": ([*ROTNET, "--trails", "5"], "--trails"),
    "zero trials": ([*ROTNET, "--trials", "0"], "at least 1"),
    "trials that are no number": ([*ROTNET, "--trials", "many"], "'many' is not a whole number"),
    "negative epochs": ([*ROTNET, "--epochs", "-3"], "at least 1"),
    "a fraction above one": ([*ROTNET, "--fractions", "0.1,1.5"], "at most at 1"),
    "a fraction of zero": ([*ROTNET, "--fractions", "0"], "above 0"),
    "a fraction twice": ([*ROTNET, "--fractions", "0.1,0.1"], "twice"),
    "a fraction that is no number": ([*ROTNET, "--objective-fraction", "ten"], "'ten' is not a number"),
    "an unknown validation": ([*ROTNET, "--validation", "within"], "did you mean within-budget?"),
    "folds of one label a class": (
        [*ROTNET, "--validation", "within-budget", "--objective-fraction", "0.01"],
        "raise --objective-fraction",
    ),
    "folds that an encoder has learned": (
        ["--method", "supervised", "--validation", "within-budget"],
        "leave supervised out",
    ),
    "a budget without a unit": ([*ROTNET, "--budget", "10"], "write 90s, 10m or 2h"),
    "more workers than CPUs": ([*ROTNET, "--workers", "4096"], "4096 workers need 4096 CPUs"),
    "more GPUs than there are": ([*ROTNET, "--gpus-per-worker", "64"], "GPUs"),
    "more lanes than fit": ([*ROTNET, "--lanes", "4096"], "at most"),
    "missing folder": ([*ROTNET, "--dataset", "folder:/nowhere/at/all"], "/nowhere/at/all"),
    "missing data": ([*ROTNET, "--dataset", "cifar10", "--data-dir", "/nowhere"], "--download"),
    "an empty folder": (lambda path: [*ROTNET, "--dataset", f"folder:{path}"], "no class folders"),
    "one class": (lambda path: [*ROTNET, "--dataset", f"folder:{class_folder(path / 'a', 1, 12)}"], "one class"),
    "a class of one image": (lambda path: [*ROTNET, "--dataset", f"folder:{class_folder(path / 'a', 2, 1)}"], "class0"),
    "a corrupt image": (lambda path: [*ROTNET, "--dataset", f"folder:{corrupt(path / 'a')}"], "3.png"),
    "Parquet without images": (lambda path: [*ROTNET, "--dataset", f"parquet:{no_images(path / 'a')}"], "text"),
    "Parquet with broken images": (
        lambda path: [*ROTNET, "--dataset", f"parquet:{broken_images(path / 'a')}"],
        "row 0",
    ),
    "more labels a class than there are": ([*ROTNET, "--labels-per-class", "5,9000"], "9000 labels a class"),
    "images too small for the encoder": ([*ROTNET, "--image-size", "16"], "at least 24 pixels"),
    "a name that leaves its place": ([*ROTNET, "--name", "../elsewhere"], "is no name"),
    "resume and overwrite": ([*ROTNET, "--resume", "--overwrite"], "choose one"),
    "one name for two studies": (["--method", "rotnet,supervised", "--name", "one"], "one --method"),
    "a tracking store of no kind": ([*ROTNET, "--tracking-uri", "file:/tmp/runs"], "file:"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, expected = BAD[case]
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started for input that is bad"))
    data = tmp_path / "data"
    data.mkdir()
    arguments = given if isinstance(given, list) else given(data)
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as ended:
        run.main([*arguments, "--results", str(results), "--quiet"])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert expected in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""
    assert not results.exists() or [path.name for path in results.iterdir()] in ([], [".data"])


def test_a_results_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        run.main([*ROTNET, "--results", str(tmp_path / "results")])
    assert ended.value.code == 2 and "--results" in capsys.readouterr().err
    assert (tmp_path / "results").read_text() == "mine"


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main([*ROTNET, "--address", "127.0.0.1:1", "--results", str(tmp_path / "results"), "--quiet"])
    assert ended.value.code == 2 and "127.0.0.1:1" in capsys.readouterr().err


def test_help_is_short_and_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert [
        g for g in ("what to search", "the images", "the curve", "where it runs", "what it leaves") if g in text
    ] != []
    assert len(text.splitlines()) < 60
