"""A view of a page as one HTML file that opens anywhere: no script, no request, no lab needed."""

from __future__ import annotations

import base64
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from pmb import __version__
from pmb.drawing import draw
from pmb.letters import visible

WIDE_PIXELS, NARROW_PIXELS = 640, 340  # of a chart, axes and all; the narrow one for phones
MOST_ROWS = 500  # of a table
MISSING = "–"
LIBRARIES = ("torch", "transformers", "tokenizers", "altair")
JOINER = "\N{WORD JOINER}"  # parts what Streamlit would read in a user's words; nothing reads it here


@dataclass(frozen=True, slots=True)
class Heading:
    """What the next parts are about, as Markdown; a large one has others below it."""

    text: str
    large: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph, as Markdown; a small one beside what it explains."""

    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A large number with what stands below it."""

    label: str
    value: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, built when it is wanted, with what it shows in words."""

    build: Callable[[], alt.TopLevelMixin]
    alt_text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the format (such as "%.1f") of those columns that have one."""

    rows: pd.DataFrame
    formats: Mapping[str, str]


Part = Heading | Words | Number | Chart | Table


@dataclass(slots=True)
class View:
    """What a page has drawn since its script began, and how it is come to again."""

    page: str
    title: str
    parts: list[Part] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)  # as Markdown
    method: list[str] = field(default_factory=list)
    link: str = ""
    commands: tuple[str, ...] = ()
    measured: Callable[[], Sequence[Mapping[str, Any]]] = tuple  # rows with machine, device and versions


def file_name(view: View, now: datetime) -> str:
    """Such as pmb-explore-2026-11-26.html."""
    return f"pmb-{view.page}-{now.date().isoformat()}.html"


def html(view: View, now: datetime | None = None) -> str:
    """The report of a view: what a user named is text in it, and a policy in it forbids scripts and requests."""
    charts = [part.build().to_dict(validate=False) for part in view.parts if isinstance(part, Chart)]
    drawn = iter(draw(charts, (WIDE_PIXELS, NARROW_PIXELS)))
    rendered = _template().render(
        view=view,
        blocks=[_block(part, drawn) for part in view.parts],
        answers=[_marked(text) for text in view.answers],
        method=[_marked(text) for text in view.method],
        link=view.link if view.link.startswith(("http://", "https://")) else "",
        measured=measured_on(view.measured()),
        made_by=made_by(),
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return visible(rendered)


def measured_on(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """On which machines and devices and with which versions the measurements were made, the most frequent first."""
    counts = Counter(
        (
            str(row["device"] or ""),
            str(row["machine"] or ""),
            ", ".join(f"{name} {number}" for name, number in sorted((row["versions"] or {}).items())),
        )
        for row in rows
    )
    return ["; ".join(filter(None, where)) for where, _ in counts.most_common()]


def made_by() -> str:
    """The versions of the lab and its libraries where the report is made."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"Poor Man's BERT Lab {__version__}, Python {platform.python_version()}, {libraries}"


def cell(value: Any, form: str = "") -> str:
    """A value of a table as people read it."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if form and isinstance(value, int | float):
        return form % value
    return f"{value:g}" if isinstance(value, float) else str(value)


def _block(part: Part, drawn: Iterator[list[str]]) -> dict[str, Any]:
    """A part as the template reads it, the next of the drawings where it is a chart."""
    kind = type(part).__name__.lower()
    if isinstance(part, Number):
        return {"kind": kind, "label": part.label, "value": part.value, "beside": part.beside}
    if isinstance(part, Chart):
        # An image and not a part of the page: names in one drawing cannot meet another's, and no script runs.
        wide, *narrow = list(dict.fromkeys(map(_image, next(drawn)))) or [""]
        return {"kind": kind, "wide": wide, "narrow": narrow, "alt": part.alt_text}
    if isinstance(part, Table):
        rows = part.rows.head(MOST_ROWS)
        names = [str(name) for name in rows.columns]
        forms = [part.formats.get(name, "") for name in names]
        columns = [[cell(value, form) for value in rows.iloc[:, i].tolist()] for i, form in enumerate(forms)]
        numeric = [pd.api.types.is_numeric_dtype(rows.iloc[:, i]) for i in range(len(names))]
        values, more = list(zip(*columns, strict=True)), len(part.rows) - len(rows)
        return {"kind": kind, "names": names, "rows": values, "numeric": numeric, "more": more}
    if isinstance(part, Heading):
        return {"kind": kind, "text": _marked(part.text), "level": 2 if part.large else 3}
    return {"kind": kind, "text": _marked(part.text), "small": part.small}


def _image(drawing: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # when the first report is made

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html")


def _marked(text: str) -> Any:
    """A page's Markdown as HTML: emphasis and code alone, no links and no tags."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    reader = MarkdownIt("zero").enable(["emphasis", "escape", "backticks", "newline"])
    return Markup(reader.renderInline(text).replace(JOINER, ""))
