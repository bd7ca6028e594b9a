"""Command lines: argparse with one-line errors, and the types of our options."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")
# A user and a password before a host; paths have made one slash of two.
_SECRETS = re.compile(r"(?<!sqlite)://\S*@|\b(?:s3|gs|gcs|abfss?|https?):/\S*@")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Parser(argparse.ArgumentParser):
    """Prints one line for bad input, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """What is wrong, in one line."""
        refuse(f"{' '.join(message.split())} (see --help)")


def refuse(message: str) -> NoReturn:
    """End the program for bad input: one line on standard error, exit code 2."""
    message = _SECRETS.sub(lambda found: f"{found[0].partition(':')[0]}://***@", message)
    line = "".join(each if each.isprintable() else "?" for each in " ".join(message.split()))  # no terminal's commands
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)


def count(text: str) -> int:
    """A whole number of at least one."""
    return at_least(1)(text)


def at_least(least: int) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is too small: at least {least}")
        return number

    return parse


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie above 0 and at most at 1")
    return number


def amount(text: str) -> float:
    """A number of zero or more."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be zero or more")
    return number


def several(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Values with commas between them, each once."""

    def parse_all(text: str) -> tuple[T, ...]:
        values = tuple(parse(part.strip()) for part in text.split(","))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"{text} names a value twice")
        return values

    return parse_all


def duration(text: str) -> float:
    """A time such as 90s, 10m, 2h or 1d, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def folder_name(text: str) -> str:
    """A name that stays in its place as a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: letters, digits, '.', '_' and '-', at most 100")
    return text
