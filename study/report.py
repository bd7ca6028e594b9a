"""Report: Markdown and HTML of one study, and all studies side by side with `python -m study.report`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from study.command_line import Parser, count, refuse
from study.records import Fit, Study, Trial, Whose, best_trial
from study.reporting.compared import compared
from study.reporting.comparison_page import comparison_page
from study.reporting.comparison_table import comparison_frame
from study.reporting.latex import to_latex
from study.reporting.pages import Page, to_html, to_markdown, to_svg
from study.reporting.side_by_side import StudyResults, grouped
from study.reporting.study_page import study_page
from study.storage.checkpoints import BEST, CHECKPOINTS
from study.storage.files import STUDY, read_fits, read_study, read_trials, write_whole
from study.storage.folder import Folder, StorageError
from study.storage.locks import held
from study.storage.mirror import Mirror, for_comparison, for_delivery
from study.storage.promoted import read_figures
from study.storage.tables import write_comparison
from study.storage.uses import USES, read_uses
from study.tracking.delivery import deliver_runs, deliver_trials
from study.tracking.uri import check_storage, check_uri, default_uri, public_uri

Deliver = Callable[[Path, Folder, str], str | None]  # tells a store of the study in a folder; says why it could not


def write_study_report(
    folder: Path, study: Study, trials: Sequence[Trial], fits: Sequence[Fit], best_encoder: Folder | None = None
) -> None:
    """Write report.md, report.html, figures and, once there is a curve, curves.svg. The folder must hold study.json.

    `best_encoder` is where the best trial's encoder lies, if not in the folder's own checkpoints.
    """
    _, environment = read_study(folder)
    shown = read_figures(best_encoder or Folder.of(folder / CHECKPOINTS / BEST))
    best = best_trial(trials)
    uses = read_uses(folder, best.trial_id) if best is not None else None
    if uses is not None and any(
        whose not in uses.shown or len(uses.shown[whose].confusion) != len(study.classes) for whose in get_args(Whose)
    ):
        raise ValueError(f"{folder / USES} is of another study: remove it and run again with --resume")
    _write(folder, study_page(study, environment, trials, fits, shown, uses))


def write_comparison_report(folder: Path, labels: int | None = None, latex: bool = False) -> None:
    """Write report.md, report.html and comparison.parquet over all studies below `folder`.

    `labels` is the label count that the answers speak of; None takes that of the search. `latex` adds report.tex.
    Raises ValueError where there is no study, where one is damaged, and where two have the same name.
    """
    results = [
        StudyResults(path.parent.name, read_study(path.parent)[0], read_trials(path.parent), read_fits(path.parent))
        for path in sorted(folder.glob(f"*/{STUDY}"))
    ]
    if not results:
        raise ValueError(f"no study in {folder}: run python -m study.run first, or name another folder with --results")
    places: dict[str, str] = {}
    for result in results:
        first = places.setdefault(result.study.name, result.folder)
        if first != result.folder:
            raise ValueError(
                f"{first} and {result.folder} both hold study {result.study.name!r}: move one of them away"
            )
    write_comparison(folder, comparison_frame(results))
    _write(folder, comparison_page(results, labels))
    if latex:
        found = [compared(group, labels) for group in grouped(results)]
        write_whole(folder / "report.tex", to_latex([data for data in found if data is not None]))


def _write(folder: Path, page: Page) -> None:
    for picture in (picture for section in page.sections for picture in section.pictures):
        if picture.file is not None:
            write_whole(folder / picture.file, to_svg(picture.wide))
    for photo in (photo for section in page.sections for photo in section.photos):
        write_whole(folder / photo.file, photo.png)
    write_whole(folder / "report.md", to_markdown(page))
    write_whole(folder / "report.html", to_html(page))


def _write_remote(folder: Folder, labels: int | None, latex: bool, stores: Sequence[tuple[str, Deliver, str]]) -> int:
    """Write the comparison of the studies in an object store there, by way of a copy here; then as `_deliver`."""
    with TemporaryDirectory(prefix="study-report-") as scratch:
        copy = Path(scratch)
        mirror = Mirror(copy, folder, for_delivery if stores else for_comparison)
        mirror.fetch()
        try:
            write_comparison_report(copy, labels, latex)
        except ValueError as error:
            raise ValueError(str(error).replace(scratch, str(folder))) from error
        mirror.publish()
        return _deliver(copy, folder, stores)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = Parser(prog="python -m study.report", description="Set all studies side by side, in Markdown and HTML.")
    parser.add_argument(
        "--results",
        default="results",
        metavar="DIR",
        help="folder of all studies, here or in an object store: s3://BUCKET/FOLDER (results)",
    )
    parser.add_argument(
        "--labels",
        type=count,
        metavar="N",
        help="answer, rank and compare at the label count nearest to N (the search's)",
    )
    parser.add_argument("--latex", action="store_true", help="write report.tex too: booktabs tables for a paper")
    parser.add_argument(
        "--tracking-uri",
        nargs="?",
        const="",
        metavar="URI",
        help="tell this MLflow store what it lacks ($MLFLOW_TRACKING_URI, or else sqlite:///RESULTS/mlflow.db)",
    )
    parser.add_argument(
        "--optuna-storage",
        nargs="?",
        const="",
        metavar="URI",
        help="copy the trials that it lacks to this Optuna storage ($OPTUNA_STORAGE)",
    )
    options = parser.parse_args(arguments)
    results: str = options.results
    try:
        folder = Folder.of(results)
        stores = _stores(folder, options.tracking_uri, options.optuna_storage)
        if folder.path is None:
            status = _write_remote(folder, options.labels, options.latex, stores)
        else:
            write_comparison_report(folder.path, options.labels, options.latex)
            status = _deliver(folder.path, folder, stores)
    except ValueError as error:
        refuse(str(error))
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder / 'report.html'}, report.md, {'report.tex, ' if options.latex else ''}and comparison.parquet")
    return status


def _stores(results: Folder, tracking_uri: str | None, optuna_storage: str | None) -> list[tuple[str, Deliver, str]]:
    """What each store is called, who delivers to it, and its URI. Raises ValueError where it can be no store."""
    stores: list[tuple[str, Deliver, str]] = []
    tracking = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not tracking and (tracking_uri is not None or results.path is not None):
        tracking = default_uri(results)
    if tracking_uri is not None:
        check_uri(tracking)
        stores.append(("MLflow", deliver_runs, tracking))
    if optuna_storage is not None:
        uri = optuna_storage or os.environ.get("OPTUNA_STORAGE", "")
        check_storage(uri, tracking)
        stores.append(("Optuna", deliver_trials, uri))
    return stores


def _deliver(copies: Path, results: Folder, stores: Sequence[tuple[str, Deliver, str]]) -> int:
    """Tell each store of every study of `results`, read from `copies`, but of those that run: their drivers do so.

    Returns the exit status: 1 where a store could not be told all.
    """
    status = 0
    for store, deliver, uri in stores:
        for folder in sorted(path.parent for path in copies.glob(f"*/{STUDY}")):
            with ExitStack() as stack:
                try:
                    stack.enter_context(held(results, folder.name))
                except ValueError as running:
                    print(f"{store} is left to the driver of a study: {running}")
                    continue
                problem = deliver(folder, results, uri)
            if problem is not None:
                print(f"error: {store}: {folder.name} {problem}", file=sys.stderr)
                status = 1
                break  # the next study would wait as long for the same answer
            print(f"{store}: {folder.name} is recorded in {public_uri(uri)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
