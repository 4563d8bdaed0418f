"""A view of a page as one HTML file that opens anywhere: no script, no request, no lab needed."""

from __future__ import annotations

import base64
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from pmb import __version__

CHART_PIXELS = 640  # wide, axes and all
MOST_ROWS = 500  # of a table
MISSING = "–"
VEGA_LITE = "6.4"  # the version that altair writes; a test compares
LIBRARIES = ("torch", "transformers", "tokenizers", "altair")
JOINER = "\N{WORD JOINER}"  # parts what Streamlit would read in a user's words; nothing reads it here


@dataclass(frozen=True, slots=True)
class Heading:
    """What the next parts are about, as Markdown."""

    text: str


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
    return _template().render(
        view=view,
        blocks=[_block(part) for part in view.parts],
        answers=[_marked(text) for text in view.answers],
        method=[_marked(text) for text in view.method],
        link=view.link if view.link.startswith(("http://", "https://")) else "",
        measured=measured_on(view.measured()),
        made_by=made_by(),
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
    )


def measured_on(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """On which machine, device and versions how many measurements were made, most first."""
    counts = Counter(
        (
            str(row["machine"] or "an unknown machine"),
            str(row["device"] or "an unknown device"),
            ", ".join(f"{name} {number}" for name, number in sorted((row["versions"] or {}).items())),
        )
        for row in rows
    )
    return [
        f"{count:,} fine-tuning{'s' * (count > 1)} on {device}; {machine}; {versions or 'versions unknown'}."
        for (machine, device, versions), count in counts.most_common()
    ]


def made_by() -> str:
    """The versions of the lab and its libraries where the report is made."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"Poor Man's BERT Lab {__version__}, Python {platform.python_version()}, {libraries}"


def svg(chart: alt.TopLevelMixin) -> str:
    """A chart as SVG, its width that of a report unless it has one of its own; nothing is fetched for it."""
    import vl_convert  # with the first chart: it brings a JavaScript engine

    specification = chart.to_dict(validate=False)
    if "width" not in specification:
        specification |= {"width": CHART_PIXELS, "autosize": {"type": "fit", "contains": "padding"}}
    return vl_convert.vegalite_to_svg(specification, vl_version=VEGA_LITE, allowed_base_urls=[])


def cell(value: Any, form: str = "") -> str:
    """A value of a table as people read it."""
    if value is None or (isinstance(value, float) and value != value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if form and isinstance(value, int | float):
        return form % value
    return f"{value:g}" if isinstance(value, float) else str(value)


def _block(part: Part) -> dict[str, Any]:
    """A part as the template reads it."""
    kind = type(part).__name__.lower()
    if isinstance(part, Number):
        return {"kind": kind, "label": part.label, "value": part.value, "beside": part.beside}
    if isinstance(part, Chart):
        # An image and not a part of the page: names in one drawing cannot meet another's, and no script runs.
        data = base64.b64encode(svg(part.build()).encode()).decode()
        return {"kind": kind, "source": f"data:image/svg+xml;base64,{data}", "alt": part.alt_text}
    if isinstance(part, Table):
        rows = part.rows.head(MOST_ROWS)
        names = [str(name) for name in rows.columns]
        forms = [part.formats.get(name, "") for name in names]
        columns = [[cell(value, form) for value in rows.iloc[:, i].tolist()] for i, form in enumerate(forms)]
        numeric = [pd.api.types.is_numeric_dtype(rows.iloc[:, i]) for i in range(len(names))]
        values, more = list(zip(*columns, strict=True)), len(part.rows) - len(rows)
        return {"kind": kind, "names": names, "rows": values, "numeric": numeric, "more": more}
    return {"kind": kind, "text": _marked(part.text), "small": isinstance(part, Words) and part.small}


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
