"""Mutations: what a disk, an editor or an enemy may do to a file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53, 2**63, -(2**63) - 1, 10**30, 10**400, -7),
    *(0.0, -0.5, 1e-300, 5e-324, 1e308, 0.999, 1.0000001, "nan", "inf", "-inf", "0.5", "7"),
    *("", "x", "<script>alert(1)</script>", "a|b`c`", "\\input{/etc/passwd}", "../../../etc/passwd", "/etc/passwd"),
    *("\x1b[2J", "\ud800", "é😀", "a\nb", "\0", "k" * 5000, "%s%n{0}", "frozen", "test", "failed", "completed"),
    *("2025-01-01", "2025-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59"),
    *([], {}, [[]], [None], [0.1, 0.1], [1, 2, 3], ["a", "a"], ["a", "b"], {"a": 1}, {"a": {"b": {"c": []}}}),
    *([1] * 3000, {str(i): i for i in range(500)}),
)
RAW = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5000,
    b"\xef\xbb\xbf{}",
)


def mutated(random: Random, content: bytes, other: bytes) -> bytes:
    """Other bytes in place of `content`; `other` is what another file holds, to splice with."""
    if random.random() < 0.5 and (document := _document(content)) is not None:
        return other_json(random, content, document)
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        _damage(random, data, other)
    return bytes(data)


def _damage(random: Random, data: bytearray, other: bytes) -> None:
    """One change at random; most near the beginning and the end, where formats keep what they claim."""
    length = len(data)
    near = random.choice((length, 64, 512))
    at = random.randrange(min(length, near) + 1)
    if random.random() < 0.25:
        at = length - at
    match random.randrange(9):
        case 0 | 1 | 2:
            if at < length:
                data[at] ^= 1 << random.randrange(8)
        case 3:
            del data[at:]
        case 4:
            data[at : at + random.choice((1, 4, 8))] = random.choice((b"\0", b"\xff", b"\x7f")) * random.choice(
                (1, 4, 8)
            )
        case 5:
            start = random.randrange(len(other) + 1)
            data[at : at + random.choice((0, 16, 256))] = other[start : start + random.choice((16, 256, 4096))]
        case 6:
            data[at : at + random.choice((1, 8, 64))] = random.randbytes(random.choice((1, 8, 64)))
        case 7:
            del data[at : at + random.choice((1, 8, 64, 1024))]
        case 8:
            data[at:at] = data[at : at + random.choice((8, 64, 1024))] * random.choice((1, 2, 50))


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def other_json(random: Random, content: bytes, document: Any) -> bytes:
    """Another document of the same kind: values, names and order changed, or what no writer of JSON would write."""
    if random.random() < 0.15:
        at = random.randrange(len(content) + 1)
        return content[:at] + random.choice(RAW) + content[at + random.randrange(40) :]
    holder = [document]
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        places = list(_places(holder))
        within, key = random.choice(places)
        match random.randrange(8):
            case 0 if isinstance(within, dict):
                del within[key]
            case 1 if isinstance(within, dict):
                within[random.choice(("extra", "name", "", str(key) + "x", "__class__"))] = deepcopy(
                    random.choice(VALUES)
                )
            case 2:
                source, place = random.choice(places)
                within[key] = deepcopy(source[place])  # another place's value
            case 3 if isinstance(within, list) and within is not holder:
                within.insert(0, deepcopy(within[key]))
            case 4 if isinstance(within[key], int | float) and not isinstance(within[key], bool):
                within[key] = random.choice(
                    (-within[key], within[key] * 10, within[key] + 1, 0.3 if within[key] else 3)
                )
            case 5 if isinstance(within[key], str):
                within[key] += random.choice(("x", "\n", "<b>", "\x07", "|", "\ud800"))
            case _:
                within[key] = deepcopy(random.choice(VALUES))
    text = json.dumps(holder[0], ensure_ascii=random.random() < 0.7)
    if random.random() < 0.05 and text.startswith("{"):
        text = '{"study": 1, ' + text[1:]  # perhaps a name twice
    return text.encode(errors="surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what holds it, and its key there."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            yield value, key
            yield from _places(inner)


def _folder(path: Path, outside: Path) -> None:
    path.mkdir()


def _folder_with_a_file(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "000.json").write_text("{}")


def _link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


def _link_to_a_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def _pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _nothing(path: Path, outside: Path) -> None:
    pass


def _empty(path: Path, outside: Path) -> None:
    path.touch()


def _huge(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**38)  # takes no room on the disk


# What may stand where a file is looked for; `outside` is a sound file of the kind that lies elsewhere.
STAND_INS: tuple[Callable[[Path, Path], None], ...] = (
    *(_folder, _folder_with_a_file, _link, _link, _link_to_itself, _link_to_a_device, _pipe, _nothing, _empty, _huge),
)


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
