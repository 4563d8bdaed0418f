"""The dashboard's entry: page config, navigation and the sidebar that every page has.

Run: python -m pmb dashboard (with a worker), or streamlit run streamlit_app.py (without one).
"""

from __future__ import annotations

import streamlit as st
from altair.utils import schemapi

from pmb.screen import controls, guide, ui, view
from pmb.screen.sidebar import sidebar
from pmb.settings import REPOSITORY

# An icon of Streamlit's, by its name, every browser would fetch from a server of Google's.
st.set_page_config(page_title="Poor Man's BERT Lab", page_icon=REPOSITORY / "pmb" / "screen" / "tab.svg", layout="wide")

DEFAULT = "explore"
PAGES = {
    DEFAULT: ("Explore", ":material/show_chart:", "How many layers can I drop?"),
    "strategies": ("Strategies", ":material/compare_arrows:", "Which layers should go?"),
    "tasks": ("Tasks", ":material/checklist:", "Which tasks can bear it?"),
    "cost": ("Cost", ":material/speed:", "What do I save?"),
    "layers": ("Layers", ":material/layers:", "What do the layers do?"),
    "paper": ("Paper", ":material/fact_check:", "Does it hold?"),
    "compare": ("Compare", ":material/balance:", "What is the difference between these two?"),
    "try": ("Try it", ":material/chat:", "What do they answer?"),
    "runs": ("Runs", ":material/list_alt:", "What is running, and what has run?"),
}
# File names and URL paths differ on purpose: with equal ones a cold deep link runs the page alone (docs/design.md).
pages = [
    st.Page(f"pages/{name}_page.py", title=title, icon=icon, url_path=None if name == DEFAULT else name)
    for name, (title, icon, _) in PAGES.items()
]
page = st.navigation(pages, position="top")
controls.carry_over(page.url_path)
above = st.container()
name = page.url_path or DEFAULT
beside_question = view.question(name, PAGES[name][2])  # before all else: it is what is seen first
# Altair checks each chart against its schema, which takes as long as all else that a click does; tests do it instead.
with schemapi.debug_mode(False):
    if ui.guarded(sidebar):
        with above:
            guide.tour()
        if ui.guarded(page.run):
            view.offer_report(beside_question)
        with above:  # what is damaged is known when the page has read it
            ui.guarded(ui.tell_damaged)
            controls.tell_recipe()
controls.remember()
ui.keep_what_is_loaded()
