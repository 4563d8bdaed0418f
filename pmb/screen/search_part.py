"""Explore's search for the smallest model: its goal and budget, what it knows and measures, Stop and Go on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight import estimate
from pmb.insight.search import BEYOND, CLOSE, FAILED, FORETOLD, OPEN, SPENT, SURE, WITHIN
from pmb.lab import searches
from pmb.lab.answer import search_command
from pmb.lab.plan import plan_whole, spec_of
from pmb.lab.previews import missing_previews
from pmb.lab.queue import list_workers
from pmb.lab.searches import Aim, Limit
from pmb.lab.store import Row, runs_by_key
from pmb.report import Words
from pmb.screen import controls, offers, ui, view
from pmb.screen.preview_row import open_previews
from pmb.strategies import STRATEGIES
from pmb.wording import counted

AIMS = {
    "within 1 point": Aim(within=1.0),
    "within 2 points": Aim(within=2.0),
    "within 3 points": Aim(within=3.0),
    "2 times as fast": Aim(speedup=2.0),
    "3 times as fast": Aim(speedup=3.0),
}
LIMITS = {
    "12 runs": Limit(runs=12),
    "24 runs": Limit(runs=24),
    "60 runs": Limit(runs=60),
    "10 minutes": Limit(minutes=10),
    "60 minutes": Limit(minutes=60),
}
SHOWN = 3  # searches
PIXELS = 154
NEXT = {  # by verdict
    SPENT: " With a greater budget, Search goes on from here.",
    FAILED: " Retry the run on Runs; when it is done, Search goes on.",
}
HOW = """\
It measures next what promises most: layers saved, times the chance that the cut keeps to the goal. What was measured \
before costs nothing, and what a preview foretells to be clearly beyond is left out. **Sure** rests on 95 % intervals \
over sentences and seeds, widened to the number of times that it looks."""
ORDER = {WITHIN: 1, CLOSE: 2, OPEN: 3, BEYOND: 4, FORETOLD: 5}  # of the table, by how a cut stands


def search_part(model: BaseModel, task: Task, recipe: str) -> list[str]:
    """The expander; nothing for who may only look where there was no search. Returns the commands that search so."""
    rows = searches.searches_of(ui.the_store(), model, task, recipe)[:SHOWN]
    if not rows and not ui.may_write():
        return []
    goes_on = any(row["state"] == searches.OPEN for row in rows)
    # Whoever has watched one sees how it ended or was stopped: the expander stays open.
    seen: set[str] = st.session_state.setdefault("searches_seen", set())
    seen.update(row["key"] for row in rows if row["state"] == searches.OPEN)
    expanded = any(row["key"] in seen for row in rows)
    with st.expander("Find the smallest model", icon=":material/search:", expanded=expanded):
        if ui.may_write():
            _controls(model, task, recipe)
        watched = [row["key"] for row in rows]
        view.live(lambda: _list(watched, goes_on), ui.LIVE_SECONDS if goes_on else None)
    return [search_command(row["model"], row["task"], row["recipe"], row["goal"], row["budget"]) for row in rows]


def _controls(model: BaseModel, task: Task, recipe: str) -> None:
    """Goal, budget and the button."""
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="bottom"):
        aim = st.selectbox("Goal", list(AIMS), key="search_goal", width=PIXELS)
        limit = st.selectbox("Budget", list(LIMITS), key="search_budget", width=PIXELS)
        pressed = ui.action("Search", key="search", icon=":material/search:")
    st.caption(f"{_about(model, task, recipe, LIMITS[limit])}{HOW}")
    if pressed:
        with place.container():
            _start(model, task, recipe, AIMS[aim], LIMITS[limit])


def _about(model: BaseModel, task: Task, recipe: str, limit: Limit) -> str:
    """How long so many runs take here at most, where that is known."""
    whole = plan_whole(model)
    seconds = offers.run_seconds(spec_of(whole, task, recipe, 0))
    if limit.runs is None or seconds is None:
        return ""
    return f"At most about {estimate.duration(limit.runs * seconds)} here, one run after the other. "


def _start(model: BaseModel, task: Task, recipe: str, aim: Aim, limit: Limit) -> None:
    """Start a search, or go on with the same one with this budget; what previews are missing are computed beside it."""
    store, found = ui.the_store(), settings.from_environment()
    try:
        with ui.told("Looking up what the search needs") as report:
            searches.start(store, found, model, task, recipe, aim, limit, report=report)
        if missing_previews(store, model, task, STRATEGIES):
            open_previews().start(store, found, model, task, STRATEGIES)
    except PmbError as error:
        st.session_state["told_problem"] = str(error)
    st.rerun()


def _list(watched: Sequence[str], went_on: bool) -> None:
    """Each search; the page is drawn again when the last of those that went on has ended."""
    rows = [row for row in (searches.get_search(ui.the_store(), key) for key in watched) if row is not None]
    if went_on and not any(row["state"] == searches.OPEN for row in rows):
        st.rerun()
    for row in rows:
        _one(row)


def _one(row: Row) -> None:
    """What one search knows and does."""
    found = row["found"]
    with st.container(border=True):
        view.heading(f"{_goal(row)}: {_state(row)}")
        if found:
            view.words(ui.plain(found["sentence"]))
        if row["error"]:
            view.note(ui.plain(row["error"]))
        _cost(row)
        with st.container(horizontal=True):
            _buttons(row)
        if found and any(one["seeds"] for one in found["standings"]):
            _standings(found, row["num_hidden_layers"])


def _cost(row: Row) -> None:
    """What it has cost, and what it does now or what would let it go on."""
    spent, found = _spent(row), row["found"]
    if row["state"] == searches.OPEN:
        st.caption(f"{spent}; {_now(row)}.")
    else:
        hint = NEXT.get(found["verdict"], "") if found and row["state"] == searches.DONE else ""
        st.caption(f"{spent}.{ui.by_right(hint)}")
    view.keep(Words(f"{spent}.", small=True))


def _buttons(row: Row) -> None:
    """What can be done; on the left, since the table's own buttons come up on the right."""
    found, short = row["found"], row["key"][:12]
    if row["state"] == searches.OPEN and ui.action("Stop", key=f"stop_{short}", icon=":material/stop:"):
        searches.stop(ui.the_store(), row["key"])
        st.rerun()
    if row["state"] == searches.STOPPED and ui.action("Go on", key=f"go_on_{short}", icon=":material/play_arrow:"):
        searches.go_on(ui.the_store(), row["key"])
        st.rerun()
    if found and found["answer"] and len(found["answer"]) < row["num_hidden_layers"]:
        _show(row["key"], found["answer"])


def _show(key: str, cut: Sequence[int]) -> None:
    """A button that chooses a cut on this page."""
    if st.button("Show it", key=f"show_{key[:12]}", icon=":material/layers:", help="Chooses these layers above."):
        controls.bring_cut(cut)
        st.rerun()


def _now(row: Row) -> str:
    """What an open search does."""
    live = runs_by_key(ui.the_store(), row["waits_for"])
    if live:
        return f"measuring {searches.measuring(row, live)}"
    if not list_workers(ui.the_store()):
        return "no worker is alive to choose what to measure" + ui.by_right("; start one: `python -m pmb worker`")
    return "choosing what to measure"


def _state(row: Row) -> str:
    """Its verdict once it is done; what it found before a greater budget is none."""
    if row["state"] == searches.OPEN:
        return "goes on" if row["found"] else "begins"
    return str(row["found"]["verdict"]) if row["state"] == searches.DONE and row["found"] else "stopped"


def _goal(row: Row) -> str:
    goal = row["goal"]
    if goal.get("within") is not None:
        return f"Smallest within {counted(goal['within'], 'point')}"
    most = f"at most {goal['most_layers']} of {row['num_hidden_layers']} layers"
    if goal.get("speedup") is not None:
        return f"Best that is {goal['speedup']:g} times as fast ({most})"
    return f"Best of at most {goal['megabytes']:g} MB ({most})"


def _spent(row: Row) -> str:
    """How much of its budget it has used; a run of a third of the epochs is a third of a run of it."""
    found = row["found"] or {}
    done, spent = found.get("runs", 0), found.get("spent")
    (name, most), *_ = row["budget"].items()
    runs, used = f"{counted(done, 'run')} done for it", f"{spent or 0:.1f}".removesuffix(".0")
    if name == "minutes":
        return f"{runs}, in {f'{used} of ' if spent else ''}at most {most:g} minutes"
    return f"{runs}, {f'counted by epochs as {used} ' if spent and spent != done else ''}of at most {most:g}"


def _standings(found: Row, total: int) -> None:
    """How every cut stands: the answer or what seems so, then what was measured, the nearest to an answer first."""

    def place(one: Row) -> tuple[bool, bool, int]:
        return one["cut"] != found["answer"], not one["seeds"], ORDER.get(one["state"], len(ORDER) + 1)

    standings = sorted(found["standings"], key=place)
    shown = pd.DataFrame(
        {
            "layers kept": [ui.layers(one["cut"]) for one in standings],
            "stands": [_stands(one, found) for one in standings],
            "loss, points": [one["loss"] for one in standings],
            "loss from": [one["low"] for one in standings],
            "loss to": [one["high"] for one in standings],
            "seeds": [one["seeds"] for one in standings],
            "dropped": [total - len(one["cut"]) for one in standings],
        }
    )
    numbers = ["loss, points", "loss from", "loss to"]
    shown = shown.astype(dict.fromkeys(numbers, float)).round(1)
    shown.loc[:, numbers] += 0.0  # a loss of -0.0 points is none
    one_decimal = dict.fromkeys(numbers, st.column_config.NumberColumn(format="%.1f"))
    view.table(shown, "How each cut stands in the search.", one_decimal, height=220)


def _stands(one: Row, found: Row) -> str:
    """The answer where there is one; of a cut that was only tried with few epochs, how many."""
    if one["cut"] == found["answer"]:
        return "the answer" if found["verdict"] == SURE else "seems so"
    tried = one.get("tried", 0)
    few = tried and not one["seeds"] and one["state"] == OPEN
    return f"open, {counted(tried, 'epoch')}" if few else str(one["state"])
