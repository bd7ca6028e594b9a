"""Proposals on their own: what Optuna is told. No Ray runs here; tests/test_run.py runs whole searches."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from methods import METHODS
from methods.space import Value, defaults, searched
from study.analysis.importance import distribution
from study.cluster.lanes import LOSSES, LaneError
from study.cluster.messages import Failure, Job, Letter
from study.cluster.post_office import Lane
from study.cluster.proposals import Proposals, Watch, budget_left
from study.cluster.search import asha
from study.cluster.tpe import Tpe
from study.cluster.trainable import TrialOnLane
from study.learning.pretrain import Place
from study.records import Epoch, Started, Status, Study, Trial, stale
from study.storage.folder import StorageError
from tests import made_up

STUDY = replace(made_up.study(), method="rotnet", trials=6, epochs=4, budget_seconds=None)


def nothing(argument: object, place: Place) -> Iterator[Epoch]:
    yield from ()


def _job(number: int, params: dict[str, Value]) -> Job:
    return Job(f"trial-{number}", nothing, (number, params))


def proposed(config: dict[str, Any]) -> tuple[int, dict[str, Value]]:
    """The number and the settings in what Ray Tune is given."""
    number, params = config["job"].open().argument
    return number, params


class Book:
    """Plays Ray Tune to Proposals and keeps what they say."""

    def __init__(
        self, finished: list[Trial] | None = None, unfinished: list[Started] | None = None, study: Study = STUDY
    ) -> None:
        self.started: list[Started] = []
        self.epochs: list[tuple[int, int, Epoch]] = []
        self.finished: list[Trial] = []
        watch = Watch(self.started.append, lambda *epoch: self.epochs.append(epoch), self.finished.append)
        self.alive = [Lane(0, "first"), Lane(1, "second")]
        self.proposals = Proposals(study, _job, lambda: self.alive, finished or [], unfinished or [], watch)

    def optuna(self) -> list[optuna.trial.FrozenTrial]:
        return self.proposals._optuna.trials

    def run(self, name: str, objectives: list[float], failure: str | None = None) -> dict[str, Any]:
        """Suggest a trial, report its epochs, and end it."""
        config: dict[str, Any] = self.proposals.suggest(name)
        for number, objective in enumerate(objectives, start=1):
            self.proposals.on_trial_result(name, result(number, objective))
        ending = {"failure": Failure(failure, "")} if failure else result(len(objectives), objective)
        self.proposals.on_trial_complete(name, ending)
        return config


def result(number: int, objective: float) -> dict[str, Any]:
    epoch = Epoch(number, 1.0, {"rotation": 1.0}, objective, 1.0, 100, 100.0)
    return {"record": epoch, "objective": objective, "epoch": number}


def test_the_first_trial_is_the_published_recipe() -> None:
    book = Book()
    assert proposed(book.proposals.suggest("a"))[1] == defaults(METHODS["rotnet"].Config)


def test_pruned_is_told_as_pruned_and_failed_as_failed() -> None:
    book = Book()
    book.run("a", [0.1, 0.2, 0.3, 0.25])
    book.run("b", [0.1])
    book.run("c", [], failure="DivergedError: the loss is not finite")
    assert [trial.status for trial in book.finished] == ["completed", "pruned", "failed"]
    assert [trial.objective for trial in book.finished] == [0.3, 0.1, None]
    assert [trial.state for trial in book.optuna()] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert book.optuna()[0].value == 0.3, "the best epoch, whose encoder is kept"
    assert book.optuna()[1].intermediate_values == {1: 0.1}
    assert book.finished[2].error == "DivergedError: the loss is not finite"


def test_epochs_that_are_replayed_count_once() -> None:
    book = Book()
    book.proposals.suggest("a")
    for number in (1, 2, 1, 2, 3):
        book.proposals.on_trial_result("a", result(number, 0.1 * number))
    assert [epoch.epoch for _, _, epoch in book.epochs] == [1, 2, 3]


def test_no_more_trials_are_proposed_than_there_are_free_lanes() -> None:
    book = Book()
    lanes = [book.proposals.suggest(name)["lane"] for name in "ab"]
    assert lanes == book.alive
    assert book.proposals.suggest("c") is None
    book.proposals.on_trial_complete("a", result(1, 0.1))
    assert book.proposals.suggest("c")["lane"] == lanes[0]


def test_a_search_ends_after_its_trials() -> None:
    book = Book()
    for number in range(6):
        book.run(str(number), [0.1])
    assert book.proposals.suggest("one more") == "FINISHED"


def test_a_proposal_depends_on_the_seed_the_number_and_the_results_before_it() -> None:
    objectives = [0.5, 0.2, 0.9, 0.4]
    whole = Book()
    for number, objective in enumerate(objectives):
        whole.run(str(number), [objective])
    expected = proposed(whole.proposals.suggest("next"))

    resumed = Book(finished=whole.finished[:4])
    assert proposed(resumed.proposals.suggest("next")) == expected


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_proposals_are_those_of_optunas_own_sampler() -> None:
    space = {name: distribution(range_) for name, range_ in searched(METHODS["rotnet"].Config).items()}

    def proposed(sampler: Callable[[int], optuna.samplers.TPESampler]) -> list[dict[str, Value]]:
        known, found, running = optuna.create_study(direction="maximize"), [], []
        for number in range(80):
            known.sampler = sampler(number)
            running.append(known.ask(space))
            found.append(running[-1].params)
            if len(running) < 3:
                continue
            trial = running.pop(number % 2)
            for step in range(1, 1 + number % 3):
                trial.report(round(trial.params["lr"] * step, 3), step)
            state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL)[number % 4]
            value = -round(trial.params["dropout"], 1)
            known.tell(trial, value if state is TrialState.COMPLETE else None, state=state)
        return found

    options: dict[str, Any] = {"n_startup_trials": 10, "multivariate": True, "constant_liar": True}
    theirs = proposed(lambda number: optuna.samplers.TPESampler(seed=number, **options))
    assert proposed(lambda number: Tpe(space, seed=number, n_startup_trials=10)) == theirs


def test_a_trial_that_was_running_is_taken_up_again() -> None:
    whole = Book()
    whole.run("0", [0.5])
    whole.proposals.suggest("1")
    resumed = Book(finished=whole.finished, unfinished=whole.started[1:])
    again = resumed.proposals.suggest("again")
    assert proposed(again) == (1, whole.started[1].params)
    assert proposed(resumed.proposals.suggest("new"))[0] == 2


def test_a_trial_whose_file_was_removed_is_proposed_as_it_was() -> None:
    study = replace(STUDY, trials=20)
    objectives = [[0.1 * (number % 7), 0.1 * (number % 5)] for number in range(15)]
    whole = Book(study=study)
    for number, reported in enumerate(objectives):
        whole.run(str(number), reported)
    expected = proposed(whole.proposals.suggest("next"))

    for removed in (3, 13):  # among the random ones, and among those that TPE proposed
        kept = [trial for trial in whole.finished if trial.number != removed]
        resumed = Book(finished=kept, study=study)
        assert proposed(resumed.run("again", objectives[removed])) == (removed, whole.finished[removed].params)
        assert proposed(resumed.proposals.suggest("next")) == expected


def test_a_trial_whose_file_was_removed_is_judged_as_it_was() -> None:
    first, second, good, late = (f"{STUDY.name}-{number:03d}" for number in range(4))
    told = {first: 0.2, second: 0.3, good: 0.9, late: 0.25}

    def decided(scheduler: Any, name: str) -> str:
        trial: Any = SimpleNamespace(trial_id=f"tune-{name}")
        decision: str = scheduler.on_trial_result(None, trial, result(STUDY.grace_epochs, told[name]) | {"name": name})
        return decision

    whole = asha(STUDY, [])
    before = {name: decided(whole, name) for name in told}
    assert before[second] == "CONTINUE" and before[late] == "STOP"
    base = made_up.trials(1)[0]
    kept = [
        replace(base, number=number, trial_id=name, history=(result(STUDY.grace_epochs, told[name])["record"],))
        for number, name in enumerate(told)
        if name != second
    ]
    assert decided(asha(STUDY, kept), second) == "STOP", "beside the later ones it is poor"
    assert decided(asha(STUDY, kept, again=[1]), second) == before[second]


def test_a_trial_whose_actor_died_for_good_is_failed() -> None:
    book = Book()
    for death in range(LOSSES):
        assert not book.finished, f"once more after {death} deaths: none was the trial's fault"
        assert proposed(book.proposals.suggest(str(death)))[0] == 0
        book.proposals.on_trial_complete(str(death), error=True)
    assert book.finished[0].status == "failed" and book.optuna()[0].state == TrialState.FAIL


def test_a_trial_whose_lane_was_lost_goes_on_on_another() -> None:
    book = Book()
    first = book.proposals.suggest("a")
    book.proposals.on_trial_result("a", result(1, 0.4))
    book.alive = [Lane(1, "second")]
    book.proposals.on_trial_complete("a", {"failure": Failure("the lane was lost", "", "lane")})
    assert book.finished == [] and first["lane"].number == 0
    again = book.proposals.suggest("b")
    assert again["lane"].number == 1 and proposed(again) == proposed(first)
    for epoch in (1, 2, 3, 4):
        book.proposals.on_trial_result("b", result(epoch, 0.1 * epoch))
    book.proposals.on_trial_complete("b", result(4, 0.4))
    (trial,) = book.finished
    assert (trial.number, trial.status, trial.epochs, trial.lane) == (0, "completed", 4, 1)
    assert [epoch.epoch for _, _, epoch in book.epochs] == [1, 2, 3, 4], "none is told twice"
    assert len(book.started) == len(book.optuna()) == 1


def test_a_search_is_not_over_while_a_trial_has_lost_its_lane() -> None:
    book = Book()
    for number in range(5):
        book.run(str(number), [0.1])
    book.proposals.suggest("last")
    assert book.proposals.suggest("none") is None, "its lane may be lost yet"
    book.proposals.on_trial_complete("last", {"failure": Failure("the lane was lost", "", "lane")})
    assert proposed(book.proposals.suggest("again"))[0] == 5
    book.proposals.on_trial_complete("again", result(1, 0.1))
    assert book.proposals.suggest("one more") == "FINISHED"


def test_a_trial_that_loses_lane_after_lane_fails() -> None:
    book = Book()
    for attempt in range(5):
        assert book.finished == []
        book.proposals.suggest(str(attempt))
        book.proposals.on_trial_complete(str(attempt), {"failure": Failure("the lane was lost", "", "lane")})
    assert [(trial.status, trial.error) for trial in book.finished] == [("failed", "the lane was lost")]


def test_where_nothing_can_be_written_the_search_ends_and_no_trial_is_failed() -> None:
    book = Book()
    book.proposals.suggest("a")
    with pytest.raises(StorageError, match="no room"):
        book.proposals.on_trial_complete("a", {"failure": Failure("no room", "", "storage")})
    assert book.finished == []


def test_optuna_gets_back_exactly_the_history_it_had() -> None:
    whole = Book()
    whole.run("a", [0.1, 0.2, 0.3, 0.25])
    whole.run("b", [0.2, 0.1])
    whole.run("c", [], failure="DivergedError: the loss is not finite")
    whole.run("d", [0.4], failure="RuntimeError: out of memory")
    resumed = Book(finished=whole.finished)
    for before, after in zip(whole.optuna(), resumed.optuna(), strict=True):
        for what in ("number", "state", "value", "params", "distributions", "intermediate_values"):
            assert getattr(before, what) == getattr(after, what)


def test_a_resumed_search_prunes_as_if_it_had_never_stopped() -> None:
    random = np.random.default_rng(0)
    study = replace(STUDY, epochs=16)
    whole, trials = asha(study, []), list[Trial]()
    for number in range(40):
        history: list[Epoch] = []
        resumed, names = asha(study, trials), (f"tune-{number}", f"other-{number}")
        for epoch, objective in enumerate(random.uniform(0, 1, 16), start=1):
            told = result(epoch, objective) | {"name": f"trial-{number}"}
            history.append(told["record"])
            decisions = []
            for scheduler, name in zip((whole, resumed), names, strict=True):
                trial: Any = SimpleNamespace(trial_id=name)
                decisions.append(scheduler.on_trial_result(None, trial, told))
            assert decisions[0] == decisions[1]
            if decisions[0] == "STOP":
                break
        status: Status = "completed" if len(history) == 16 else "pruned"
        base = replace(made_up.trials(1)[0], number=number, trial_id=f"trial-{number}")
        trials.append(replace(base, status=status, history=tuple(history)))
    assert {trial.status for trial in trials} == {"completed", "pruned"}


def test_trials_cut_short_by_the_time_budget_are_accounted_for() -> None:
    book = Book(study=replace(STUDY, trials=None, budget_seconds=0.2))
    book.proposals.suggest("a")
    book.proposals.on_trial_result("a", result(1, 0.4))
    book.proposals.suggest("b")  # not one epoch
    time.sleep(0.3)
    book.proposals.close()
    assert [(trial.number, trial.status) for trial in book.finished] == [(0, "pruned")]


def test_a_resumed_study_has_what_is_left_of_its_time() -> None:
    study = replace(STUDY, trials=None, budget_seconds=100.0, lanes=2)
    trials = [replace(trial, seconds=30.0) for trial in made_up.trials(4)]
    assert budget_left(study, trials) == pytest.approx(40.0)
    assert budget_left(replace(study, budget_seconds=50.0), trials) == 0
    assert budget_left(STUDY, trials) is None
    assert Book(finished=trials, study=replace(study, budget_seconds=50.0)).proposals.suggest("a") == "FINISHED"


def test_trials_that_something_else_cut_short_are_not_accounted_for() -> None:
    book = Book()
    book.proposals.suggest("a")
    book.proposals.on_trial_result("a", result(1, 0.4))
    with pytest.raises(LaneError, match="1 trials under way"):
        book.proposals.close()
    assert book.finished == []


def test_what_goes_wrong_while_a_trial_is_recorded_is_kept_for_whoever_can_end_the_search() -> None:
    """Ray Tune logs what its searcher raises, and goes on."""
    book = Book()
    book.proposals.suggest("a")

    def full(trial: Trial) -> None:
        raise StorageError("no room")

    book.proposals._watch = replace(book.proposals._watch, finished=full)
    with pytest.raises(StorageError):
        book.proposals.on_trial_complete("a", result(1, 0.4))
    assert isinstance(book.proposals.trouble, StorageError)


@pytest.mark.parametrize("name", METHODS)
def test_every_range_can_be_searched(name: str) -> None:
    space = Proposals(replace(STUDY, method=name), _job, list, [], [], Watch(print, print, print))._space
    sample = optuna.samplers.RandomSampler(seed=0)
    asked = optuna.create_study(sampler=sample).ask(space)
    METHODS[name].Config(**asked.params)


class _Lane:
    """A lane that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, letter: Letter) -> None:
        self.told.append(f"start {letter.name}")

    def receive(self, name: str, index: int) -> tuple[Epoch]:
        return (result(index + 1, 0.5)["record"],)

    def stop(self, name: str) -> None:
        self.told.append(f"stop {name}")


def _actor(lane: _Lane) -> TrialOnLane:
    actor = object.__new__(TrialOnLane)
    actor.setup({"lane": lane, "job": _job(3, {}).sealed(), "epochs": 4})
    return actor


def test_an_actor_whose_trial_was_given_to_another_leaves_the_lane_alone() -> None:
    lane = _Lane()
    _actor(lane).cleanup()
    assert lane.told == []


def test_an_actor_that_stepped_starts_its_job_once_and_stops_it() -> None:
    lane = _Lane()
    actor = _actor(lane)
    assert [actor.step()["epoch"] for _ in range(2)] == [1, 2]
    actor.cleanup()
    assert lane.told == ["start trial-3", "stop trial-3"]


def test_the_post_office_needs_no_torch() -> None:
    script = "import sys, study.cluster.post_office, study.records; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_settings_of_a_warm_start_come_after_the_published_recipe() -> None:
    recipe = defaults(METHODS["rotnet"].Config)
    warm: tuple[dict[str, Value], ...] = ({**recipe, "lr": 2e-3}, {**recipe, "lr": 3e-3, "batch_size": 64})
    whole = Book(study=replace(STUDY, warm_start=warm))
    for number in range(3):
        whole.run(str(number), [0.1 * number])
    assert [started.params for started in whole.started] == [recipe, *warm]
    later = proposed(whole.proposals.suggest("3"))[1]
    assert later not in (recipe, *warm)
    resumed = Book(finished=whole.finished[:2], study=replace(STUDY, warm_start=warm))
    assert proposed(resumed.proposals.suggest("2")) == (2, warm[1]), "a resumed search goes on with them"


def test_every_other_of_the_first_ten_is_drawn_around_the_published_recipe() -> None:
    recipe = defaults(METHODS["rotnet"].Config)
    kept = Counter[int]()
    for seed in range(100):
        book = Book(study=replace(STUDY, trials=4, seed=seed))
        for number in range(4):
            book.run(str(number), [0.1])
        kept.update(each.number for each in book.started if each.params["batch_size"] == recipe["batch_size"])
    assert kept[0] == 100 and kept[1] > 50 and kept[2] < 50 and kept[3] > 50, "one of three choices by chance"


def test_a_search_ends_when_its_patience_does() -> None:
    impatient = replace(STUDY, trials=50, patience=3)
    book = Book(study=impatient)
    for number, objective in enumerate([0.2, 0.5, 0.4, 0.1, 0.6, 0.3, 0.5]):
        book.run(str(number), [objective])
        assert not stale(impatient, book.finished)
    assert isinstance(book.proposals.suggest("7"), dict) and isinstance(book.proposals.suggest("8"), dict)
    book.proposals.on_trial_complete("7", result(1, 0.6))
    assert stale(impatient, book.finished), "an equal one is no better one"
    assert book.proposals.suggest("9") is None, "one is under way that may be the best"
    book.proposals.on_trial_complete("8", result(1, 0.7))
    assert isinstance(book.proposals.suggest("9"), dict), "and it was"


def test_a_trial_whose_file_was_removed_is_run_again_whatever_the_patience() -> None:
    impatient = replace(STUDY, trials=50, patience=3)
    whole = Book(study=impatient)
    for number, objective in enumerate([0.2, 0.1, 0.5, 0.4, 0.1, 0.3]):
        whole.run(str(number), [objective])
    assert stale(impatient, whole.finished)
    resumed = Book(finished=[trial for trial in whole.finished if trial.number != 2], study=impatient)
    assert proposed(resumed.run("again", [0.5]))[0] == 2
    assert resumed.proposals.suggest("next") == "FINISHED"


def test_what_was_under_way_and_what_is_missing_are_run_in_the_order_of_their_numbers() -> None:
    study = replace(STUDY, trials=9)
    whole = Book(study=study)
    for number in range(6):
        whole.run(str(number), [0.1 * number])
    whole.proposals.suggest("6")
    kept = [trial for trial in whole.finished if trial.number != 3]
    resumed = Book(finished=kept, unfinished=whole.started[6:], study=study)
    assert [proposed(resumed.run(name, [0.3]))[0] for name in "abc"] == [3, 6, 7]


def test_a_search_without_patience_is_over_after_its_trials_alone() -> None:
    book = Book(study=replace(STUDY, trials=20))
    for number in range(20):
        book.run(str(number), [0.5 if number == 0 else 0.1])
    assert book.proposals.suggest("20") == "FINISHED" and len(book.finished) == 20


def test_trials_under_way_are_finished_whatever_the_patience() -> None:
    impatient = replace(STUDY, trials=50, patience=2)
    book = Book(study=impatient)
    for number in range(2):
        book.run(str(number), [0.5 - 0.1 * number])
    assert isinstance(book.proposals.suggest("2"), dict) and isinstance(book.proposals.suggest("3"), dict)
    book.proposals.on_trial_complete("2", result(1, 0.1))
    resumed = Book(finished=book.finished, unfinished=book.started[3:], study=impatient)
    assert proposed(resumed.proposals.suggest("3"))[0] == 3
    resumed.proposals.on_trial_complete("3", result(1, 0.1))
    assert resumed.proposals.suggest("4") == "FINISHED"
