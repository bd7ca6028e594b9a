"""Tracking URIs: which can be a store, whether one answers, and how to show one."""

from __future__ import annotations

import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SCHEMES = ("sqlite", "http", "https", *_PORTS)
_PATIENCE = 5.0  # seconds


def check_uri(uri: str) -> None:
    """Raise ValueError where `uri` can never be a tracking store, before a study starts with it."""
    scheme = _scheme(uri)
    if scheme not in _SCHEMES:
        known = ", ".join(_SCHEMES)
        raise ValueError(f"--tracking-uri {public_uri(uri)!r} begins with none of {known}; try sqlite:///mlflow.db")
    if scheme == "sqlite":
        path = sqlite_path(uri)
        if path is None or path.is_dir():
            raise ValueError(f"--tracking-uri {uri!r} names no database file; write sqlite:///FOLDER/mlflow.db")
        return
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port  # a port that is no number raises
    except ValueError:
        host = None
    if not host:
        raise ValueError(f"--tracking-uri {public_uri(uri)!r} names no host; write {scheme}://HOST:PORT")


def public_uri(text: str) -> str:
    """`text`, a URI or a message that quotes one, without user and password."""
    return re.sub(r"(?<!sqlite)://\S*@", "://***@", text)  # greedy, for a password may itself hold an @


def sqlite_path(uri: str) -> Path | None:
    """The database file that `uri` names; None where it names none."""
    path = uri.partition(":///")[2].partition("?")[0] if _scheme(uri) == "sqlite" else ""
    return Path(path) if path not in ("", ":memory:") else None


def probe(uri: str) -> None:
    """Raise OSError or sqlite3.Error where a database cannot be written or reached.

    MLflow finds that out in 100 seconds, SQLAlchemy's message in hand; a web server it asks by itself.
    """
    path = sqlite_path(uri)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    elif _scheme(uri) in _PORTS:
        parts = urlsplit(uri)
        socket.create_connection((parts.hostname, parts.port or _PORTS[_scheme(uri)]), _PATIENCE).close()


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].partition("+")[0]
