"""A folder takes a file whole or not at all, here and in an object store, and says in one line what is wrong."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.storage.files import write_whole
from study.storage.folder import Folder, StorageError
from tests.object_store import Store, silent_store, slow_store

TEMPORARY_DISK = """
import sys
from pathlib import Path
from study.storage.folder import Folder, StorageError
folder = Folder.of(Path(sys.argv[1]))
folder.write("kept", b"old" * 1000)
{spoil}
try:
    folder.write("kept", b"new" * 200_000)
except StorageError as error:
    print(error)
print(folder.read("kept") == b"old" * 1000, sorted(path.name for path in Path(sys.argv[1]).iterdir()))
"""


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return Folder.of(tmp_path / "study")
    store: Store = request.getfixturevalue("object_store")
    return store.folder()


def test_what_is_written_is_read_listed_and_removed(folder: Folder) -> None:
    assert folder.names() == [] and folder.sizes() == {} and not folder.exists("a.json")
    (folder / "trials").write("000.json", b"{}")
    folder.write("a.json", b"old")
    folder.write("a.json", b"new")
    assert folder.read("a.json") == b"new"
    assert folder.names() == ["a.json", "trials"]
    assert folder.sizes() == {"a.json": 3, "trials/000.json": 2}
    assert folder.exists("trials") and (folder / "trials").exists("000.json")
    folder.remove("a.json")
    folder.remove("a.json")
    assert folder.sizes() == {"trials/000.json": 2}
    with pytest.raises(FileNotFoundError):
        folder.read("a.json")
    (folder / "trials").remove_all()
    (folder / "trials").remove_all()
    assert folder.sizes() == {} and not folder.exists("trials")


def test_a_large_file_comes_back_as_it_was(folder: Folder) -> None:
    content = os.urandom(1 << 20) * 24  # several parts of an upload
    folder.write("state", content)
    assert folder.read("state") == content


def test_a_folder_travels_to_other_processes(folder: Folder) -> None:
    folder.write("a", b"1")
    again = pickle.loads(pickle.dumps(folder / "b"))
    assert again == folder / "b" and len(pickle.dumps(folder)) < 300


def test_options_stay_behind_the_path_and_keys_are_not_shown() -> None:
    folder = Folder.of("s3://key:secret@bucket/all?endpoint_override=127.0.0.1:9000&scheme=http") / "study" / "best"
    assert folder.location == ("s3://key:secret@bucket/all/study/best?endpoint_override=127.0.0.1:9000&scheme=http")
    assert str(folder) == repr(folder) == "s3://bucket/all/study/best"
    assert folder.path is None


def test_a_local_folder_is_the_same_by_path_and_by_address(tmp_path: Path) -> None:
    spaced = tmp_path / "two words"
    assert Folder.of(spaced) == Folder.of(str(spaced)) == Folder.of(spaced.as_uri())
    assert Folder.of(spaced).path == spaced


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://host/x", "begins with none of s3://"),
        ("s3:///x", "names no bucket"),
        ("s3://key:secret@bucket/x?colour=red", "not colour"),
    ],
)
def test_an_address_that_can_never_work_is_bad_input(address: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Folder.of(address).names()
    assert "secret" not in str(caught.value)


def _on_a_temporary_disk(tmp_path: Path, spoil: str) -> list[str]:
    """What a process prints whose folder is a disk of 256 kB of its own, mounted where nobody else sees it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = TEMPORARY_DISK.format(spoil=spoil)
    mounted = f'mount -t tmpfs -o size=256k none {disk} && exec "$0" -c "$1" {disk}'
    try:
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mounted, sys.executable, script],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if "unshare" in ran.stderr or "mount" in ran.stderr:
        pytest.skip(f"no disk may be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    says, left = _on_a_temporary_disk(tmp_path, "")
    assert says.endswith("disk fails (No space left on device): make room there, then go on with --resume")
    assert left == "True ['kept']"


def test_a_disk_that_becomes_read_only_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    remount = 'import subprocess; subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)'
    says, left = _on_a_temporary_disk(tmp_path, remount)
    assert says.endswith("disk fails (Read-only file system): make it writable, then go on with --resume")
    assert left == "True ['kept']"


WRITER = """
import sys
from pathlib import Path
from study.storage.files import write_whole
number = 0
while True:
    write_whole(Path(sys.argv[1]), str(number % 10).encode() * 3_000_000)
    number += 1
"""


def test_killed_writers_of_one_file_leave_it_whole_and_each_other_in_peace(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for _ in range(4):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(2)]
        while not path.exists():
            time.sleep(0.01)
        for writer in writers:
            time.sleep(0.15)
            assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        content = path.read_bytes()
        assert len(content) == 3_000_000 and len(set(content)) == 1
    assert Folder.of(tmp_path).names() == ["state"], "what dead writers left is not seen"
    write_whole(path, b"last")
    assert path.read_bytes() == b"last"


REMOTE_WRITER = """
import sys
from study.storage.folder import Folder
folder, number = Folder.of(sys.argv[1]), 0
try:
    while True:
        folder.write("state", str(number % 10).encode() * 24_000_000)
        number += 1
        print(number, flush=True)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_writer_to_a_store_that_is_broken_off_leaves_a_whole_object(object_store: Store, how: signal.Signals) -> None:
    folder = object_store.folder()
    for delay in (0.0, 0.05, 0.1, 0.15):
        command = [sys.executable, "-c", REMOTE_WRITER, folder.location]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"1\n"
            time.sleep(delay)
            writer.send_signal(how)
            assert writer.wait() in (0, -signal.SIGKILL)
        content = folder.read("state")
        assert len(content) == 24_000_000 and len(set(content)) == 1


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StorageError, match=r"results fails \(.*\): .*--resume$"):
        Folder.of(tmp_path / "results").write("a", b"")


def test_a_missing_bucket_is_a_storage_error_of_one_line(object_store: Store) -> None:
    with pytest.raises(StorageError, match=r"^s3://missing/x fails \(.*\): .*--resume$") as caught:
        Folder.of(f"s3://missing/x?{object_store.options}").write("a", b"1")
    assert "\n" not in str(caught.value)


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("study.storage.remote._SILENCE", 1.0)
    monkeypatch.setattr("study.storage.remote._ATTEMPTS", 1)
    yield


@pytest.mark.usefixtures("short_patience")
def test_a_store_that_never_answers_is_given_up() -> None:
    with silent_store() as options:
        folder, started = Folder.of(f"s3://bucket/x?{options}"), time.monotonic()
        with pytest.raises(StorageError, match="can be reached"):
            folder.read("a")
        with pytest.raises(StorageError, match="can be reached"):
            folder.write("a", b"1")
        assert time.monotonic() - started < 30


def test_a_store_that_is_not_there_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="can be reached"):
        Folder.of("s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http").names()


def test_a_slow_store_is_waited_for(object_store: Store) -> None:
    folder = object_store.folder()
    with slow_store(object_store, seconds=0.5) as options:
        slow = Folder.of(f"{folder.location.partition('?')[0]}?{options}")
        slow.write("a", b"1")
        assert slow.read("a") == b"1"
    assert folder.read("a") == b"1"
