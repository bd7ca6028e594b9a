"""Pages: what a report consists of, and its two forms, Markdown and one self-contained HTML file.

All text is escaped by the templates: names of data sets and messages of errors come from users.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from study.reporting.figures import Figure

# a figure, its unit, interval and n; an empty cell may stand in a column of numbers
_NUMBER = re.compile(r"([+−]?\d[\d.,e+-]*( %| points)?( \[[^\]]*\])?(, n = \d+)?)?")
# What Markdown would not show as it stands: emphasis, code, cells, links, tags, entities, a heading and a quotation. An
# underscore inside a word marks nothing, as in the names of settings, nor does a bracket that no address follows.
_MARKUP = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|<(?=[\w/!?])|&(?=#?\w)|^[>#]")
# What XML cannot hold, or would be a command to a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Link:
    """A cell that leads to another file."""

    text: str
    href: str


@dataclass(frozen=True)
class Table:
    """Rows of text under their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Link, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone: they are set to the right."""
        return tuple(
            all(isinstance(row[i], str) and _NUMBER.fullmatch(str(row[i])) for row in self.rows)
            for i in range(len(self.columns))
        )


@dataclass(frozen=True)
class Picture:
    """A figure at two widths, and the file of the wide one where it has one."""

    wide: Figure
    narrow: Figure
    file: str | None = None


@dataclass(frozen=True)
class Photo:
    """A picture made of pixels, and the file that it is kept in beside the report."""

    caption: str
    png: bytes
    file: str

    @property
    def data(self) -> str:
        """It as text, for a page that needs no other file."""
        return base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Section:
    """A heading with its pictures, paragraphs, photos, tables and code, in this order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    code: str = ""
    photos: tuple[Photo, ...] = ()
    panels: tuple[Figure, ...] = ()  # small figures side by side, after the pictures; not in Markdown


@dataclass(frozen=True)
class Page:
    """A report: the answer first."""

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]


def to_markdown(page: Page) -> str:
    """The page as GitHub's Markdown."""
    return _plain().get_template("page.md.jinja").render(page=page).rstrip() + "\n"


def to_html(page: Page) -> str:
    """The page as one HTML file that needs no other file and no network."""
    assets = {name: _asset(file) for name, file in (("style", "page.css"), ("script", "page.js"))}
    return _html().get_template("page.html.jinja").render(page=page, colours=_asset("colours.css"), **assets)


def to_svg(figure: Figure) -> str:
    """A figure as a file of its own."""
    return _html().get_template("curves.svg.jinja").render(figure=figure, colours=_asset("colours.css")) + "\n"


@cache
def _loader() -> PackageLoader:
    return PackageLoader("study.reporting", "templates")


@cache
def _html() -> Environment:
    return Environment(loader=_loader(), autoescape=True, finalize=_unbroken)


@cache
def _plain() -> Environment:
    environment = Environment(loader=_loader(), autoescape=False, finalize=_markdown)
    environment.filters["indented"] = _indented
    return environment


def _asset(file: str) -> Markup:
    """A style sheet or script, as it stands: it is ours."""
    source, _, _ = _loader().get_source(_html(), file)
    return Markup(source)


def _unbroken(value: object) -> object:
    """Text whose numbers keep their unit, and whose p its value, on one line."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[np]) (?=[<=])|(?<=[<=]) (?=\d)", "\u00a0", _CONTROL.sub("\ufffd", value))


def _markdown(value: object) -> object:
    """Text so that Markdown shows it as it is, in a paragraph or in a table's cell."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _MARKUP.sub(r"\\\g<0>", _CONTROL.sub("\ufffd", " ".join(value.split())))


def _indented(code: str) -> Markup:
    """Code as an indented block, which nothing inside can end."""
    return Markup("\n".join("    " + line for line in code.splitlines()))
