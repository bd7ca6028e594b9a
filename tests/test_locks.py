"""No study is run by two living processes at once, and a dead one is in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.storage.folder import Folder, StorageError
from study.storage.locks import LOCKS, held
from tests.object_store import Store

STALE = 3.0  # seconds; an object store tells times in whole ones

HOLDS = """
import sys, time
from study.storage.folder import Folder
from study.storage.locks import held
with held(Folder.of(sys.argv[1]), "digits", float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""

COUNTS = """
import sys, time
from pathlib import Path
from study.storage.locks import held
results, counter = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 30:
    try:
        with held(results, "digits"):
            number = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(number + 1))
            done += 1
    except ValueError:
        time.sleep(0.0005)
"""


@pytest.fixture(params=["local", "remote"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return Folder.of(tmp_path / "results")
    store: Store = request.getfixturevalue("object_store")
    return store.folder()


@contextmanager
def another_process(results: Folder) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, results.location, str(STALE)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_study_that_another_process_runs_is_refused_by_name_until_it_is_killed(results: Folder) -> None:
    with another_process(results) as process:
        expected = rf"^digits is being run by process {process.pid} on {os.uname().nodename} since 2.*: wait for it"
        with pytest.raises(ValueError, match=expected) as caught, held(results, "digits", STALE):
            pass
        assert "\n" not in str(caught.value)
        with held(results, "faces", STALE):
            pass
        process.kill()  # SIGKILL
        process.wait()
        with held(results, "digits", STALE) as lock:
            lock.check()


def test_nothing_is_left_of_a_lock_that_was_given_back(results: Folder) -> None:
    for _ in range(2):
        with held(results, "digits", STALE):
            assert (results / LOCKS).names() == ["digits"]
    assert results.sizes() == {}


def test_processes_that_contend_for_a_lock_never_hold_it_together(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNTS, str(tmp_path / "results"), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert counter.read_text() == "120"


def test_two_that_take_a_free_lease_at_once_do_not_both_get_it(object_store: Store) -> None:
    results = object_store.folder()
    together, got, refused = threading.Barrier(4), list[int](), list[str]()

    def contend(number: int) -> None:
        together.wait()
        try:
            with held(results, "digits", 60):
                got.append(number)
                time.sleep(3)
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 3


def _from_another_machine(results: Folder) -> None:
    with held(results, "digits", 60):
        lease = json.loads((results / LOCKS).read("digits"))
    (results / LOCKS).write(
        "digits", json.dumps(lease | {"kernel": "another", "host": "far", "token": "other"}).encode()
    )


def test_a_lease_of_another_machine_ends_by_itself_once_it_is_not_renewed(object_store: Store) -> None:
    results = object_store.folder()
    _from_another_machine(results)
    with pytest.raises(ValueError, match=r"on far since .* its lease ends within 3 s$"), held(results, "digits", STALE):
        pass
    time.sleep(STALE + 2)
    with held(results, "digits", STALE):
        assert (results / LOCKS).names() == ["digits"], "what the clock was asked with is gone"


def test_a_lease_is_renewed_as_long_as_its_holder_lives(object_store: Store) -> None:
    results = object_store.folder()
    with held(results, "digits", STALE) as lock:
        time.sleep(STALE + 2)
        lease = json.loads((results / LOCKS).read("digits"))
        assert lease["pid"] == os.getpid()
        (results / LOCKS).write("elsewhere", b"now")
        assert (results / LOCKS).modified("elsewhere") - (results / LOCKS).modified("digits") < STALE
        lock.check()


def test_who_lost_a_lease_is_told_and_leaves_the_new_holder_alone(object_store: Store) -> None:
    results = object_store.folder()
    with held(results, "digits", STALE) as lock:
        other = json.loads((results / LOCKS).read("digits")) | {"token": "other"}
        (results / LOCKS).write("digits", json.dumps(other).encode())
        assert lock.lost.wait(STALE)
        with pytest.raises(StorageError, match="taken over this study"):
            lock.check()
    assert json.loads((results / LOCKS).read("digits"))["token"] == "other"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_results_that_cannot_be_written_to_are_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="make it writable"), held(tmp_path / "results", "digits"):
        pass


def test_results_that_are_a_file_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    for results in (tmp_path / "results", tmp_path / "results" / "below"):
        with pytest.raises(StorageError, match="--resume"), held(results, "digits"):
            pass
    (tmp_path / LOCKS).write_text("a file")
    with pytest.raises(StorageError, match="--resume"), held(tmp_path, "digits"):
        pass
