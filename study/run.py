"""`python -m study.run`: search a method's hyperparameters, draw the curve of the best trial, write the tables.

Exit codes: 0 done, 2 bad input (one line), 1 a bug of ours, 130 interrupted (the study is kept and can go on).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

from methods.method import Method
from study.cluster.curve import CurveError, modes_of
from study.cluster.lanes import LaneError, Lanes
from study.cluster.layout import Layout, fit_layout, room
from study.cluster.runtime import ClusterError, joined, nodes, this_machine
from study.cluster.vigil import RayDiedError
from study.command_line import refuse
from study.data.dataset import Dataset, prepare, subset
from study.data.sources import open_source
from study.learning.evaluate import ONE_LABEL
from study.learning.folds import folds
from study.learning.pretrain import Plan, build
from study.options import Options, parse
from study.records import Study
from study.storage.files import STUDY, read_study
from study.storage.folder import Folder, StorageError
from study.terminal.display import Display
from study.tracking.uri import check_uri
from study.workflow import NoTrialError, Workplace, run_study

DATA = ".data"  # below --results: the prepared images
# Images in an epoch by default. With fewer, looking at validation would cost more than training; with more, the first
# rung of ASHA would cost more than it tells.
LEAST_EPOCH, MOST_EPOCH = 1000, 10_000
RAY_DIED = -1  # what main returns where the command is to be started again
MOST_RESTARTS = 3
_RESTARTS = "STUDY_RESTARTS"  # in the environment: how many there were


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    command = ["python", "-m", "study.run", *(sys.argv[1:] if arguments is None else arguments)]
    options = parse(arguments)
    made = [folder for folder in (options.results, options.results / DATA) if not folder.exists()]
    try:
        return _run(options, command)
    except ValueError as error:
        for folder in reversed(made):  # nothing is left behind
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        refuse(str(error))
    except (ClusterError, CurveError, LaneError, NoTrialError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: what is finished is kept; go on with\n  {shlex.join(_again(command))}", file=sys.stderr)
        return 130
    except RayDiedError as error:
        print(f"error: {error}; what is finished is kept; go on with\n  {shlex.join(_again(command))}", file=sys.stderr)
        return RAY_DIED


def _again(command: Sequence[str]) -> list[str]:
    """The command that goes on with a study."""
    return [word for word in command if word not in ("--resume", "--overwrite")] + ["--resume"]


def _begin_again() -> int:
    """Become a process that goes on with the study, a few times in all; after those, an exit code."""
    restarts = int(os.environ.get(_RESTARTS, "0"))
    if restarts < MOST_RESTARTS:
        os.environ[_RESTARTS] = str(restarts + 1)
        print(f"restart {restarts + 1} of {MOST_RESTARTS}", file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, *_again(["-m", "study.run", *sys.argv[1:]])])
    return 1


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(options: Options, command: Sequence[str]) -> int:
    """Refuse what cannot work, in the order of cost; then start the lanes and run the studies one after another."""
    uri = options.tracking_uri or f"sqlite:///{options.results.resolve()}/mlflow.db"
    check_uri(uri)
    source = open_source(
        options.dataset,
        data_dir=options.data_dir,
        unlabelled=options.unlabelled,
        download=options.download,
        skip_bad_images=options.skip_bad_images,
    )
    names = {method: options.name or f"{source.name}-{method}" for method in options.method}
    _check_folders(options, list(names.values()))
    fit = partial(fit_layout, workers=options.workers, gpus_per_worker=options.gpus_per_worker, lanes=options.lanes)
    layout = None if options.address else fit([this_machine()])
    size = options.image_size or (source.size if source.size and source.size >= 24 else 32)

    title, methods = ", ".join(names.values()), ", ".join(names)
    with ExitStack() as stack:
        with Display(title, methods, source.name, None, None, options.epochs, 0, options.quiet) as display:
            display.phase("preparing images")
            dataset = prepare(
                source,
                size=size,
                cache=options.results / DATA,
                seed=options.seed,
                pool_images=options.pool_images,
                progress=display.preparing,
            )
            built = {method: _check(options, method, dataset) for method in names}
            display.phase("starting Ray" if options.address is None else "joining the cluster")
            there = stack.enter_context(joined(options.address))
            signal.signal(signal.SIGTERM, _interrupt)  # after Ray, which sets its own
            layout = layout or fit(there)
            studies = [_study(options, method, built[method], name, dataset, layout) for method, name in names.items()]
            for study in studies:
                _check_resumed(options, study)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-")))
            display.phase(f"starting {layout.lanes} {'lane' if layout.lanes == 1 else 'lanes'}")
            follow = None if options.lanes or not options.address else partial(_room, layout)
            lanes = stack.enter_context(Lanes(layout, scratch, options.hang_after, room=follow))
            lanes.wait_until_ready()
        for study in studies:
            if options.overwrite and (options.results / study.name).exists():
                shutil.rmtree(options.results / study.name)
            run_study(study, Workplace(lanes, dataset, options.results, scratch, uri, command, options.quiet))
    return 0


def _room(layout: Layout) -> int:
    """How many lanes the cluster could hold now."""
    return room(nodes(), layout)


def _check_folders(options: Options, names: Sequence[str]) -> None:
    existing = next(path for path in (options.results.absolute(), *options.results.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"{existing} is no folder that can be written to: choose another with --results")
    for name in names:
        folder = options.results / name
        # A study that was killed while it began has left nothing but a part of a file.
        if not (options.resume or options.overwrite) and Folder.of(folder).names():
            raise ValueError(f"{folder} exists: --resume goes on with it, --overwrite deletes it, --name names another")


def _study(options: Options, method: str, built: Method, name: str, dataset: Dataset, layout: Layout) -> Study:
    pool = len(dataset.train) if built.reads_labels else len(dataset.pool)
    return Study(
        name=name,
        dataset=dataset.name,
        method=method,
        encoder=options.encoder,
        image_size=dataset.pixels.shape[1],
        trials=None if options.budget else options.trials,
        budget_seconds=options.budget,
        epochs=options.epochs if built.trains else 1,
        epoch_images=options.epoch_images or min(pool, MOST_EPOCH, max(len(dataset.train), LEAST_EPOCH)),
        fractions=() if options.labels_per_class else tuple(sorted(options.fractions)),
        labels_per_class=tuple(sorted(options.labels_per_class)),
        draws=options.draws,
        objective_fraction=options.objective_fraction,
        seed=options.seed,
        workers=layout.workers,
        gpus_per_worker=layout.gpus_per_worker,
        lanes=layout.lanes,
        pool_limit=options.pool_images,
        data_hash=dataset.hash,
        classes=dataset.classes,
        pool_images=len(dataset.pool),
        train_labels=len(dataset.train),
        validation_labels=len(dataset.validation) if options.validation == "heldout" else 0,
        validation=options.validation,
        test_images=len(dataset.test),
        tap=built.encoder.default_tap,
        grace_epochs=built.grace_epochs,
        modes=options.modes,
        repeats=options.repeats,
    )


def _check(options: Options, method: str, dataset: Dataset) -> Method:
    """Build what the first trial builds and draw what the curve draws: what they refuse is refused now."""
    modes_of(method, options.modes)
    built = build(Plan(method, options.encoder, {}, options.epochs, 1, options.seed, options.tap), dataset)
    for count in options.labels_per_class:
        subset(dataset, draw=0, seed=options.seed, labels_per_class=count)
    if options.validation == "within-budget":
        _check_folds(options, method, built, dataset)
    return built


def _check_folds(options: Options, method: str, built: Method, dataset: Dataset) -> None:
    if built.reads_labels:
        raise ValueError(
            f"--validation within-budget cannot search {method}: its encoder learns the labels of every fold; leave "
            f"{method} out, or the option (the curve of another method has the mode supervised)"
        )
    labelled = subset(dataset, draw=0, seed=options.seed, fraction=options.objective_fraction)
    if not folds(labelled, dataset.labels, options.seed):
        raise ValueError(ONE_LABEL)


# A resumed study may grow, and run elsewhere; anything else would mix two studies in one table.
_MAY_CHANGE = {"trials", "budget_seconds", "lanes", "gpus_per_worker", "repeats"}


def _check_resumed(options: Options, study: Study) -> None:
    if not options.resume or not (options.results / study.name / STUDY).exists():
        return  # killed before it began, or the second of two methods: a command with --resume may be run at any time
    before, _ = read_study(options.results / study.name)
    differences = [
        f"{field.name} was {getattr(before, field.name)} and is {getattr(study, field.name)}"
        for field in dataclasses.fields(Study)
        if field.name not in _MAY_CHANGE and getattr(before, field.name) != getattr(study, field.name)
    ]
    if differences:
        raise ValueError(f"{study.name} cannot be resumed with another configuration: {'; '.join(differences)}")


if __name__ == "__main__":
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")
    code = main()
    sys.exit(_begin_again() if code == RAY_DIED else code)
