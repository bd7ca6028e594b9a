"""Store URIs: which can be a store, and how to show one."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from study.storage.folder import Folder

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TRACKING = ("sqlite", "http", "https", *PORTS)
_STORAGES = ("sqlite", "postgresql", "mysql")  # what Optuna is tested with
_PACKAGES = {"psycopg": "pip install -e '.[postgres]'", "psycopg2": "pip install psycopg2-binary"}


def check_uri(uri: str, results: Folder | None = None) -> None:
    """Raise ValueError where `uri` can never be a tracking store of a study in `results`, before it starts with it."""
    _check(uri, "--tracking-uri", _TRACKING, "mlflow.db")
    if results is not None and results.path is None and scheme(uri) in PORTS:
        raise ValueError(
            f"--tracking-uri {public_uri(uri)!r} is a database, which keeps files below --results, and {results} is no "
            "folder of this machine: name a tracking server, http://HOST:PORT"
        )


def default_uri(results: Folder) -> str:
    """The tracking store of a folder of results. Raises ValueError where none can lie there."""
    if results.path is None:
        raise ValueError(f"{results} cannot hold MLflow's database: name a store with --tracking-uri")
    return f"sqlite:///{results.path.resolve()}/mlflow.db"


def check_storage(uri: str, tracking_uri: str) -> None:
    """Raise ValueError where `uri` can never be an Optuna storage beside this tracking store."""
    _check(uri, "--optuna-storage", _STORAGES, "optuna.db")
    if _place(uri) == _place(tracking_uri):
        raise ValueError(
            f"--optuna-storage and --tracking-uri both name {public_uri(uri)}: MLflow and Optuna keep their versions "
            "in a table of one name, so give each a database of its own"
        )


def public_uri(text: str) -> str:
    """`text`, a URI or a message that quotes one, without user and password."""
    text = re.sub(r"(?<!sqlite)://\S*@", "://***@", text)  # greedy, for a password may itself hold an @
    return re.sub(r"([?&](?:user|password|sslpassword|passfile|token)=)[^&\s\"']*", r"\1***", text)


def hidden(text: str, uri: str) -> str:
    """`text` without what `uri` says of user and password, whether it quotes the URI or them alone."""
    text = public_uri(text)
    user, colon, password = uri.partition("://")[2].rpartition("@")[0].partition(":")
    for secret in {password, unquote(password)} - {""} if colon else ():
        text = text.replace(secret, "***")
    for name in {user, unquote(user)} - {""}:  # a database names whom it refuses, in quotes
        text = re.sub(rf"([\"'`]){re.escape(name)}\1", r"\1***\1", text)
    return text


def sqlite_path(uri: str) -> Path | None:
    """The database file that `uri` names; None where it names none."""
    path = uri.partition(":///")[2].partition("?")[0] if scheme(uri) == "sqlite" else ""
    return Path(path) if path not in ("", ":memory:") else None


def whole_uri(uri: str) -> str:
    """`uri`, with a database file's path from the root on, so that it means the same in every folder."""
    path = sqlite_path(uri)
    return f"sqlite:///{path.absolute()}" if path else uri


def scheme(uri: str) -> str:
    """What kind of store it names, without its driver: `postgresql` of postgresql+psycopg://."""
    return uri.partition("://")[0].partition("+")[0]


def _check(uri: str, option: str, schemes: tuple[str, ...], file: str) -> None:
    kind, shown = scheme(uri), f"{option} {public_uri(uri)!r}"
    if kind not in schemes:
        raise ValueError(f"{shown} begins with none of {', '.join(schemes)}; try sqlite:///{file}")
    if kind == "sqlite":
        path = sqlite_path(uri)
        if path is None or path.is_dir():
            raise ValueError(f"{option} {uri!r} names no database file; write sqlite:///FOLDER/{file}")
        return
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port  # a port that is no number raises
    except ValueError:
        host = None
    if not host and not (kind == "postgresql" and ":///" in uri):  # three slashes are PostgreSQL's own socket
        raise ValueError(f"{shown} names no host; write {kind}://HOST:PORT")
    if kind in PORTS:
        _check_driver(uri, shown)


def _check_driver(uri: str, shown: str) -> None:
    """Raise ValueError where the Python package is missing that speaks to such a database."""
    from sqlalchemy.engine import make_url  # here, for most studies need no database but SQLite
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise ValueError(
            f"{shown} needs the Python package {package}: {_PACKAGES.get(package, f'pip install {package}')}"
        ) from error
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise ValueError(f"{shown} is no database that can be reached: {hidden(str(error), uri)}") from error


def _place(uri: str) -> object:
    """What is equal of two URIs that name the same database."""
    if path := sqlite_path(uri):
        return path.resolve()
    parts = urlsplit(uri)
    options = re.search(r"options=[^&]*", parts.query)  # where a schema may be set
    return scheme(uri), parts.hostname, parts.port or PORTS.get(scheme(uri)), parts.path, options and options[0]
