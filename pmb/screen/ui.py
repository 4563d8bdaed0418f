"""Small helpers of the pages: the store, the theme, what waits and goes on, and errors as sentences."""

from __future__ import annotations

import functools
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from pmb import settings
from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.recipes import recipe_label
from pmb.catalog.tasks import TASKS, Task
from pmb.charts.specification import specification
from pmb.charts.style import THEMES, Theme
from pmb.errors import BadInput, NotAllowed, PmbError, WeightsMissing
from pmb.insight.summary import SOURCES
from pmb.insight.undertrained import MEANING, UNDERTRAINED
from pmb.lab import listing, queue, silence
from pmb.lab.plan import Plan
from pmb.lab.store import Row, Store, damaged_rows, open_store
from pmb.letters import visible
from pmb.screen import visitors
from pmb.spec import Progress, Report, progress_words

LIVE_SECONDS = 1.0  # between two looks while something runs or waits
MOST_WAITING = 100  # runs of the queue that a look brings: ten thousand take 0.2 s
MARKDOWN = "\\`*_{}[]()<>#+!|~$:&"
JOINER = "\N{WORD JOINER}"  # not seen; it parts what Streamlit would make a link, an icon or an arrow of
READ = re.compile(
    r"(?<=www)(?=\.)|(?<=http)(?=s?://)|(?<=https)(?=://)|(?=@)|(?<=:)(?=[\w+/-]+:)|(?<=[-<>~])(?=[-=>])", re.IGNORECASE
)
# Two names or more, from the root of a file system or a drive; an address of the Web has two slashes at its beginning.
PATH = re.compile(r"(?<![\w/.\\])(?:/|[A-Za-z]:[/\\])[^\s/\\'\"`<>|;,()]+(?:[/\\][^\s/\\'\"`<>|;,()]+)+[/\\]?")
QUOTED_PATH = re.compile(r"""(['"`])((?:/|[A-Za-z]:[/\\])[^'"`\n]*)\1""")
WHITE = re.compile(r"[\n\r\t]")
OPENING = re.compile(r"\s*([-=]|\d+(?=[.)]))")  # of a list, a rule or a heading
SOURCE_BADGES: dict[str, tuple[str, Literal["gray", "blue"], str]] = {
    "measured": (":material/computer:", "blue", "These runs went on this machine, or on one that shares its store."),
    "shipped": (
        ":material/inventory_2:",
        "gray",
        "Runs on another machine, which 'How this was measured' names.",
    ),
}
ONE_SEED = "Other seeds may give other scores: the interval is over the dev examples alone."
SHOWN_DAMAGED = 3  # rows of the store
# For Streamlit's caches, whose own look at each field of a row takes ten times as long.
BY_REPR: dict[str | type, Callable[[Any], Any]] = {BaseModel: repr, Task: repr, Plan: repr}
P = ParamSpec("P")
R = TypeVar("R")
_on_paper: ContextVar[bool] = ContextVar("on paper", default=False)
IDLE_SECONDS = 5.0  # otherwise: somebody else may have asked for a run


@st.cache_resource(max_entries=1, show_spinner=False)
def open_stores() -> tuple[Store, Store]:
    """The store, and the same for those who may only look; for all sessions of this server."""
    store = open_store(settings.from_environment())
    return store, store if store.refusal else store.reader(visitors.NOT_SIGNED_IN)


def loaded(max_entries: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep what a function loads for all sessions of this server, by its arguments but for those named _so.

    It is shared and not copied, since copies cost time at every click: nobody changes what he is given.
    """
    return st.cache_resource(max_entries=max_entries, show_spinner=False, hash_funcs=BY_REPR)


def the_store() -> Store:
    """The store on behalf of this session's visitor: where he may not write, the database itself refuses to."""
    store, reader = open_stores()
    who = visitors.visitor()
    return replace(reader if who.refusal else store, user=who.name, refusal=store.refusal or who.refusal)


def may_write() -> bool:
    """Whether this session's visitor may run and change things."""
    return not the_store().refusal


def action(label: str, **options: Any) -> bool:
    """A button for what writes: who may only look has none, and so a request forged for it is heard by nobody."""
    return may_write() and st.button(label, **options)


def by_right(runner: str, reader: str = "") -> str:
    """The sentence that is true for this visitor: what he may do, or what there is for who may only look."""
    return runner if may_write() else reader


def guarded(show: Callable[[], object]) -> bool:
    """Draw something; a PmbError becomes one message with its next step instead of a traceback.

    A wait that takes long is told by a toast.
    """
    silence.notice.set(_toasts())
    try:
        show()
    except NotAllowed as error:
        st.info(said(error), icon=":material/visibility:")
        return False
    except WeightsMissing as error:
        from pmb.screen.download_row import download_row  # which draws by this module

        st.info(plain(str(error)), icon=":material/download:")
        download_row(MODELS[error.model], "needed")
        return False
    except BadInput as error:
        st.warning("That cannot be used. Choose something else above.", icon=":material/warning:")
        st.text(said(error))
        return False
    except PmbError as error:
        st.error("The lab cannot go on.", icon=":material/error:")
        st.text(said(error))
        st.caption("`python -m pmb doctor` in a terminal looks at every part. Then reload this page.")
        return False
    return True


def without_paths(text: str) -> str:
    """Where others reach the lab, a text with names in the place of this machine's paths; elsewhere as it is."""
    if os.environ.get("PMB_CONFINED") != "1":
        return text
    text = text.replace("sqlite:///", "")
    home = str(settings.from_environment().home)
    for folder, name in ((home, "PMB_HOME"), (str(settings.REPOSITORY), ""), (str(Path.home()), "")):
        text = re.sub(re.escape(folder) + r"(?=[/\\]|[^\w/\\-]|$)", name, text)
    text = text.replace("PMB_HOME PMB_HOME", "PMB_HOME")
    text = QUOTED_PATH.sub(lambda found: found[1] + _last_name(found[2]) + found[1], text)
    return PATH.sub(lambda found: _last_name(found[0]), text)


def _last_name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def said(error: object) -> str:
    """A sentence of the lab, as text for this page."""
    return without_paths(str(error))


def _toasts() -> Callable[[str], None]:
    """Tells this session something from another thread, while its own waits."""
    session = get_script_run_ctx()

    def say(sentence: str) -> None:
        add_script_run_ctx(threading.current_thread(), session)
        st.toast(plain(sentence), icon=":material/hourglass_top:", duration="long")

    return say


def tell_damaged() -> None:
    """Name the rows of the store that were left out, where some were."""
    found = damaged_rows(the_store())
    if not found:
        return
    named = "; ".join(found[:SHOWN_DAMAGED])
    more = f" and {len(found) - SHOWN_DAMAGED:,} more" if len(found) > SHOWN_DAMAGED else ""
    st.warning(
        f"Left out, since the store is damaged there: {plain(named)}{more}. `python -m pmb doctor` looks at every row.",
        icon=":material/healing:",
    )


def plain(text: str) -> str:
    """A user's text as it is: nothing in it is read as Markdown or a link, and control characters are seen."""
    seen = WHITE.sub(" ", visible(without_paths(text)))
    parted = OPENING.sub(lambda found: found[0] + JOINER, seen, count=1) if OPENING.match(seen) else seen
    return "".join(f"\\{c}" if c in MARKDOWN else c for c in READ.sub(JOINER, parted))


def live(show: Callable[[], object], seconds: float | None) -> None:
    """Draw a part that looks again every so many seconds, or with None only when something in it is pressed.

    A PmbError in it becomes a message there.
    """
    drawn = False

    def again() -> None:
        nonlocal drawn
        if drawn and seconds:  # by its timer, and not with the page, which has looked
            look()
        drawn = True
        show()

    st.fragment(lambda: guarded(again), run_every=seconds)()


def theme() -> Theme:
    """Colours for charts on the page's present background."""
    return THEMES["light" if _on_paper.get() or st.context.theme.type != "dark" else "dark"]


def on_paper(build: Callable[[], alt.TopLevelMixin]) -> alt.TopLevelMixin:
    """Build a chart in light colours, whatever the page's background is, and also when no page is drawn."""
    before = _on_paper.set(True)
    try:
        return build()
    finally:
        _on_paper.reset(before)


def draw(chart: alt.TopLevelMixin, name: str, words: str, width: Literal["stretch", "content"] = "stretch") -> None:
    """A chart as it is, with what it is called and what it shows for those who do not see it."""
    st.vega_lite_chart(specification(chart, words), theme=None, alt=name, width=width)


def draw_once(
    build: Callable[[], alt.TopLevelMixin],
    name: str,
    words: Callable[[], str],
    *of: Hashable,
    width: Literal["stretch", "content"] = "stretch",
) -> str:
    """A chart that is built when what it shows is new: building takes longer than all else that a click does.

    `of`: all that the chart and its words depend on, but for its name and the theme. Returns the words.
    """
    vega_lite, said = _drawn((name, *of, theme().background), build, words)
    st.vega_lite_chart(vega_lite, theme=None, alt=name, width=width)
    return said


@loaded(max_entries=256)
def _drawn(
    of: tuple[Hashable, ...], _build: Callable[[], alt.TopLevelMixin], _words: Callable[[], str]
) -> tuple[dict[str, Any], str]:
    words = _words()
    return specification(_build(), words), words


@functools.cache
def keep_what_is_loaded() -> None:
    """Leave what is loaded by now out of Python's garbage collections, once in this server.

    They looked through all libraries in one of twelve clicks, which then took 0.13 s longer.
    """
    gc.collect()
    gc.freeze()


def look() -> None:
    """See what waits and goes on; once each time that a page, or a part that looks again, is drawn."""
    queue.release_lost(the_store())  # where no worker is left to do it
    st.session_state.live = listing.live_runs(the_store(), MOST_WAITING)
    st.session_state.live_count = listing.count_live(the_store())


def live_runs() -> list[Row]:
    """Runs that go on, then the first MOST_WAITING of those that wait, in the order of the queue, at the last look."""
    return list(st.session_state.live)


def count_live() -> tuple[int, int]:
    """How many runs went on, and how many waited, at the last look."""
    running, waiting = st.session_state.live_count
    return running, waiting


def title_of(row: Row) -> str:
    """What a run is about, in a line; the model's and the task's name may be a user's."""
    model = MODELS[row["model"]].title if row["model"] in MODELS else row["model"]
    task = TASKS[row["task"]].title if row["task"] in TASKS else row["task"]
    name = f"{model}, {task}, {recipe_label(row['recipe'])}"
    return without_paths(f"{name}: kept {layers(row['kept_layers'])}, seed {row['seed']}")


def share_done(row: Row) -> float:
    """How much of a run's present phase is done, 0 to 1."""
    return share_of(Progress(**row["progress"])) if row["progress"] else 0.0


def share_of(progress: Progress) -> float:
    """How much of its steps is done, 0 to 1."""
    return min(1.0, progress.step / progress.steps) if progress.steps else 0.0


@contextmanager
def told(text: str) -> Iterator[Report]:
    """A bar for work that the page waits for, drawn when what this gives is first called with how far the work is."""
    bar = st.empty()

    def tell(progress: Progress) -> None:
        bar.progress(share_of(progress), f"{text}, {plain(progress_words(asdict(progress)))}")

    yield tell
    bar.empty()


def progress_line(row: Row) -> str:
    """Phase, step, loss and times of a run that waits or goes on."""
    progress = row["progress"]
    if row["state"] == "queued" or not progress:
        return "waiting"
    loss, seconds_left = progress["loss"], progress["seconds_left"]
    return progress_words(
        progress,
        "" if loss is None else f"loss {loss:.2f}",
        f"{clock(time.time() - row['started_at'])} elapsed",
        f"{clock(seconds_left)} left" if seconds_left is not None and progress["phase"] == "training" else "",
    )


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, 1:05."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def badges(sources: Iterable[str], seeds: int | None = None, undertrained: str = "") -> None:
    """Where the numbers of a page come from, that a score is of a single seed, and why its task is undertrained."""
    with st.container(horizontal=True, gap="xsmall"):
        for source in sorted(set(sources)):
            icon, colour, meaning = SOURCE_BADGES[source]
            st.badge(SOURCES[source], icon=icon, color=colour, help=meaning)
        if seeds == 1:
            st.badge(
                "1 seed",
                icon=":material/looks_one:",
                color="orange",
                help=ONE_SEED + by_right(" Add seeds on Explore."),
            )
        if undertrained:
            undertrained_badge(undertrained)


def undertrained_badge(reason: str) -> None:
    """That a task is undertrained, with the reason on hover."""
    help = f"{reason[:1].upper()}{reason[1:]}. {MEANING}"
    st.badge(UNDERTRAINED, icon=":material/warning:", color="orange", help=help)


def layers(indices: tuple[int, ...] | list[int]) -> str:
    """Layer indices as people read them."""
    return " ".join(map(str, indices)) or "none"


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of a table as dicts."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
