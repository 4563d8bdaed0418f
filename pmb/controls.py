"""The controls that pages share: the same key, words and place in the address on every page.

The options are the names of the command line and of the address: `format_func` would put its own words into the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from pmb import settings, ui
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import Task
from pmb.lab.sources import find_model, find_task, known_models, known_tasks
from pmb.strategies import STRATEGIES

DEFAULT_RECIPE = "standard"
PIXELS = 170  # two fit beside each other on a phone
MOST_BUTTONS = 7  # so many drop counts fit beside each other on a phone
DROP_HELP = (
    "How many layers go; 0 is the whole model. The alternates reach half the layers; symmetric keeps equal ends, so "
    "that not every count is possible."
)


SHARED = ("model", "task", "strategy", "recipe", "view")


def carry_over(page: str) -> None:
    """Take what was chosen on one page to the next, before that one draws; what its address says wins.

    Streamlit gives each page widgets of its own, with their defaults. `remember` is to be called after the page.
    """
    state = st.session_state
    if state.setdefault("page", page) != page:
        state.page = page
        for key, value in state.get("chosen", {}).items():
            if key not in st.query_params:
                state[key] = value


def remember() -> None:
    """Keep what is chosen now, for `carry_over`."""
    state = st.session_state
    state.chosen = state.get("chosen", {}) | {key: state[key] for key in SHARED if key in state}


def choose_model() -> BaseModel:
    """A model of the catalog, one looked into before, or what is typed; raises BadInput."""
    store = ui.the_store()
    name = st.selectbox(
        "Model",
        known_models(store),
        key="model",
        bind="query-params",
        width=PIXELS,
        accept_new_options=True,
        help="Of the catalog; or type a Hub id (owner/model) or the path of a folder with a model.",
    )
    return find_model(store, settings.from_environment(), name)


def choose_task() -> Task:
    """A task of the catalog, a table used before, or what is typed; raises BadInput."""
    store = ui.the_store()
    if brought := st.session_state.pop("brought_task", ""):  # by the dialog, which is drawn after this box
        st.session_state["task"] = brought
    name = st.selectbox(
        "Task",
        known_tasks(store),
        key="task",
        bind="query-params",
        width=PIXELS,
        accept_new_options=True,
        help="GLUE's tasks come from PMB_GLUE_DIR, else from the Hub; a table of your own is csv:PATH.",
    )
    return find_task(store, settings.from_environment(), name)


def choose_strategy() -> str:
    """One of the strategies."""
    return st.selectbox(
        "Strategy",
        list(STRATEGIES),
        key="strategy",
        bind="query-params",
        width=PIXELS,
        help="The rule that says which layers go; layers are counted from the bottom.",
    )


def choose_drop(allowed: Sequence[int], first: int, key: str = "drop") -> int:
    """The drop count: a row of buttons where they fit a phone, else a list; the last one where `first` is none."""
    first = first if first in allowed else allowed[-1]
    how: dict[str, Any] = {"key": key, "bind": "query-params", "help": DROP_HELP}
    if len(allowed) <= MOST_BUTTONS:
        return st.segmented_control("Drop count", allowed, default=first, required=True, **how)
    return st.selectbox("Drop count", allowed, index=allowed.index(first), width=PIXELS, **how)


def choose_recipe() -> str:
    """One of the recipes."""
    return st.selectbox(
        "Recipe",
        list(RECIPES),
        index=list(RECIPES).index(DEFAULT_RECIPE),
        key="recipe",
        bind="query-params",
        width=PIXELS,
        help="How the cut model is fine-tuned; the same for every depth.",
    )


def wants_table() -> bool:
    """Whether what a page draws is to be shown as a table."""
    view = st.segmented_control(
        "View",
        ["Chart", "Table"],
        default="Chart",
        required=True,
        key="view",
        label_visibility="collapsed",
        bind="query-params",
    )
    return view == "Table"
