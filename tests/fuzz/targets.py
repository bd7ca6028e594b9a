"""Targets: what is read from folders, each with a sound folder to begin from. An input damages one of its files."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from methods import METHODS
from methods.encoders import ENCODERS
from methods.inspection import Figure, Grid, Matrix
from study import report
from study.data.dataset import load, prepare
from study.data.sources import open_source
from study.environment import environment
from study.records import Mode, Started, best_trial
from study.reporting.comparison_table import comparison_frame
from study.reporting.side_by_side import StudyResults
from study.storage import checkpoints, files, promoted
from study.storage.checkpoints import BEST, CHECKPOINTS
from study.storage.figures import save_figures
from study.storage.folder import Folder
from study.storage.tables import CURVES, TRIALS, read_table, write_comparison, write_tables
from study.storage.tensors import pack
from study.storage.uses import write_uses
from study.tracking.delivery import identity
from tests import made_up

HERE = "sound"  # the folder of a target, below the one it is given
_SEED = 1000  # of the made-up trial 0
_CURVES: dict[Mode, tuple[float, float]] = {"frozen": (0.4, 0.9), "supervised": (0.3, 0.9), "random": (0.2, 0.5)}


@dataclass(frozen=True)
class Target:
    """One way into the program."""

    name: str
    share: int  # of all inputs
    make: Callable[[Path], None]  # fills the folder
    damaged: Sequence[str]  # patterns of the files that are damaged
    use: Callable[[Path, Random], None]  # reads the folder; raises ValueError, StorageError or SystemExit(2)


def _study(folder: Path, name: str = "one", method: str = "rotnet") -> None:
    folder = folder / name
    study = replace(made_up.study(name, method), fractions=(0.1, 0.5, 1.0), tap="conv3")
    files.write_study(folder, study, {"command": ["python", "-m", "study.run"], "versions": {"torch": "2"}})
    for trial in made_up.trials(6):
        files.write_trial(folder, trial)
    files.write_fits(folder, made_up.fits(_CURVES, draws=3, fractions=study.fractions))
    files.write_started(folder, Started(6, {"lr": 0.1}, "2025-01-31T12:00:00+00:00"))


def _two_studies(folder: Path) -> None:
    _study(folder, "one", "rotnet")
    _study(folder, "two", "vae")


def _whole_study(folder: Path) -> None:
    """A study with all that its own report reads."""
    _study(folder)
    write_uses(folder / "one", made_up.uses(24))
    best = Folder.of(folder / "one" / CHECKPOINTS / BEST)
    best.write(promoted.ENCODER, pack({"weight": torch.ones(2)}, {"about": json.dumps({"seed": _SEED})}))
    shown = torch.linspace(0, 1, 4 * 3 * 8 * 8).reshape(4, 3, 8, 8)
    counts = Matrix(torch.arange(4).reshape(2, 2), ("a", "b"), ("a", "b"))
    for epoch in (1, 9):
        rows = {"one": shown, "other": shown}
        figures: dict[str, Figure] = {"Rotations": counts, "Views": Grid(rows), "Samples": Grid({"": shown}, True)}
        save_figures(best / checkpoints.FIGURES, epoch, figures, _SEED)


def _use_study(folder: Path, random: Random) -> None:
    study, around = files.read_study(folder / "one")
    identity(study, around)
    if random.random() < 0.1:  # it asks git
        environment(folder / "one", [])


def _use_trials(folder: Path, _: Random) -> None:
    best_trial(files.read_trials(folder / "one"))


def _use_started(folder: Path, _: Random) -> None:
    files.read_started(folder / "one")


def _use_fits(folder: Path, _: Random) -> None:
    files.read_fits(folder / "one")


def _use_results(folder: Path, random: Random) -> None:
    options = random.choice(([], ["--latex"], ["--labels", random.choice(("1", "100", "99999999999"))]))
    report.main(["--results", str(folder), *options])


def _use_whole_study(folder: Path, _: Random) -> None:
    one = folder / "one"
    study, _environment = files.read_study(one)
    report.write_study_report(one, study, files.read_trials(one), files.read_fits(one))


def _checkpoint(folder: Path) -> None:
    method, optimizer = _network()
    method(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    own, study, history = Folder.of(folder), made_up.study(), made_up.trials(1)[0].history
    for epochs in (8, 9):
        checkpoints.save_encoder(own, method, study, epochs)
        checkpoints.save(own, method, optimizer, history[:epochs], study)
    promoted.promote(own, own / "best", history)


def _network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    method = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return method, torch.optim.AdamW(method.parameters())


def _use_checkpoint(folder: Path, _: Random) -> None:
    method, optimizer = _network()
    own, study = Folder.of(folder), made_up.study()
    snapshot = checkpoints.newest(own, method, optimizer, study, most=9)
    checkpoints.restore(snapshot, method, optimizer)
    checkpoints.record_damage(own, snapshot)
    checkpoints.damage(own)
    promoted.owner(own / "best")
    promoted.load_encoder(own / "best", method)
    promoted.promote(own, own / "again", snapshot.history or made_up.trials(1)[0].history)


def _tables(folder: Path) -> None:
    study, trials, fits = made_up.study(), made_up.trials(6), made_up.fits(_CURVES, draws=2)
    write_tables(folder, study, trials, fits)
    write_comparison(folder, comparison_frame([StudyResults("one", study, trials, fits)]))


def _use_tables(folder: Path, _: Random) -> None:
    for name in (TRIALS, CURVES, "comparison.parquet"):
        read_table(folder / name)


def _parquet_images(folder: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    encoded = [{"bytes": content, "path": None} for content in map(_png, range(24))]
    names = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    schema = pa.schema([("image", kind), ("label", pa.int64())], {"huggingface": json.dumps(names)})
    folder.mkdir(parents=True)
    for split, compression in (("train", "zstd"), ("test", "none")):
        table = pa.table([pa.array(encoded, kind), pa.array([0, 1] * 12)], schema)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=10, compression=compression)


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _use_parquet_images(folder: Path, random: Random) -> None:
    _prepared(f"parquet:{folder}", folder, random)


def _prepared(name: str, folder: Path, random: Random) -> None:
    """Prepare it twice where bad images are skipped: the second time from what the first wrote."""
    cache = folder.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    prepare(open_source(name, skip_bad_images=random.random() < 0.5), size=8, cache=cache, seed=0)


def _images(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (14, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.png": (picture, {"exif": exif}),
        "palette.png": (picture.quantize(16), {"transparency": 0}),
        "deep.png": (Image.fromarray(pixels[..., 0].astype(np.uint16) << 4), {}),
        "plain.jpg": (picture, {"exif": exif, "icc_profile": b"profile" * 20}),
        "progressive.jpeg": (picture, {"progressive": True}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "frames.gif": (picture.quantize(16), {"save_all": True, "append_images": [picture.quantize(16)] * 3}),
        "frames.webp": (picture, {"save_all": True, "append_images": [picture] * 2}),
        "plain.bmp": (picture, {}),
        "grey.pgm": (picture.convert("L"), {}),
        "plain.ppm": (picture, {}),
        "lzw.tif": (picture, {"compression": "tiff_lzw"}),
        "deflate.tiff": (picture.convert("CMYK"), {"compression": "tiff_deflate"}),
        "raw.tif": (Image.fromarray(pixels[..., 0].astype(np.int32)), {}),
    }
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for name, (image, options) in kinds.items():
            image.save(folder / label / name, **options)


def _use_images(folder: Path, random: Random) -> None:
    _prepared(f"folder:{folder}", folder, random)


def _prepared_data(folder: Path) -> None:
    _images(folder.parent / "images")
    made = prepare(open_source(f"folder:{folder.parent / 'images'}"), size=8, cache=folder.parent / "first", seed=0)
    made.folder.rename(folder)


def _use_prepared_data(folder: Path, _: Random) -> None:
    data = load(folder, seed=0)
    int(data.pixels[data.pool].sum())


class BeginsError(Exception):
    """The command would begin its work now."""


_COMMAND = ("--dataset", "digits", "--method", "rotnet", "--quiet")


def _whole_command(folder: Path) -> None:
    """A study, and one command up to where Ray would start, which imports what all of them need."""
    _study(folder)
    _begin(["--results", str(folder), *_COMMAND, "--encoder", "resnet18", "--name", "first"])


def _use_run(folder: Path, random: Random) -> None:
    """A command line at random, up to where Ray would start."""
    arguments = ["--results", str(folder), *_COMMAND]
    for _ in range(random.randrange(1, 5)):
        option, values = random.choice(list(_OPTIONS.items()))
        value = random.choice(values if values and random.random() < 0.8 else _WORDS)
        arguments += [option, value.replace("HERE", str(folder))] if values else [option]
    if random.random() < 0.1:
        del arguments[random.randrange(len(arguments))]
    _begin(arguments)


def _begin(arguments: list[str]) -> None:
    from study import run  # here, because it takes seconds, and only this needs it

    def begin(*_: object, **__: object) -> None:
        raise BeginsError

    vars(run)["joined"] = begin
    try:
        run.main(arguments)
    except BeginsError:
        return


_WORDS = (
    *(
        "",
        "0",
        "1",
        "-1",
        "7",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "9" * 30,
        "1,2,3",
        ",",
        "0.5",
        "a" * 5000,
        "é😀",
        "\udcff",
    ),
    *("../..", "..", ".", "/dev/zero", "HERE/one/study.json", "a\nb", "a\0b", "--", "-x", "{0}%s", "٣", "１", "1_000"),
)
_OPTIONS: dict[str, tuple[str, ...]] = {
    "--method": (*METHODS, "rotnet,supervised", "rotnet,rotnet"),
    "--trials": ("1", "50"),
    "--budget": ("10m", "1s", "99999999999999999999d", "0.0000001s"),
    "--epochs": ("1", "99999999999999999999"),
    "--epoch-images": ("1", "5000"),
    "--encoder": tuple(ENCODERS),
    "--tap": ("conv1", "conv3"),
    "--seed": ("0", "99999999999999999999"),
    "--dataset": (
        "digits",
        "photo-digits:x",
        "photo-digits:99999999999",
        "folder:HERE",
        "parquet:HERE",
        "cifar10",
        ":",
    ),
    "--data-dir": ("HERE", "/nowhere"),
    "--unlabelled": ("HERE", "/nowhere"),
    "--image-size": ("8", "24", "99999", "999999999999"),
    "--pool-images": ("10", "500"),
    "--fractions": ("0.1,0.5", "1e-300", "0.1,0.1000"),
    "--labels-per-class": ("1,5", "9999"),
    "--modes": ("frozen", "frozen,random", "supervised"),
    "--draws": ("1", "99999999999999999999"),
    "--repeats": ("2",),
    "--objective-fraction": ("0.5", "1e-300"),
    "--validation": ("heldout", "within-budget"),
    "--workers": ("1", "2", "99999999999999999999"),
    "--gpus-per-worker": ("0", "0.5", "1e300"),
    "--lanes": ("auto", "1"),
    "--name": ("one", "two", "CON", "..", "a/b"),
    "--tracking-uri": ("sqlite:///HERE/mlflow.db", "http://", "postgresql://user:secret@host:x/db", "file:x"),
    "--resume": (),
    "--overwrite": (),
}

TARGETS = (
    Target("study.json", 12, _study, ("one/study.json",), _use_study),
    Target("trials", 14, _study, ("one/trials/*.json",), _use_trials),
    Target("running", 6, _study, ("one/running/*.json",), _use_started),
    Target("fits", 12, _study, ("one/fits/*.json",), _use_fits),
    Target(
        "report of a study",
        3,
        _whole_study,
        ("one/uses*", "one/uses/*", "one/checkpoints/best/**/*.*"),
        _use_whole_study,
    ),
    Target("study.report", 3, _two_studies, ("*/study.json", "*/trials/*", "*/fits/*"), _use_results),
    Target("checkpoints", 10, _checkpoint, ("*.safetensors", "best/*"), _use_checkpoint),
    Target("tables", 10, _tables, ("*.parquet",), _use_tables),
    Target("Parquet images", 8, _parquet_images, ("*.parquet",), _use_parquet_images),
    Target("images", 16, _images, ("*/*",), _use_images),
    Target("prepared data", 10, _prepared_data, ("*",), _use_prepared_data),
    Target("study.run", 8, _whole_command, (), _use_run),
)
