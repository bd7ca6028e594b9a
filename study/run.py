"""`python -m study.run`: search a method's hyperparameters, draw the curve of the best trial, write the tables.

Exit codes: 0 done, 2 bad input (one line), 1 a bug of ours, 130 interrupted (the study is kept and can go on).
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

from study.checks import check_folders, check_method, resumed, study_of, warm_start
from study.cluster.curve import CurveError
from study.cluster.images import share
from study.cluster.lanes import LaneError, Lanes
from study.cluster.layout import Layout, fit_layout, room
from study.cluster.runtime import ClusterError, joined, nodes, this_machine
from study.cluster.vigil import RayDiedError, end_orphans
from study.command_line import refuse
from study.data.dataset import prepare
from study.data.sources import open_source
from study.keeping import Home, home
from study.options import Options, parse
from study.storage.folder import Folder, StorageError
from study.storage.locks import held
from study.terminal.display import Display
from study.tracking.uri import check_storage, check_uri, default_uri, public_uri
from study.workflow import NoTrialError, Workplace, run_study

DATA = ".data"  # below --results: the prepared images
MOST_RESTARTS = 3
_RESTARTS = "STUDY_RESTARTS"  # in the environment: how many there were


def main(arguments: Sequence[str] | None = None, begin_again: Callable[[str], int] | None = None) -> int:
    """The command. Returns its exit code. `begin_again` is called, with the reason, when Ray dies under it."""
    command = ["python", "-m", "study.run", *(sys.argv[1:] if arguments is None else arguments)]
    options = parse(arguments)
    prepared = _prepared(options.results)
    made = [folder for folder in (prepared.parent, prepared) if not folder.exists()]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options, command, begin_again)
    except ValueError as error:
        for folder in reversed(made):  # nothing is left behind
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        refuse(str(error))
    except (ClusterError, CurveError, LaneError, NoTrialError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: what is finished is kept; {_how_to_go_on(command)}", file=sys.stderr)
        return 130
    except RayDiedError as error:
        return 1 if begin_again is None else begin_again(str(error))


def _again(command: Sequence[str]) -> list[str]:
    """The command that goes on with a study."""
    return [word for word in command if word not in ("--resume", "--overwrite")] + ["--resume"]


def _how_to_go_on(command: Sequence[str]) -> str:
    return "go on with\n  " + shlex.join(public_uri(word) for word in _again(command))


def _begin_again(reason: str) -> int:
    """Become a process that goes on with the study, a few times in all; after those, an exit code."""
    restarts = int(os.environ.get(_RESTARTS, "0"))
    print(f"error: {reason}; what is finished is kept", file=sys.stderr, flush=True)
    if restarts < MOST_RESTARTS:
        print(f"restart {restarts + 1} of {MOST_RESTARTS}", file=sys.stderr, flush=True)
        os.environ[_RESTARTS] = str(restarts + 1)
        end_orphans(ours=True)
        os.execv(sys.executable, [sys.executable, *_again(["-m", "study.run", *sys.argv[1:]])])
    print(_how_to_go_on(["python", "-m", "study.run", *sys.argv[1:]]), file=sys.stderr, flush=True)
    return 1


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(options: Options, command: Sequence[str], stuck: Callable[[str], object] | None) -> int:
    """Refuse what cannot work, in the order of cost; then start the lanes and run the studies one after another."""
    uri = options.tracking_uri or default_uri(options.results)
    check_uri(uri, options.results)
    if options.optuna_storage is not None:
        check_storage(options.optuna_storage, uri)
    source = open_source(
        options.dataset,
        data_dir=options.data_dir,
        unlabelled=options.unlabelled,
        download=options.download,
        skip_bad_images=options.skip_bad_images,
    )
    names = {method: options.name or f"{source.name}-{method}" for method in options.method}
    check_folders(options, list(names.values()))
    for method, name in names.items():
        warm_start(options, method, name)
    fit = partial(fit_layout, workers=options.workers, gpus_per_worker=options.gpus_per_worker, lanes=options.lanes)
    layout = None if options.address else fit([this_machine()])
    size = options.image_size or (source.size if source.size and source.size >= 24 else 32)

    title, methods = ", ".join(names.values()), ", ".join(names)
    with ExitStack() as stack:
        locks = {name: stack.enter_context(held(options.results, name)) for name in names.values()}
        with Display(title, methods, source.name, None, None, options.epochs, 0, options.quiet) as display:
            display.phase("preparing images")
            dataset = prepare(
                source,
                size=size,
                cache=_prepared(options.results),
                seed=options.seed,
                pool_images=options.pool_images,
                progress=display.preparing,
            )
            built = {method: check_method(options, method, dataset) for method in names}
            display.phase("starting Ray" if options.address is None else "joining the cluster")
            there = stack.enter_context(joined(options.address, stuck=stuck))
            layout = layout or fit(there)
            studies = [
                study_of(options, method, built[method], name, dataset, layout) for method, name in names.items()
            ]
            homes: dict[str, Home] = {}
            for number, study in enumerate(studies) if options.resume else ():
                homes[study.name] = stack.enter_context(home(options.results, study.name, locks[study.name].check))
                studies[number] = resumed(options, study, homes[study.name].folder)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-")))
            display.phase(f"starting {layout.lanes} {'lane' if layout.lanes == 1 else 'lanes'}")
            follow = None if options.lanes or not options.address else partial(_room, layout)
            lanes = stack.enter_context(Lanes(layout, scratch, options.hang_after, room=follow))
            lanes.wait_until_ready()
            nearby = share(dataset.folder.resolve()) if options.address else None
        place = Workplace(
            lanes,
            dataset,
            options.results,
            scratch,
            tracking_uri=uri,
            optuna_storage=options.optuna_storage,
            command=command,
            quiet=options.quiet,
            anew=options.anew,
            nearby=nearby,
        )
        for study in studies:
            if options.overwrite:
                (options.results / study.name).remove_all()
            if study.name not in homes:
                homes[study.name] = stack.enter_context(home(options.results, study.name, locks[study.name].check))
            run_study(study, place, homes[study.name])
    return 0


def _prepared(results: Folder) -> Path:
    """The folder of the prepared images: below the results, or in this machine's cache where those lie elsewhere."""
    if results.path is not None:
        return results.path / DATA
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pretraining-study"


def _room(layout: Layout) -> int:
    """How many lanes the cluster could hold now."""
    return room(nodes(), layout)


if __name__ == "__main__":
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")
    sys.exit(main(begin_again=_begin_again))
