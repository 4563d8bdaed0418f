"""What a page shows, drawn and kept at once, so that one button makes a report of it.

A page begins with `question`; what is drawn by the functions here is in the report, in the same order, and what is
drawn otherwise (controls, buttons, hints) is not. Nothing is rendered before the button is pressed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pmb import report
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import Task
from pmb.insight.undertrained import MEANING, UNDERTRAINED
from pmb.lab.listing import Filter, found_runs
from pmb.lab.store import Row
from pmb.report import Chart, Heading, Number, Part, Table, View, Words
from pmb.screen import ui

WITHOUT_REPORT = ("runs",)  # it has files of all runs
# Streamlit's browser side draws in one go what has come to it within ten milliseconds; nothing would be seen while it
# draws a whole page.
TITLE_SECONDS = 0.03
BESIDE_NUMBERS = re.compile(r" (?=[%±])|(?<=±) ")
HELP = (
    "What this page shows as one HTML file, for people without the lab: it opens without network. For people with it, "
    "the address bar holds the whole view."
)


def question(page: str, text: str) -> DeltaGenerator:
    """The title of a page, which a new visitor's browser draws first; returns the place for the button beside it."""
    before: View | None = st.session_state.get("report_view")
    new = "report_view" not in st.session_state
    st.session_state["report_view"] = view = None if page in WITHOUT_REPORT else View(page, text)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(text, anchor=False, width="content")
        place = st.container(width="content")
    if view and (before is None or before.page != page):  # else the button of the last run stays until the next one
        place = place.empty()
        _report_button(place, view, "report_waits", disabled=True)
    if new:
        time.sleep(TITLE_SECONDS)
    return place


def offer_report(place: DeltaGenerator) -> None:
    """The button that makes the report, once the page is drawn: before that there would be nothing in it."""
    if view := _view():
        _report_button(place, view, "report", disabled=False)


def _report_button(place: DeltaGenerator, view: View, key: str, disabled: bool) -> None:
    place.download_button(
        "Report",
        data=lambda: report.html(view),
        file_name=report.file_name(view, datetime.now(UTC)),
        mime="text/html",
        on_click="ignore",
        key=key,
        icon=":material/description:",
        type="tertiary",
        help=HELP,
        disabled=disabled,
    )


def answer(markdown: str, hint: str = "") -> None:
    """The sentence that answers the question, and after it what to press, which is not in the report."""
    st.markdown(f"##### {unparted(markdown)}{hint}")
    if view := _view():
        view.answers.append(markdown)


def heading(markdown: str, undertrained: str = "") -> None:
    """What stands over a chart, with a mark and its reason where the chart's task is undertrained."""
    mark = f" :orange-badge[:material/warning: {UNDERTRAINED}]" if undertrained else ""
    help = f"{undertrained[:1].upper()}{undertrained[1:]}. {MEANING}" if undertrained else None
    st.markdown(f"**{markdown}**{mark}", help=help)
    keep(Heading(f"{markdown} ({UNDERTRAINED})" if undertrained else markdown))


def badges(sources: Iterable[str], seeds: int | None = None, undertrained: str = "") -> None:
    """Where the numbers of a page come from, and that its task is undertrained, with the reason; see `ui.badges`."""
    ui.badges(sources, seeds, undertrained)
    if undertrained:
        keep(Words(f"{UNDERTRAINED.capitalize()}: {undertrained}. {MEANING}", small=True))


def section(markdown: str) -> None:
    """What stands over a part of the page."""
    st.subheader(markdown, anchor=False)
    keep(Heading(markdown, large=True))


def words(markdown: str) -> None:
    """A sentence of the page."""
    st.markdown(unparted(markdown))
    keep(Words(markdown))


def note(markdown: str, hint: str = "") -> None:
    """A small sentence that explains what stands beside it, and after it one on the page's controls."""
    st.caption(markdown + hint)
    keep(Words(markdown, small=True))


def unparted(text: str) -> str:
    """The same with numbers that no line end parts from their units and from their intervals."""
    return BESIDE_NUMBERS.sub("\N{NO-BREAK SPACE}", text)


def number(label: str, value: str, beside: str | None = None) -> None:
    """One large number; what stands below it compares, and is neither good nor bad by colour."""
    st.metric(label, value, border=True, delta=beside, delta_color="off", delta_arrow="off")
    keep(Number(label, value, beside or ""))


def draw(
    build: Callable[[], alt.TopLevelMixin], name: str, words: str, width: Literal["stretch", "content"] = "stretch"
) -> None:
    """A chart; `build` is called again for the report, whose colours are light."""
    ui.draw(build(), name, words, width)
    keep(Chart(lambda: ui.on_paper(build), words))


def draw_once(
    build: Callable[[], alt.TopLevelMixin],
    name: str,
    words: Callable[[], str],
    *of: Hashable,
    width: Literal["stretch", "content"] = "stretch",
) -> None:
    """A chart that is built when what it shows is new, see `ui.draw_once`; and again for the report."""
    said = ui.draw_once(build, name, words, *of, width=width)
    keep(Chart(lambda: ui.on_paper(build), said))


def table(shown: pd.DataFrame, alt_text: str, config: Mapping[str, Any] | None = None, **options: Any) -> None:
    """A table as it is, with the configuration of its columns."""
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", alt=alt_text, **options)
    keep_table(shown, config)


def keep_table(shown: pd.DataFrame, config: Mapping[str, Any] | None = None) -> None:
    """Keep a table that is drawn otherwise, with the number formats of its columns' configuration."""
    formats = {name: one["type_config"].get("format") for name, one in (config or {}).items()}
    keep(Table(shown, {name: form for name, form in formats.items() if form}))


def live(show: Callable[[], object], seconds: float | None) -> None:
    """A part that is drawn again alone, see `ui.live`; the report has what it drew last, in its place."""
    whole = _view()
    place = len(whole.parts) if whole else 0
    kept = 0

    def again() -> None:
        nonlocal kept
        drawn = View(whole.page, whole.title) if whole else None
        st.session_state["report_view"] = drawn
        try:
            show()
        finally:
            st.session_state["report_view"] = whole
        if whole and drawn:  # at once: a report may be made meanwhile
            whole.parts[place : place + kept] = drawn.parts
            kept = len(drawn.parts)
            whole.link = whole.link and _address()  # a control within it writes into the address too

    ui.live(again, seconds)


def method(markdown: str, *more: str) -> None:
    """How the numbers came about, folded; and small sentences below it."""
    with st.expander("How this was measured", icon=":material/info:"):
        st.markdown(markdown)
        for text in more:
            st.caption(text)
    if view := _view():
        view.method += [markdown, *more]


def made(commands: Sequence[str], measured: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
    """How the view is come to again, at the page's end: its address is taken now, since controls write into it.

    `measured`: gives the rows behind the view, with machine, device and versions; called when a report is made.
    """
    if view := _view():
        view.link = _address()
        view.commands, view.measured = tuple(map(ui.said, commands)), measured


def _address() -> str:
    """The view's address as it is now."""
    query = {name: st.query_params.get_all(name) for name in st.query_params}
    return urlunsplit(urlsplit(st.context.url or "")._replace(query=urlencode(query, doseq=True)))


def runs_of(model: BaseModel, tasks: Sequence[Task], recipe: str) -> Callable[[], list[Row]]:
    """The finished runs behind a view, for `made`: those with the recipe's values, whatever its name was then."""
    store = ui.the_store()
    recipes = {task.id: find_recipe(recipe, model, task) for task in tasks}

    def measured() -> list[Row]:
        rows = found_runs(store, Filter(("done",), (model.id,), tuple(recipes))) if recipes else []
        return [row for row in rows if recipes[row["task"]].is_stored_as(row["recipe_values"])]

    return measured


def keep(part: Part) -> None:
    """Keep something for the report."""
    if view := _view():
        view.parts.append(part)


def _view() -> View | None:
    view: View | None = st.session_state.get("report_view")
    return view
