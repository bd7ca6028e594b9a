"""Object stores: the files below an address such as s3://bucket/prefix. An object is there whole, or is not there."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from pyarrow import fs

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
_S3_OPTIONS = {"region", "scheme", "endpoint_override"}
_CONNECT, _SILENCE = 10.0, 20.0  # seconds; a store that never answers is given up after a minute and a half
_ATTEMPTS = 3


@dataclass(frozen=True)
class Remote:
    """A folder of an object store. Raises OSError where the store fails, FileNotFoundError where a file is missing."""

    store: fs.FileSystem
    path: str

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with self.store.open_input_file(f"{self.path}/{name}") as file:
            content: bytes = file.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file. Readers find the old one or the new one and never a part."""
        # In a thread, for Ctrl-C breaks off the main one alone: a stream that is closed early is an object cut short.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._put, f"{self.path}/{name}", content).result()

    def _put(self, path: str, content: bytes) -> None:
        with self.store.open_output_stream(path) as file:
            file.write(content)

    def names(self) -> list[str]:
        """What lies directly in the folder; nothing where there is none."""
        return sorted(found.base_name for found in self._list(recursive=False))

    def sizes(self) -> dict[str, int]:
        """All files in the folder and below, by their path from it, in bytes."""
        found = self._list(recursive=True)
        return {each.path[len(self.path) + 1 :]: each.size for each in found if each.type == fs.FileType.File}

    def _list(self, recursive: bool) -> list[fs.FileInfo]:
        selected = fs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        found: list[fs.FileInfo] = self.store.get_file_info(selected)
        return found

    def modified(self, name: str) -> float:
        """When a file was written, in seconds by the clock of the store."""
        found = self.store.get_file_info(f"{self.path}/{name}")
        if found.type != fs.FileType.File:
            raise FileNotFoundError(name)
        return float(found.mtime_ns) / 1e9

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self.store.get_file_info(f"{self.path}/{name}").type != fs.FileType.NotFound)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.store.delete_file(f"{self.path}/{name}")

    def remove_all(self) -> None:
        """Remove the folder and all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            self.store.delete_dir(self.path)


@functools.lru_cache(maxsize=64)
def opened(location: str) -> Remote:
    """The folder at an address. Raises ValueError where it is none, OSError where its store cannot be found."""
    parts = urlsplit(location)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"{public(location)} begins with none of {', '.join(f'{name}://' for name in SCHEMES)}")
    if not parts.hostname:
        raise ValueError(f"{public(location)} names no bucket; write {parts.scheme}://BUCKET/FOLDER")
    if parts.scheme == "s3":
        return Remote(_s3(parts), f"{parts.netloc.rpartition('@')[2]}/{unquote(parts.path).strip('/')}".rstrip("/"))
    patience = {"retry_limit_seconds": str(_SILENCE)} if parts.scheme in ("gs", "gcs") else {}
    query = urlencode(patience | dict(parse_qsl(parts.query)))
    store, path = fs.FileSystem.from_uri(parts._replace(query=query).geturl())
    return Remote(store, path.rstrip("/"))


def _s3(parts: SplitResult) -> fs.FileSystem:
    """pyarrow builds it from an address too, but then waits for a silent store as long as the network does."""
    options = dict(parse_qsl(parts.query))
    if unknown := sorted(options.keys() - _S3_OPTIONS):
        raise ValueError(f"s3:// takes {', '.join(sorted(_S3_OPTIONS))} after '?', not {', '.join(unknown)}")
    if "region" not in options:
        here = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if here is None and "endpoint_override" not in options:
            here = fs.resolve_s3_region(parts.hostname)
        options["region"] = here or "us-east-1"  # which stores of one's own do not mind
    return fs.S3FileSystem(
        access_key=unquote(parts.username) if parts.username else None,
        secret_key=unquote(parts.password) if parts.password else None,
        connect_timeout=_CONNECT,
        request_timeout=_SILENCE,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, not three
        **options,
    )


def public(location: str) -> str:
    """An address without its keys and options."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
