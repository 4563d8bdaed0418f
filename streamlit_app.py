"""The dashboard's entry: page config, navigation and the sidebar that every page has.

Run: python -m pmb dashboard (with a worker), or streamlit run streamlit_app.py (without one).
"""

from __future__ import annotations

import streamlit as st
from altair.utils import schemapi

from pmb.screen import controls, guide, ui, view
from pmb.screen.sidebar import sidebar

st.set_page_config(page_title="Poor Man's BERT Lab", page_icon=":material/layers:", layout="wide")

# File names and URL paths differ on purpose: with equal ones a cold deep link runs the page alone (docs/design.md).
pages = [
    st.Page("pages/explore_page.py", title="Explore", icon=":material/show_chart:", default=True),
    st.Page("pages/strategies_page.py", title="Strategies", icon=":material/compare_arrows:", url_path="strategies"),
    st.Page("pages/tasks_page.py", title="Tasks", icon=":material/checklist:", url_path="tasks"),
    st.Page("pages/cost_page.py", title="Cost", icon=":material/speed:", url_path="cost"),
    st.Page("pages/layers_page.py", title="Layers", icon=":material/layers:", url_path="layers"),
    st.Page("pages/paper_page.py", title="Paper", icon=":material/fact_check:", url_path="paper"),
    st.Page("pages/compare_page.py", title="Compare", icon=":material/balance:", url_path="compare"),
    st.Page("pages/try_page.py", title="Try it", icon=":material/chat:", url_path="try"),
    st.Page("pages/runs_page.py", title="Runs", icon=":material/list_alt:", url_path="runs"),
]
page = st.navigation(pages, position="top")
controls.carry_over(page.url_path)
view.begin(page.url_path)
# Altair checks each chart against its schema, which takes as long as all else that a click does; tests do it instead.
with schemapi.debug_mode(False):
    if ui.guarded(sidebar):
        guide.tour()
        place = st.container()  # what is damaged is known when the page has read it
        ui.guarded(page.run)
        with place:
            ui.guarded(ui.tell_damaged)
controls.remember()
ui.keep_what_is_loaded()
