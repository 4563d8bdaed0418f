"""The weights of a model that is not on this machine: a button that downloads them, and how far the download is."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.errors import PmbError, WeightsMissing
from pmb.lab.background import Work
from pmb.lab.downloads import Downloads
from pmb.screen import ui
from pmb.spec import progress_words

ROW_PIXELS = 48  # of the progress, as high as a button: nothing below jumps


@st.cache_resource(max_entries=1, show_spinner=False)
def open_downloads() -> Downloads:
    """The downloads of this server, for all its sessions."""
    return Downloads()


def weights_missing(model: BaseModel) -> str:
    """The sentence for a person who needs the model's weights; empty where they are here or come by themselves."""
    try:
        model.check_weights(settings.from_environment().assets)
    except WeightsMissing as error:
        return str(error)
    return ""


def download_row(model: BaseModel, key: str = "model") -> bool:
    """A button, or how far the download is, where the weights are missing and this visitor may run things.

    `key` tells several of them on a page apart. Returns whether it was drawn.
    """
    if not ui.may_write() or not weights_missing(model):
        return False
    download = open_downloads().of(model)
    active = bool(download and not download.ended)
    ui.live(lambda: _live(model, key, active), ui.LIVE_SECONDS if active else None)
    return True


def _live(model: BaseModel, key: str, active: bool) -> None:
    download = open_downloads().of(model)
    if active and (download is None or download.ended):
        st.rerun()  # the page goes on with the weights, or says what went wrong
    if download and active:
        with st.container(height=ROW_PIXELS, border=False, horizontal=True, vertical_alignment="center"):
            _progress(download, key)
    else:
        with st.container(horizontal=True, vertical_alignment="center"):  # two lines on a phone
            _button(model, download, key)
    if download and download.error and not active:
        st.warning(ui.plain(download.error), icon=":material/warning:")


def _progress(download: Work, key: str) -> None:
    """How far it is, and Stop."""
    words = progress_words(asdict(download.progress))
    st.progress(ui.share_of(download.progress), text=ui.plain(f"Model: {words}"))
    if ui.action("Stop", key=f"stop_download_{key}", icon=":material/stop:"):
        download.stop.set()


def _button(model: BaseModel, download: Work | None, key: str) -> None:
    """What begins the download, or goes on with one that broke off."""
    label = "Go on with the download" if download else f"Download the model ({model.download_size})"
    if ui.action(label, key=f"download_{key}", icon=":material/download:"):
        try:
            open_downloads().start(ui.the_store(), settings.from_environment(), model)
        except PmbError as error:
            st.session_state["told_problem"] = str(error)
        st.rerun()
    st.caption("Runs need its weights, which are not on this machine.", width="content")
