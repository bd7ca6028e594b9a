"""What tests share: one Ray runtime, one small data set, one PostgreSQL, and the real images where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study.cluster.runtime import joined
from study.data.dataset import Dataset, prepare
from study.data.sources import open_source
from tests.object_store import KEYS, Store, running_store
from tests.postgres import Postgres, binaries


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_store_of_the_tester() -> None:
    """A study of a test is recorded where the test says, and never in the store of the person who runs it."""
    for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def study_data() -> Path:
    """The folder of real image sets; who has none tests on embedded and made images alone."""
    if not (folder := os.environ.get("STUDY_DATA")):
        pytest.skip("set STUDY_DATA to a folder of real image sets, as torchvision lays them out, to test on them too")
    return Path(folder)


@pytest.fixture(scope="session")
def photo_digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The default data set, with a small pool."""
    return prepare(open_source("photo-digits:1257"), size=32, cache=tmp_path_factory.mktemp("cache"), seed=0)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray for all tests that need one, with more CPUs than the machine may have."""
    with joined(None, cpus=6):
        yield


@pytest.fixture(scope="session")
def object_store() -> Iterator[Store]:
    """One object store for all tests that need one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with running_store() as store:
            yield store


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One running PostgreSQL. A test that stops it starts it again."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql, or put initdb on the PATH, to test it")
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()
