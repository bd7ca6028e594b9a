"""Trial storage: what an Optuna storage has of a study's trials, and how it is brought to what it should have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from methods import METHODS
from methods.space import Value, searched
from study.analysis.importance import distribution
from study.records import Status, Study
from study.tracking.courier import Answers
from study.tracking.databases import opened, reason
from study.tracking.notes import settings
from study.tracking.uri import whole_uri

State = Literal["waiting", "running"] | Status
_STATES: Mapping[State, TrialState] = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_NUMBER = "trial"  # the attribute that holds our number; Optuna's own counts without gaps
_FOREIGN = -1  # the number of a trial that none of our drivers wrote


@dataclass(frozen=True)
class Copied:
    """All that the storage should have of a trial."""

    number: int
    params: Mapping[str, Value]
    state: State
    values: Mapping[int, float] = field(default_factory=dict)  # the objective by epoch
    objective: float | None = None
    begun: datetime | None = None
    ended: datetime | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)


class TrialStorage:
    """The thread's side. What the storage should have it holds in memory, so that all can be written at any time.

    After a failure it reads again what the storage has, for what was asked then may have been done.
    """

    def __init__(self, uri: str, study: Study, identity: str) -> None:
        self.uri = whole_uri(uri)
        self.refusal: str | None = None  # the last trial that can never be written, and why
        self.answers = Answers()
        self._study, self._name = study, f"{study.name}-{identity[:8]}"
        self._space = {name: distribution(range_) for name, range_ in searched(METHODS[study.method].Config).items()}
        self._wanted: dict[int, FrozenTrial] = {}
        self._changed: set[int] = set()  # trials that the storage may lack
        self._storage: Any = None
        self._id = 0  # of the study in the storage
        self._had: dict[int, FrozenTrial] | None = None  # what the storage has by our numbers; None where in doubt

    def add(self, note: Copied) -> None:
        """Take what a trial should be for the next `write`. Cannot fail."""
        try:
            self._wanted[note.number] = self._template(note)
        except (KeyError, ValueError) as error:  # the method's settings are others than when it was tried
            self.refusal = f"trial {note.number}: {reason(error, self.uri)}"
            return
        self._changed.add(note.number)

    @property
    def left(self) -> int:
        """How many trials are still to be written."""
        return len(self._changed)

    def write(self) -> None:
        """Write what changed. Raises where the storage fails; all of it is written again then."""
        had = self._open() if self._had is None else self._had
        self._had = None
        if not self._agree(had):
            self._storage.delete_study(self._id)
            had = self._create()
        for number in sorted(self._changed):
            self._write_trial(self._wanted[number], had)
            self._changed.remove(number)
            self.answers.one()
        self._had = had

    def _open(self) -> dict[int, FrozenTrial]:
        """Find or make the study, and read which trials it has."""
        self._storage = opened(self.uri, open_storage)
        self._changed = set(self._wanted)
        try:
            self._id = self._storage.get_study_id_from_name(self._name)
        except KeyError:
            return self._create()
        self._describe()
        found = self._storage.get_all_trials(self._id, deepcopy=False)
        self.answers.one()
        had = {trial.user_attrs.get(_NUMBER, _FOREIGN): trial for trial in found}
        return had if len(had) == len(found) else {_FOREIGN: found[0]}  # one is there twice

    def _create(self) -> dict[int, FrozenTrial]:
        self._id = self._storage.create_new_study([StudyDirection.MAXIMIZE], self._name)
        self._describe()
        self._changed = set(self._wanted)
        return {}

    def _describe(self) -> None:
        """Give the study its settings, of which a resumed one may have others."""
        had = self._storage.get_study_user_attrs(self._id)
        for name, text in settings(self._study).items():
            if had.get(name) != text:
                self._storage.set_study_user_attr(self._id, name, text)

    def _agree(self, had: dict[int, FrozenTrial]) -> bool:
        """Whether what the storage has becomes what is wanted by adding to it.

        Its trials are the first of those wanted, in their order, so that Optuna counts them as we do.
        """
        first = [number for number in sorted(self._wanted) if number <= max(had, default=-1)]
        return list(had) == first and all(_leads_to(had[number], self._wanted[number]) for number in first)

    def _write_trial(self, wanted: FrozenTrial, had: dict[int, FrozenTrial]) -> None:
        trial = had.get(wanted.number)
        if trial is None:
            created = self._storage._create_new_trial(self._id, wanted)
            if created.number != len(had):  # Optuna itself asks again where it got no answer
                raise RuntimeError(f"trial {wanted.number} was created twice")
            wanted._trial_id = created._trial_id
        else:
            wanted._trial_id = trial._trial_id
            self._bring(trial, wanted)
            wanted.intermediate_values = {**trial.intermediate_values, **wanted.intermediate_values}
        had[wanted.number] = wanted

    def _bring(self, trial: FrozenTrial, wanted: FrozenTrial) -> None:
        """Bring a trial from what it is in the storage to what it should be."""
        storage, id_ = self._storage, trial._trial_id
        if trial.state.is_finished():
            return
        if trial.state == TrialState.WAITING and wanted.state != TrialState.WAITING:
            storage.set_trial_state_values(id_, TrialState.RUNNING)
        for step, value in wanted.intermediate_values.items():
            if not _equal(trial.intermediate_values.get(step), value):
                storage.set_trial_intermediate_value(id_, step, value)
        for name, attribute in wanted.user_attrs.items():
            if trial.user_attrs.get(name) != attribute:
                storage.set_trial_user_attr(id_, name, attribute)
        if wanted.state != TrialState.RUNNING:
            storage.set_trial_state_values(id_, wanted.state, wanted.values)

    def _template(self, copied: Copied) -> FrozenTrial:
        """The trial as Optuna has it. Raises ValueError or KeyError where it is none that Optuna takes."""
        trial = FrozenTrial(
            number=copied.number,
            trial_id=-1,
            state=_STATES[copied.state],
            value=copied.objective if copied.state == "completed" else None,
            datetime_start=copied.begun,
            datetime_complete=copied.ended,
            params={name: copied.params[name] for name in self._space},
            distributions=self._space,
            user_attrs={_NUMBER: copied.number, **copied.attributes},
            system_attrs={},
            intermediate_values=dict(copied.values),
        )
        trial._validate()
        return trial


def open_storage(uri: str) -> Any:
    """Optuna's storage; it makes its tables where they lack. No connection is held while an epoch is trained."""
    template = uri.replace("{", "{{").replace("}", "}}")  # Optuna takes braces for one
    return optuna.storages.RDBStorage(template, {"poolclass": NullPool})


def _leads_to(trial: FrozenTrial, wanted: FrozenTrial) -> bool:
    """Whether a trial as the storage has it is what is wanted, or can become it."""
    if trial.params != wanted.params or trial.distributions != wanted.distributions:
        return False
    steps = trial.intermediate_values.keys()
    if not trial.state.is_finished():
        return not wanted.state.is_finished() or steps <= wanted.intermediate_values.keys()
    return (
        trial.state == wanted.state
        and _equal(trial.value, wanted.value)
        and steps == wanted.intermediate_values.keys()
        and all(_equal(trial.intermediate_values[step], wanted.intermediate_values[step]) for step in steps)
    )


def _equal(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))
