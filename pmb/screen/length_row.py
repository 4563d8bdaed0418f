"""What a recipe's limit of tokens cuts off, beside Run: counted in the background where it is not known."""

from __future__ import annotations

import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import Task
from pmb.lab.lengths import Counting, can_count, known_longer
from pmb.screen import ui, view


@st.cache_resource(max_entries=1, show_spinner=False)
def open_counting() -> Counting:
    """What this server counts, for all its sessions."""
    return Counting()


def length_row(model: BaseModel, task: Task, recipe: str) -> None:
    """One line where items are longer than the recipe's limit; draws nothing, and waits for nothing, otherwise."""
    store, found = ui.the_store(), settings.from_environment()
    said = known_longer(store, model, task, find_recipe(recipe, model, task))
    if said:
        view.note(said)
    if said is None and somebody_looks() and can_count(store, found, model, task):
        open_counting().start(store, found, model, task)
        if open_counting().goes_on(model, task):
            ui.live(lambda: _look(model, task), ui.LIVE_SECONDS)


def somebody_looks() -> bool:
    """Whether a browser draws the page, and no test."""
    return bool(st.context.headers.get("User-Agent"))


def _look(model: BaseModel, task: Task) -> None:
    if not open_counting().goes_on(model, task):
        st.rerun()  # the line can be drawn
