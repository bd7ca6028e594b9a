"""A way to PostgreSQL that is cut at the worst moment: the database has committed, and its answer never arrives."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

COMMITTED, WRITTEN = b"COMMIT\0", b"INSERT 0 "  # how a server's answers end, in PostgreSQL's protocol


@dataclass
class Cut:
    """Which of the answers to commits of new rows is cut off: the first is 0."""

    port: int
    at: int
    seen: int = 0

    @property
    def made(self) -> bool:
        return self.seen > self.at


@contextmanager
def cut_connection(port: int, at: int) -> Iterator[Cut]:
    """A port that leads to `port`; the answer to commit number `at` is lost, with its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cut = Cut(listener.getsockname()[1], at)
        threading.Thread(target=_listen, args=(listener, port, cut), daemon=True).start()
        yield cut
        listener.shutdown(socket.SHUT_RDWR)


def _listen(listener: socket.socket, port: int, cut: Cut) -> None:
    with suppress(OSError):
        while True:
            client = listener.accept()[0]
            threading.Thread(target=_lead, args=(client, port, cut), daemon=True).start()


def _lead(client: socket.socket, port: int, cut: Cut) -> None:
    wrote = False
    with client, socket.create_connection(("127.0.0.1", port)) as server, suppress(OSError):
        while True:
            for end in select.select([client, server], [], [])[0]:
                data = end.recv(1 << 16)
                if not data:
                    return
                if end is server:
                    wrote = wrote or WRITTEN in data
                    if wrote and COMMITTED in data:
                        wrote = False
                        cut.seen += 1
                        if cut.seen == cut.at + 1:
                            return
                (server if end is client else client).sendall(data)
