"""A preview on a page: the button, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.lab.previews import DEV_SENTENCES, TRAIN_SENTENCES, Cut, Going, Previews
from pmb.screen import ui, view
from pmb.spec import progress_words
from pmb.strategies import STRATEGIES

ROW_PIXELS = 48  # of the button or the progress: nothing below jumps
HELP = f"""\
In seconds and without training: a small classifier on what each cut of the pre-trained model makes of \
{TRAIN_SENTENCES} train sentences, scored on {DEV_SENTENCES} of dev."""


@st.cache_resource(max_entries=1, show_spinner=False)
def open_previews() -> Previews:
    """The previews that this server computes, for all its sessions."""
    return Previews()


def preview_row(model: BaseModel, task: Task, strategy: str, also: Sequence[Cut], missing: bool) -> None:
    """The button Preview where something is `missing`, or how far one is; looks again while it goes on.

    `also`: cuts beside those of the strategies, of which the chosen one comes first.
    """
    going = open_previews().of(model, task)
    active = bool(going and not going.ended)
    if missing and not active and ui.may_write() and st.context.headers.get("User-Agent"):  # a browser, and no test
        open_previews().prepare()
    drawn = going.told() if going else 0
    ui.live(
        lambda: _live(model, task, strategy, also, missing, drawn, active),
        ui.LIVE_SECONDS if active else None,
    )


def _live(
    model: BaseModel, task: Task, strategy: str, also: Sequence[Cut], missing: bool, drawn: int, active: bool
) -> None:
    going = open_previews().of(model, task)
    if active and (going is None or going.ended or going.told() > drawn):
        st.rerun()  # the charts show what has come
    if active or (missing and ui.may_write()):
        with st.container(height=ROW_PIXELS, border=False, horizontal=True, vertical_alignment="center"):
            if going and active:
                _progress(going)
            elif ui.action("Preview", key="preview", icon=":material/visibility:", help=HELP):
                _start(model, task, strategy, also)
    if going and going.note and not active:
        view.note(ui.plain(f"This preview was computed {going.note}."))
    if going and going.error:
        st.warning(ui.plain(f"The preview: {going.error}"), icon=":material/warning:")


def _progress(going: Going) -> None:
    """How far it is, and Stop."""
    words = progress_words(asdict(going.progress)).removeprefix("previewing, ")
    st.progress(ui.share_of(going.progress), text=ui.plain(f"Preview, {words}"))
    if ui.action("Stop", key="stop_preview", icon=":material/stop:"):
        going.stop.set()


def _start(model: BaseModel, task: Task, strategy: str, also: Sequence[Cut]) -> None:
    """Begin, the chosen strategy before the others."""
    names = sorted(STRATEGIES, key=lambda name: name != strategy)
    try:
        open_previews().start(ui.the_store(), settings.from_environment(), model, task, names, also)
    except PmbError as error:
        st.session_state["told_problem"] = str(error)
    st.rerun()
