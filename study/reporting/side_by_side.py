"""Studies side by side: which share an axis, why the others do not, and in what those that do differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from study.records import Fit, Study, Trial
from study.reporting.pages import Table
from study.reporting.wording import listed, number

# What a study is about, what its data are, and what its lanes are: all else that differs bears on the comparison.
_NO_SETTING = {
    *("name", "dataset", "method", "seed", "lanes", "workers", "gpus_per_worker"),
    *("data_hash", "classes", "train_labels", "test_images", "modes"),
}
_NAMED = 5  # more studies than these are named by what they have in common


@dataclass(frozen=True)
class StudyResults:
    """A study and what it has finished."""

    folder: str  # below the folder of results
    study: Study
    trials: Sequence[Trial]
    fits: Sequence[Fit]


@dataclass(frozen=True)
class Group:
    """Studies of the same images, labels, test split and label subsets: their curves share an axis."""

    title: str
    results: tuple[StudyResults, ...]  # by name

    @property
    def first(self) -> Study:
        """Any of them: in what makes a group they are the same."""
        return self.results[0].study


def grouped(results: Sequence[StudyResults]) -> list[Group]:
    """The studies by what may share an axis. A group is named by its data set, and by what sets it apart if need be."""
    together: dict[tuple[object, ...], list[StudyResults]] = {}
    for result in sorted(results, key=lambda result: result.study.name):
        study = result.study
        key = (study.dataset, study.data_hash, study.seed, study.train_labels, study.test_images)
        together.setdefault(key, []).append(result)
    held = sorted(together.values(), key=lambda group: (group[0].study.dataset, -len(group), group[0].study.name))
    times = Counter(group[0].study.dataset for group in held)
    return [Group(_title(group[0].study, times[group[0].study.dataset] > 1), tuple(group)) for group in held]


def refusals(groups: Sequence[Group]) -> list[str]:
    """Why some studies of a data set share no axis with the others: a sentence for each group but the largest."""
    largest: dict[str, Group] = {}
    said = []
    for group in groups:
        main = largest.setdefault(group.first.dataset, group)
        if main is not group:
            apart = listed([result.study.name for result in group.results])
            names = [result.study.name for result in main.results]
            others = listed(names) if len(names) <= _NAMED else f"the {len(names)} studies of {main.title}"
            shares = "shares" if len(group.results) == 1 else "share"
            reasons = "; ".join(_reasons(group.first, main.first))
            said.append(f"{apart} {shares} no axis with {others}: {reasons}.")
    return said


def differences(group: Group) -> Table | None:
    """The settings in which studies of one axis differ, a column each; None where they differ in none."""
    studies = [result.study for result in group.results]
    names = [field.name for field in fields(Study) if field.name not in _NO_SETTING]
    shown = [name for name in names if len({_told(study, name) for study in studies}) > 1]
    if not shown:
        return None
    rows = tuple((study.name, *(_told(study, name) for name in shown)) for study in studies)
    return Table(("study", *(name.replace("_", " ") for name in shown)), rows)


def _title(study: Study, shared: bool) -> str:
    return f"{study.dataset} (data {study.data_hash[:8]}, seed {study.seed})" if shared else study.dataset


def _reasons(study: Study, other: Study) -> list[str]:
    """In what two studies of one data set differ that keeps them apart."""
    said = []
    if study.image_size != other.image_size:
        said.append(f"other images (image size {study.image_size} rather than {other.image_size} pixels)")
    elif study.data_hash != other.data_hash:
        hashes = f"data hash {study.data_hash} rather than {other.data_hash}"
        said.append(f"other images, labels or test split ({hashes})")
    if study.seed != other.seed:
        said.append(f"another split and other label subsets (seed {study.seed} rather than {other.seed})")
    if study.test_images != other.test_images:
        said.append(f"another test split ({study.test_images:,} rather than {other.test_images:,} images)")
    if study.train_labels != other.train_labels:
        said.append(f"other label subsets (of {study.train_labels:,} rather than {other.train_labels:,} images)")
    return said


def _told(study: Study, name: str) -> str:
    value = getattr(study, name)
    if name == "warm_start":
        return f"{len(value)} settings" if value else "none"
    if isinstance(value, tuple):
        return ", ".join(map(number, value)) or "none"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else number(value)
