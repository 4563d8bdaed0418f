"""Taking the model of a run away from its page: made in the background, then offered as a zip."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import streamlit as st

from pmb import settings
from pmb.errors import PmbError, RunFailed
from pmb.insight.card import remove_layers
from pmb.lab import exports
from pmb.lab.exports import Forms
from pmb.lab.store import runs_by_key
from pmb.screen import ui
from pmb.spec import Progress, Report, progress_words

FORMS = {"PyTorch": Forms(), "with ONNX": Forms(onnx=True), "with ONNX and int8": Forms(onnx=True, int8=True)}
MOST_MEGABYTES = 500  # of a zip: while a browser fetches it, all of it is in the server's memory
ABOUT = (
    "A folder with weights, tokenizer, config and model card, in a zip: plain `from_pretrained` and "
    "`pipeline` of transformers open it."
)
NOT_KEPT = (
    "Weights are not kept when a run ends: it is run once more, with the same seed, and its answers are compared. "
    "It goes on in the background, also when this page is left."
)
NO_ONNX = "ONNX files need `pip install -r requirements-onnx.txt` where the dashboard runs."


class Making:
    """An export that goes on in a thread of the server, whoever looks."""

    def __init__(self, make: Callable[[Report], object]) -> None:
        """Begin it."""
        self.progress = Progress("starting")
        self.problem = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make,), name="export", daemon=True)
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Break it off when it next says how far it is, and wait for that."""
        self._stop.set()

    def _run(self, make: Callable[[Report], object]) -> None:
        try:
            make(self._tell)
        except PmbError as error:
            self.problem = str(error)
        except Exception as error:  # the border of the thread: whatever it is, the page must hear of it
            traceback.print_exc()
            self.problem = f"The export broke off with {type(error).__name__}."

    def _tell(self, progress: Progress) -> None:
        if self._stop.is_set():
            raise RunFailed("The export was cancelled.")
        self.progress = progress


@st.cache_resource(max_entries=1, show_spinner=False)
def makings() -> dict[Path, Making]:
    """What is made, or was last made without success, by the zip that it is for."""
    return {}


def take_it(key: str) -> None:
    """A popover that offers the model of this finished run."""
    with st.popover("Take it", icon=":material/archive:"):
        offer(key)


def offer(key: str) -> None:
    """The offer of a finished run's model; in a drawer by itself, where a page drawn anew would close its popover."""
    making = any(one.goes_on for one in makings().values())
    ui.live(lambda: _offer(key), ui.LIVE_SECONDS if making else None)


def command_popover(command: str, dropped: Sequence[int]) -> None:
    """A popover with the command that makes a configuration again."""
    with st.popover("Command", icon=":material/terminal:"):
        command_lines(command, dropped)


def command_lines(command: str, dropped: Sequence[int]) -> None:
    """The command that makes a run again, and the layers that go as the paper's own code takes them."""
    st.caption("The command that makes it again; another `--seed` is another run of it")
    st.code(ui.said(command), language="bash", wrap_lines=True)
    if dropped:
        st.caption("The layers that go, as the paper's code (`run_glue.py`) takes them")
        st.code(remove_layers(dropped), language=None)


def _offer(key: str) -> None:
    found = settings.from_environment()
    run = next(iter(runs_by_key(ui.the_store(), [key])), None)
    if run is None:
        st.markdown("This run is gone from the store.")
        return
    st.caption(ABOUT)
    names = list(FORMS) if exports.onnx_is_here() else list(FORMS)[:1]
    form = st.segmented_control("Files", names, default=names[0], required=True, key="take_form")
    path = exports.zip_path(found, run, FORMS[form])
    making = makings().get(path)
    command = f"python -m pmb export {key[:12]} DIR"
    command += " --onnx" * FORMS[form].onnx + " --int8" * FORMS[form].int8
    if path.is_file():
        if making:
            del makings()[path]
            st.rerun()  # which ends the looks
        _download(path)
    elif making and making.goes_on:
        _progress(making, "take_cancel")
    elif exports.needed_megabytes(run, FORMS[form]) > MOST_MEGABYTES:
        st.markdown(
            f"Its zip would have more than {MOST_MEGABYTES} MB, which is too much for a page: by command it goes."
        )
    elif ui.may_write():
        if not exports.kept_weights(found, key).is_dir():
            st.caption(NOT_KEPT)
        store = ui.the_store()
        make_in_background(
            path,
            "Make it",
            f"take_make_{key[:12]}",
            lambda report: exports.export(store, found, key, path, FORMS[form], report),
        )
    else:
        st.markdown("It has not been made yet.")
    if len(names) < len(FORMS):
        st.caption(NO_ONNX)
    st.caption("Or by command")
    st.code(ui.said(command), language="bash", wrap_lines=True)


def make_in_background(path: Path, label: str, key: str, make: Callable[[Report], object]) -> None:
    """A button that has made what belongs at that path, and how far that is, or what came in its way."""
    making = makings().get(path)
    if making and making.goes_on:
        _progress(making, f"{key}_cancel")
        return
    if making and making.problem:
        st.warning(ui.plain(making.problem), icon=":material/warning:")
    if ui.action(label, key=key, icon=":material/build:"):
        if not (path in makings() and makings()[path].goes_on):  # nobody was quicker
            path.parent.mkdir(parents=True, exist_ok=True)
            makings()[path] = Making(make)
        st.rerun()


def _progress(making: Making, cancel_key: str) -> None:
    progress = making.progress
    st.progress(ui.share_of(progress), text=ui.plain(progress_words(asdict(progress))))
    if ui.action("Cancel", key=cancel_key, icon=":material/stop:"):
        making.stop()


def _download(path: Path) -> None:
    st.download_button(
        f"Download, {exports.size_of(path) / 1e6:.0f} MB",
        data=lambda: path.open("rb"),  # read when it is asked for
        file_name=path.name,
        mime="application/zip",
        on_click="ignore",
        key=f"take_{path.stem}",
        icon=":material/download:",
        type="primary",
    )
