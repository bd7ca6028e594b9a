"""Documents: JSON that may be damaged or somebody else's, read within bounds, checked against a dataclass."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from methods.precision import Precision
from methods.space import Value

T = TypeVar("T")
MOST_BYTES = 2**24  # of one document: a trial of 20,000 epochs takes half of it
_DEPTH = 8
_MOST_REAL = 1e150  # real numbers stay below it, so that their squares are finite
WHOLE = 2**63  # whole numbers stay below it, as in a column of a table; seeds are as large as that


def opened(path: Path, within: Path) -> BinaryIO:
    """A plain file, open to be read.

    Raises ValueError for what is none, such as a pipe, which would be waited for, and for a link that leads out of the
    folder `within`; OSError where there is no file, or it cannot be read.
    """
    # Not Path.resolve, which raises RuntimeError for a link to itself before Python 3.13.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
        raise ValueError(f"{path.name} is a link that leads out of its folder")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path.name} is no plain file")
    return file


def read_bytes(path: Path, within: Path, most: int) -> bytes:
    """The content of a plain file of at most so many bytes. Raises as `opened`, and ValueError for more bytes."""
    with opened(path, within) as file:
        # Python makes room for all that it is asked to read, whatever there is.
        content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    return content


def read_json(path: Path, within: Path) -> Any:
    """What a document holds. Raises ValueError where it is none, OSError where it cannot be read."""
    content = read_bytes(path, within, MOST_BYTES)
    try:
        return json.loads(content, parse_constant=_no_number, object_pairs_hook=_named_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def record(kind: type[T], fields: object, where: str = "") -> T:
    """A frozen dataclass from what JSON holds of it. Raises ValueError naming a field that does not fit."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where or kind.__name__.lower()} is no object of named values")
    hints, needed = _fields(typing.cast("Any", kind))
    if unknown := fields.keys() - hints.keys():
        raise ValueError(f"{where}{_short(min(unknown))} is no field of a {kind.__name__.lower()}")
    if missing := needed - fields.keys():
        raise ValueError(f"{where}{min(missing)} is missing")
    return kind(**{name: checked(hints[name], value, f"{where}{name}") for name, value in fields.items()})


def checked(hint: Any, value: Any, where: str) -> Any:
    """A value as its type wants it: lists as tuples, numbers as float where that is asked for. Raises ValueError."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for one in inner:
            try:
                return checked(one, value, where)
            except ValueError:
                continue
    elif origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
        raise ValueError(f"{where} {_short(value)} is none of {', '.join(inner)}")
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(checked(inner[0], each, where) for each in value)
    elif origin is dict and isinstance(value, Mapping):
        return {checked(str, key, where): checked(inner[1], each, where) for key, each in value.items()}
    elif hint is Any:
        return _plain(value, where)
    elif dataclasses.is_dataclass(hint):
        return record(typing.cast("type[Any]", hint), value, f"{where}.")
    elif hint is float and (real := _real(value)) is not None:
        return real
    elif hint is int and type(value) is int and abs(value) < WHOLE:
        return value
    elif hint is str and isinstance(value, str):
        value.encode()  # half of a pair of surrogates is no text
        if "\0" not in value:
            return value
    elif hint in (bool, types.NoneType) and type(value) is hint:
        return value
    raise ValueError(f"{where} is {_short(value)}")


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Values of any kind that lie in few lists and objects."""
    if depth == _DEPTH:
        raise ValueError(f"{where} is nested too deeply")
    if isinstance(value, Mapping):
        return {checked(str, key, where): _plain(each, f"{where}.{key}", depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, where, depth + 1) for each in value]
    return checked(Value | None, value, where)


def _real(value: object) -> float | None:
    """JSON has no NaN or infinity: they are written as text."""
    if isinstance(value, str):
        return float(value) if value in ("nan", "inf", "-inf") else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_REAL:
        return float(value)
    return None


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, and which of them have no default."""
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return typing.get_type_hints(kind, localns={"Precision": Precision, "Value": Value}), frozenset(needed)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | types.NoneType) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names a value twice")
    return found
