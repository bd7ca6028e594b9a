"""Databases of the stores: whether one answers, and its tables made once, however many drivers begin at once."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from study.tracking.uri import PORTS, hidden, scheme, sqlite_path

T = TypeVar("T")
_PATIENCE = 5.0  # seconds
_LOCK = 5_041_997  # any number, the same in every driver
# They would write across the display, and some of them the whole URI.
_LOUD = ("mlflow", "alembic", "urllib3", "sqlalchemy", "psycopg", "optuna.storages")


def opened(uri: str, make: Callable[[str], T]) -> T:
    """What `make` makes of the store at `uri`, whose tables it makes too where they lack. Raises where it fails.

    Two drivers that make the tables of one database at once would both fail, or leave a file that never works.
    """
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    path = sqlite_path(uri)
    if path and not path.exists():
        _create_file(path, make)
    if path:
        _probe_file(path)
    elif scheme(uri) in PORTS:
        with _alone(uri):
            return make(uri)
    return make(uri)  # a web server tells by itself whether it answers


def reason(error: BaseException, uri: str) -> str:
    """What lies at the bottom of an error of the store at `uri`, in one line fit to be shown."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return hidden(str(error).strip().partition("\n")[0], uri)[:200] or type(error).__name__


def _create_file(path: Path, make: Callable[[str], T]) -> None:
    """Make a database under another name and link it into place; MLflow takes seconds for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made.unlink(missing_ok=True)
    try:
        _probe_file(made)
        make(f"sqlite:///{made}")
        with suppress(FileExistsError):  # another study was faster
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)


def _probe_file(path: Path) -> None:
    """Raise OSError or sqlite3.Error where it cannot be written; MLflow finds that out in 100 seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Connect, and keep other drivers out meanwhile. Raises where the server or the database is not there.

    MLflow would try ten times in 100 seconds, and then say so.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    os.environ.setdefault("PGCONNECT_TIMEOUT", str(round(_PATIENCE)))  # for a server that is there and hangs
    parts = urlsplit(uri)
    if parts.hostname:
        socket.create_connection((parts.hostname, parts.port or PORTS[scheme(uri)]), _PATIENCE).close()
    with create_engine(uri, poolclass=NullPool).connect() as connection:
        if scheme(uri) == "postgresql":
            connection.execute(text("SET lock_timeout = '60s'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})  # until the connection ends
        yield
