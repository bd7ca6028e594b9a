"""A PostgreSQL of the tests' own: Debian's binaries, a temporary cluster, a password, and faults on request."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote

USER, PASSWORD = "ada", "marker-{pass}%word"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # what a killed server wrote the kernel keeps; only a machine that dies would lose it
    "max_connections": "60",
    "shared_buffers": "16MB",
}


def binaries() -> Path | None:
    """The folder of initdb and postgres, the newest of several; None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if found := shutil.which("initdb"):
        folders.insert(0, Path(found).resolve().parent)
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


class Postgres:
    """A server on 127.0.0.1 and on a socket in its own folder. It refuses to be root, so root starts it as another."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._databases = 0
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, *self._account())
        login = ["--username", USER, "--pwfile", str(password), "--auth", "scram-sha-256"]
        self._run("initdb", *login, "--encoding", "UTF8", "--locale", "C", "--no-sync", "--pgdata", self._data)
        settings = _SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        with Path(self._data, "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Begin, and return once it answers."""
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", log, "--pgdata", self._data)

    def stop(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """End it: `immediate` is as if it were killed, without a word to its clients."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode, "--pgdata", self._data)

    def freeze(self, frozen: bool = True) -> None:
        """Stop every process of it as a machine that hangs does: connections stay open, and nothing answers."""
        main = int(Path(self._data, "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            os.kill(process, signal.SIGSTOP if frozen else signal.SIGCONT)

    def remove(self) -> None:
        """End it and delete all of it."""
        if Path(self._data, "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """The URI of a new, empty database."""
        self._databases += 1
        name = f"database{self._databases}_{secrets.token_hex(2)}"
        environment = {"PGPASSWORD": PASSWORD}
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--username", USER]
        self._run("createdb", *where, name, environment=environment)
        return self.uri(name)

    def uri(self, name: str, password: str = PASSWORD) -> str:
        """The URI of a database, by TCP."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{name}"

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _account(self) -> tuple[int, int]:
        names = {entry.pw_name for entry in pwd.getpwall()}
        entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        return entry.pw_uid, entry.pw_gid

    def _run(self, program: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        user, group = self._account() if os.getuid() == 0 else (None, None)
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=user,
            group=group,
            extra_groups=[] if user is not None else None,
        )
