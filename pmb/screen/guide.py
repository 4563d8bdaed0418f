"""For who is new here: the words of the field one click away, and a first visit of four steps."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pmb.catalog.glossary import GLOSSARY
from pmb.screen import ui

COOKIE = "pmb_visited"
YEAR_SECONDS = 31_536_000
# Streamlit reads cookies and does not write them. A component's script is the browser's own; it needs two lines.
REMEMBER = f"""
export default function () {{
  document.cookie = "{COOKIE}=1; path=/; max-age={YEAR_SECONDS}; samesite=lax"
}}
"""

_keep_cookie = st.components.v2.component("pmb.visited", js=REMEMBER)


@dataclass(frozen=True, slots=True)
class Step:
    """A place on the screen, and a page where it speaks of one; another text for who may only look."""

    text: str
    page: str = ""
    label: str = ""
    reader: str = ""


STEPS = (
    Step(
        "**The answer** stands under the title of each page, computed from results, at first the shipped ones. The "
        "chart shows what it rests on, the lines below how it was measured.",
    ),
    Step(
        "**The controls** above the chart choose model, task, strategy and drop count. The address bar keeps the "
        "choice: copy it to show somebody the same picture.",
        "pages/strategies_page.py",
        "Strategies, side by side",
    ),
    Step(
        "**Run** on Explore fine-tunes a cut on this machine. The sidebar shows how far it is on every page; the tab "
        "can be closed meanwhile.",
        "pages/runs_page.py",
        "Runs",
        "**Runs** lists every fine-tuning behind the charts, with its circumstances and the command that makes it "
        "again; the sidebar shows what goes on.",
    ),
    Step(
        "**Words** in the sidebar explains the terms. How far it all can be trusted stands on Paper: each claim with "
        "what was published and what was measured here.",
        "pages/paper_page.py",
        "Paper",
    ),
)


def words() -> None:
    """The button for the glossary; `state.drawer` says that it is open, since a page has one drawer at most."""
    st.session_state.drawer = st.button("Words", icon=":material/menu_book:", key="words")
    if st.session_state.drawer:
        _glossary()


@st.dialog("Words", width="medium", position="right", icon=":material/menu_book:")
def _glossary() -> None:
    for title, rows in GLOSSARY.items():
        st.markdown(f"##### {title}\n\n" + "\n".join(f"- **{row.name}**: {row.meaning}" for row in rows))
    if st.button("Show the first visit again", key="tour_again", icon=":material/tour:", on_click=_begin):
        st.rerun()


def tour() -> None:
    """The step at which this visitor is, above the page; nothing for who has left it, in this browser for a year.

    Who comes by a link with a choice in it wants to see that, and is shown no steps.
    """
    state = st.session_state
    if "tour" not in state:
        new = not st.query_params and st.context.cookies.get(COOKIE) != "1"
        state.tour = 0 if new else None
    if state.get("tour_left"):
        with st.sidebar:
            _keep_cookie(key="tour_over")
    if state.tour is None:
        return
    step, last = STEPS[state.tour], state.tour == len(STEPS) - 1
    text = ui.by_right(step.text, step.reader or step.text)
    with st.container(border=True, key="tour_box", horizontal=True, vertical_alignment="center"):
        st.markdown(f":blue-badge[{state.tour + 1} of {len(STEPS)}] {text}", width="stretch")
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            if step.page:
                st.page_link(step.page, label=step.label, icon=":material/arrow_forward:")
            if last:
                st.button("Done", key="tour_leave", type="primary", on_click=_leave)
            else:
                st.button("Next", key="tour_next", type="primary", on_click=_go_on)
                st.button("Leave", key="tour_leave", on_click=_leave, help="It does not come back by itself.")


def _begin() -> None:
    st.session_state.tour = 0


def _go_on() -> None:
    st.session_state.tour += 1


def _leave() -> None:
    st.session_state.tour = None
    st.session_state.tour_left = True
