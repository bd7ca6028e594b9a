"""The options of study.run: every default, type and help text in one place."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from methods import METHODS
from methods.encoders import ENCODERS
from methods.precision import Precision
from study.command_line import Parser, amount, at_least, count, duration, folder_name, several, share
from study.data.sources import SOURCES
from study.records import Mode, Validation
from study.storage.folder import Folder

T = TypeVar("T")

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Options:
    """The command line, parsed; each field's help stands in `parse`."""

    method: tuple[str, ...]
    trials: int
    budget: float | None
    epochs: int
    epoch_images: int | None
    encoder: str
    tap: str | None
    seed: int
    dataset: str
    data_dir: Path | None
    unlabelled: Path | None
    download: bool
    image_size: int | None
    pool_images: int | None
    skip_bad_images: bool
    fractions: tuple[float, ...]
    labels_per_class: tuple[int, ...]
    modes: tuple[Mode, ...]
    draws: int
    repeats: int
    objective_fraction: float
    validation: Validation
    workers: int
    gpus_per_worker: float | None
    lanes: int | None
    address: str | None
    hang_after: float
    precision: Precision | None
    warm_start: tuple[str, ...]
    patience: int | None
    anew: bool
    results: Folder
    name: str | None
    resume: bool
    overwrite: bool
    tracking_uri: str | None
    optuna_storage: str | None
    quiet: bool


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; bad input prints one line and exits with 2."""
    parser = Parser(
        prog="python -m study.run",
        usage="%(prog)s --method NAME[,NAME] [options]",
        description="Search a pretraining method's hyperparameters, then draw accuracy against labels for the best.",
        epilog="Example: python -m study.run --method rotnet --trials 50",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=118),
        allow_abbrev=False,
    )
    env_data = os.environ.get("STUDY_DATA")

    search = parser.add_argument_group("what to search")
    search.add_argument(
        "--method",
        type=several(_one_of(METHODS, "method")),
        required=True,
        metavar="NAME[,NAME]",
        help=", ".join(METHODS),
    )
    search.add_argument("--trials", type=count, default=50, metavar="N", help="trials of the search (50)")
    search.add_argument(
        "--budget", type=duration, metavar="TIME", help="search for 90s, 10m, 2h instead of a number of trials"
    )
    search.add_argument(
        "--epochs", type=count, default=16, metavar="N", help="epochs of a trial that is not pruned (16)"
    )
    search.add_argument(
        "--epoch-images", type=count, metavar="N", help="images in an epoch (as many as are labelled, 1000 to 10000)"
    )
    search.add_argument(
        "--encoder",
        type=_one_of(ENCODERS, "encoder"),
        default="convnet",
        metavar="NAME",
        help=f"{', '.join(ENCODERS)} (convnet)",
    )
    search.add_argument(
        "--tap", metavar="STAGE", help="stage of the encoder whose features are read, as conv4 (the encoder's own)"
    )
    search.add_argument(
        "--patience",
        type=_none_at_zero(at_least(0)),
        metavar="N",
        help="end the search after N trials without a better one (0: never)",
    )
    search.add_argument(
        "--warm-start",
        type=several(folder_name),
        default=(),
        metavar="NAME[,NAME]",
        help="begin with the best settings of these studies of the same method",
    )
    search.add_argument(
        "--anew",
        action="store_true",
        help="run the trials that an equal study of --results has run already",
    )
    search.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="where all random numbers come from (0)"
    )

    data = parser.add_argument_group("the images")
    data.add_argument("--dataset", default="photo-digits", metavar="NAME", help=f"{', '.join(SOURCES)} (photo-digits)")
    data.add_argument(
        "--data-dir",
        type=Path,
        default=Path(env_data) if env_data else None,
        metavar="PATH",
        help="where torchvision's sets lie ($STUDY_DATA)",
    )
    data.add_argument("--unlabelled", type=Path, metavar="PATH", help="a folder of further images without labels")
    data.add_argument("--download", action="store_true", help="fetch a torchvision set that is not there")
    data.add_argument("--image-size", type=at_least(8), metavar="S", help="pixels a side (the source's own)")
    data.add_argument("--pool-images", type=count, metavar="N", help="pretrain on a random N of the images")
    data.add_argument("--skip-bad-images", action="store_true", help="leave unreadable images out and count them")

    curve = parser.add_argument_group("the curve")
    curve.add_argument(
        "--fractions",
        type=several(share),
        default=FRACTIONS,
        metavar="F[,F]",
        help="of the labels (0.01,0.02,0.05,0.1,0.2,0.5,1)",
    )
    curve.add_argument(
        "--labels-per-class",
        type=several(count),
        default=(),
        metavar="N[,N]",
        help="labels a class, instead of fractions",
    )
    curve.add_argument(
        "--modes",
        type=several(_one_of(get_args(Mode), "mode")),
        default=(),
        metavar="MODE[,MODE]",
        help=f"{', '.join(get_args(Mode))} (all but frozen_mlp)",
    )
    curve.add_argument("--draws", type=count, default=5, metavar="N", help="label subsets a point (5)")
    curve.add_argument(
        "--repeats",
        type=count,
        default=1,
        metavar="N",
        help="pretrainings of the best settings, with other seeds, behind the curve (1)",
    )
    curve.add_argument(
        "--objective-fraction",
        type=share,
        default=0.1,
        metavar="F",
        help="labels behind the accuracy that is searched (0.1)",
    )
    curve.add_argument(
        "--validation",
        type=_one_of(get_args(Validation), "validation"),
        default="heldout",
        metavar="WHERE",
        help="heldout: validation images tune; within-budget: folds of the budget do (heldout)",
    )

    place = parser.add_argument_group("where it runs")
    place.add_argument("--workers", type=count, default=1, metavar="N", help="workers that share a trial's batches (1)")
    place.add_argument(
        "--gpus-per-worker", type=amount, metavar="X", help="0.5 packs two workers on a GPU (1 where there are GPUs)"
    )
    place.add_argument("--lanes", type=_auto(count), metavar="N", help="trials at a time (as many as fit)")
    place.add_argument("--address", metavar="ADDR", help="join the Ray cluster at this address")

    place.add_argument(
        "--hang-after",
        type=duration,
        default=1800.0,
        metavar="TIME",
        help="end and restart a worker that makes no progress for so long (30m)",
    )

    place.add_argument(
        "--precision",
        type=_auto(_one_of(get_args(Precision), "precision")),
        metavar="NAME",
        help="of training: float32, bfloat16 (bfloat16 where the machine has it)",
    )

    out = parser.add_argument_group("what it leaves")
    out.add_argument(
        "--results",
        type=Folder.of,
        default=Folder.of("results"),
        metavar="DIR",
        help="folder of all studies, here or in an object store: s3://BUCKET/FOLDER (results)",
    )
    out.add_argument("--name", type=folder_name, metavar="NAME", help="folder of this study (DATASET-METHOD)")
    out.add_argument("--resume", action="store_true", help="go on with a study, or extend it; begin it if need be")
    out.add_argument("--overwrite", action="store_true", help="delete a study of that name first")
    out.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or None,
        metavar="URI",
        help="MLflow store ($MLFLOW_TRACKING_URI, or else sqlite:///RESULTS/mlflow.db)",
    )
    out.add_argument(
        "--optuna-storage",
        default=os.environ.get("OPTUNA_STORAGE") or None,
        metavar="URI",
        help="copy the trials to this Optuna storage too, for optuna-dashboard ($OPTUNA_STORAGE)",
    )
    out.add_argument("--quiet", action="store_true", help="print the end alone")

    options = Options(**vars(parser.parse_args(arguments)))
    if options.resume and options.overwrite:
        parser.error("--resume keeps a study and --overwrite deletes it: choose one")
    if options.name and len(options.method) > 1:
        parser.error("--name names one study: give one --method with it")
    return options


def _one_of(known: Iterable[str], kind: str) -> Callable[[str], str]:
    names = list(known)

    def check(text: str) -> str:
        if text in names:
            return text
        nearest = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.0)[0]
        raise argparse.ArgumentTypeError(f"no {kind} {text!r}: did you mean {nearest}? There are {', '.join(names)}")

    return check


def _none_at_zero(parse: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: parse(text) or None


def _auto(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: None if text == "auto" else parse(text)
