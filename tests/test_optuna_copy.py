"""The copy of a study's trials in an Optuna storage: what it holds, and that it heals from whatever befell it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from methods import METHODS
from methods.space import defaults
from study.records import Started, Trial
from study.tracking import courier
from study.tracking.notes import settings
from study.tracking.optuna_copy import OptunaCopy
from study.tracking.trial_storage import open_storage
from tests import stores
from tests.cut_connection import cut_connection
from tests.postgres import Postgres
from tests.stores import STUDY, run_trial, wait_until

IDENTITY = "0123456789abcdef"
NAME = f"{STUDY.name}-01234567"
PARAMS = defaults(METHODS[STUDY.method].Config)
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def trial(number: int, *what: Any, **more: Any) -> Trial:
    return dataclasses.replace(stores.trial(number, *what, **more), params=PARAMS | {"dropout": number / 100})


def started(number: int) -> Started:
    return Started(number, trial(number).params, trial(number).started_at)


def copied(uri: str, name: str = NAME) -> list[FrozenTrial]:
    storage = open_storage(uri)
    found: list[FrozenTrial] = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    return found


def count(uri: str, name: str = NAME) -> int:
    """How many trials the copy has; 0 where there is none yet."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite") and not path.exists():
        return 0
    names = [study.study_name for study in open_storage(uri).get_all_studies()]
    return len(copied(uri, name)) if name in names else 0


def check(uri: str, stored: list[Trial], waiting: tuple[int, ...] = (), name: str = NAME) -> None:
    """The copy has exactly the `stored` trials with all of their epochs, and those `waiting`."""
    found = copied(uri, name)
    assert [each.number for each in found] == list(range(len(found)))
    assert [each.user_attrs["trial"] for each in found] == sorted([*waiting, *(each.number for each in stored)])
    by_number = {each.user_attrs["trial"]: each for each in found}
    assert all(by_number[number].state == TrialState.WAITING for number in waiting)
    for each in stored:
        copy = by_number[each.number]
        assert copy.state == STATES[each.status]
        assert copy.params == each.params
        assert copy.intermediate_values == {epoch.epoch: epoch.objective for epoch in each.history}
        assert copy.value == (each.objective if each.status == "completed" else None)
        assert copy.user_attrs.get("error") == each.error


def a_copy(uri: str, stored: tuple[Trial, ...] = (), unfinished: tuple[Started, ...] = ()) -> OptunaCopy:
    return OptunaCopy(uri, STUDY, IDENTITY, stored, unfinished)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.database()


def test_trials_are_copied_with_state_value_epochs_and_settings(sqlite: str) -> None:
    stored = [trial(0), trial(1, "pruned", epochs=1), trial(2, "failed", epochs=0, error="the loss is nan")]
    with a_copy(sqlite) as copy:
        for each in stored:
            run_trial(copy, each)
    assert copy.problem is None
    check(sqlite, stored)
    study = optuna.load_study(study_name=NAME, storage=open_storage(sqlite))
    assert study.best_value == stored[0].objective
    assert study.user_attrs["method"] == "rotnet"


def test_a_trial_under_way_is_running_with_its_epochs_and_waits_once_the_driver_leaves(sqlite: str) -> None:
    copy = a_copy(sqlite)
    copy.start_trial(0, "t0", trial(0).params)
    for epoch in trial(0).history[:2]:
        copy.log_epoch(0, epoch)
    wait_until(lambda: count(sqlite) == 1 and len(copied(sqlite)[0].intermediate_values) == 2)
    assert copied(sqlite)[0].state == TrialState.RUNNING
    copy.close()
    check(sqlite, [], waiting=(0,))
    with a_copy(sqlite, unfinished=(started(0),)) as again:
        run_trial(again, trial(0))
    check(sqlite, [trial(0)])


@pytest.mark.parametrize(
    "stored",
    [
        [trial(0), trial(1), trial(2)],
        [trial(0), trial(2)],
        [trial(0), trial(1, "pruned", epochs=2)],
        [trial(0), trial(1, epochs=4), trial(3)],
        [],
    ],
    ids=["one more", "one is gone", "another ending", "another history", "all are gone"],
)
def test_a_copy_that_says_something_else_is_brought_to_what_is_stored(stored: list[Trial], sqlite: str) -> None:
    with a_copy(sqlite) as copy:
        run_trial(copy, trial(0))
        run_trial(copy, trial(1))
    with a_copy(sqlite, tuple(stored)) as again:
        pass
    assert again.problem is None
    check(sqlite, stored)


def test_a_trial_that_somebody_else_put_there_is_taken_out(sqlite: str) -> None:
    with a_copy(sqlite) as copy:
        run_trial(copy, trial(0))
    optuna.load_study(study_name=NAME, storage=open_storage(sqlite)).ask()
    a_copy(sqlite, (trial(0),)).close()
    check(sqlite, [trial(0)])


def test_a_trial_that_is_pruned_before_an_epoch_that_its_first_session_saw_has_only_its_own(sqlite: str) -> None:
    copy = a_copy(sqlite)
    copy.start_trial(0, "t0", trial(0).params)
    for epoch in trial(0).history:
        copy.log_epoch(0, epoch)
    copy.close()
    with a_copy(sqlite, unfinished=(started(0),)) as again:
        run_trial(again, trial(0, "pruned", epochs=2))
    assert again.problem is None
    check(sqlite, [trial(0, "pruned", epochs=2)])


def test_a_setting_outside_the_ranges_is_named_and_holds_up_nothing_else(sqlite: str) -> None:
    outside = dataclasses.replace(trial(0), params=PARAMS | {"dropout": 7.0})
    with a_copy(sqlite) as copy:
        run_trial(copy, outside)
        run_trial(copy, trial(1))
    assert copy.problem is not None
    assert "trial 0" in copy.problem
    check(sqlite, [trial(1)])


def test_a_storage_that_is_down_costs_training_milliseconds(postgres: Postgres, database: str) -> None:
    postgres.stop()
    try:
        copy = a_copy(database)
        begun = time.perf_counter()
        for number in range(20):
            run_trial(copy, trial(number))
        assert time.perf_counter() - begun < 0.1  # seconds, for 100 calls
        copy.close(patience=0.3)
    finally:
        postgres.start()
    assert copy.problem is not None
    assert "refused" in copy.problem
    a_copy(database, tuple(trial(number) for number in range(20))).close()
    check(database, [trial(number) for number in range(20)])


def test_a_storage_killed_and_restarted_in_mid_study_has_every_trial_once(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres.database()
    monkeypatch.setattr("study.tracking.courier.RETRY", 0.2)
    with a_copy(uri) as copy:
        for number in range(9):
            if number == 3:
                wait_until(lambda: count(uri) == 3)
                copy.start_trial(3, "t3", trial(3).params)
                postgres.stop()
            run_trial(copy, trial(number))
            if number == 6:
                wait_until(lambda: copy.problem is not None)
                postgres.start()
    assert copy.problem is None
    check(uri, [trial(number) for number in range(9)])


def test_a_connection_that_is_cut_after_any_commit_leaves_nothing_twice_in_the_copy(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.tracking.courier.LAST_RETRY", 0.05)
    for at in (0, 1, *range(len(settings(STUDY)), 100)):  # the study's own settings are a commit each
        identity = f"{at:08d}"
        with cut_connection(postgres.port, at) as cut:
            uri = database.replace(f":{postgres.port}/", f":{cut.port}/")
            with OptunaCopy(uri, STUDY, identity, (trial(0),), ()) as copy:
                run_trial(copy, trial(1, epochs=1))
        assert copy.problem is None
        check(database, [trial(0), trial(1, epochs=1)], name=f"{STUDY.name}-{identity}")
        if not cut.made:
            break
    assert at > len(settings(STUDY)) + 2  # the study and two trials


def _record(uri: str, name: str, at_once: Any) -> None:
    courier.RETRY = courier.LAST_RETRY = 600.0  # neither may get in the other's way even once
    at_once.wait()
    with OptunaCopy(uri, dataclasses.replace(STUDY, name=name), IDENTITY, (), ()) as copy:
        for number in range(6):
            run_trial(copy, trial(number))
        copy.close(patience=60)
    assert copy.problem is None, copy.problem


def _die_in_the_middle(uri: str) -> None:
    copy = a_copy(uri)
    run_trial(copy, trial(0))
    copy.start_trial(1, "t1", trial(1).params)
    copy.log_epoch(1, trial(1).history[0])
    copy.start_trial(2, "t2", trial(2).params)
    time.sleep(600)


def test_two_drivers_share_an_empty_postgresql_and_a_killed_third_is_gone_on_with(postgres: Postgres) -> None:
    uri = postgres.database()
    context = multiprocessing.get_context("spawn")
    at_once = context.Barrier(2)
    drivers = [context.Process(target=_record, args=(uri, name, at_once)) for name in ("one", "other")]
    killed = context.Process(target=_die_in_the_middle, args=(uri,))
    for driver in (*drivers, killed):
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0, 0]
    for name in ("one", "other"):
        check(uri, [trial(number) for number in range(6)], name=f"{name}-01234567")

    wait_until(lambda: count(uri) == 3 and len(copied(uri)[1].intermediate_values) == 1)
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    states = Counter(each.state.name for each in copied(uri))
    assert states == {"COMPLETE": 1, "RUNNING": 2}
    with a_copy(uri, (trial(0),), (started(1), started(2))) as copy:
        run_trial(copy, trial(1))
    assert copy.problem is None
    check(uri, [trial(0), trial(1)], waiting=(2,))
