"""Explore's search for the smallest model: its goal and budget, what it knows and measures, Stop and Go on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from pmb import offers, settings, ui
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight import estimate
from pmb.lab import searches
from pmb.lab.plan import plan_whole, spec_of
from pmb.lab.previews import missing_previews
from pmb.lab.searches import Aim, Limit
from pmb.lab.store import Row, runs_by_key
from pmb.preview_row import open_previews
from pmb.strategies import STRATEGIES

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
HOW = """\
It measures next what promises most: layers saved, times the chance that the cut keeps to the goal. What was measured \
before costs it nothing, and a preview leaves out what it foretells to be clearly beyond. It is sure only where 95 % \
intervals over sentences and seeds say so, widened to the number of times that it looks; else it says that the dev \
examples cannot tell, or that the budget is spent."""


def search_part(model: BaseModel, task: Task, recipe: str) -> None:
    """The expander; nothing for who may only look where there was no search."""
    rows = searches.searches_of(ui.the_store(), model, task, recipe)[:SHOWN]
    if not rows and not ui.may_write():
        return
    goes_on = any(row["state"] == searches.OPEN for row in rows)
    with st.expander("Find the smallest model", icon=":material/search:", expanded=goes_on):
        if ui.may_write():
            _controls(model, task, recipe)
        watched = [row["key"] for row in rows]
        ui.live(lambda: _list(watched, goes_on), ui.LIVE_SECONDS if goes_on else None)


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
    verdict = (found["verdict"] or "goes on") if found else "begins"
    state = "stopped" if row["state"] == searches.STOPPED else verdict
    spent = f"{found['runs'] if found else 0} runs done for it, of at most {_limit(row)}"
    with st.container(border=True):
        st.markdown(f"**{_goal(row)}**: {state}")
        if found:
            st.markdown(ui.plain(found["sentence"]))
        if row["error"]:
            st.caption(ui.plain(row["error"]))
        with st.container(horizontal=True, vertical_alignment="center"):
            if row["state"] == searches.OPEN:
                live = runs_by_key(ui.the_store(), row["waits_for"])
                now = f"measuring {searches.measuring(live)}" if live else "choosing what to measure"
                st.caption(f"{spent}; {now}.", width="stretch")
                if ui.action("Stop", key=f"stop_{row['key'][:12]}", icon=":material/stop:"):
                    searches.stop(ui.the_store(), row["key"])
                    st.rerun()
            else:
                st.caption(f"{spent}.", width="stretch")
                stopped = row["state"] == searches.STOPPED
                if stopped and ui.action("Go on", key=f"go_on_{row['key'][:12]}", icon=":material/play_arrow:"):
                    searches.go_on(ui.the_store(), row["key"])
                    st.rerun()
        if found and found["standings"]:
            _standings(found["standings"], row["num_hidden_layers"])


def _goal(row: Row) -> str:
    goal = row["goal"]
    if goal.get("within") is not None:
        return f"Smallest within {goal['within']:g} point{'' if goal['within'] == 1 else 's'}"
    most = f"at most {goal['most_layers']} of {row['num_hidden_layers']} layers"
    if goal.get("speedup") is not None:
        return f"Best of {goal['speedup']:g} times as fast ({most})"
    return f"Best of at most {goal['megabytes']:g} MB ({most})"


def _limit(row: Row) -> str:
    (name, value), *_ = row["budget"].items()
    return f"{value:g} {name}"


def _standings(standings: Sequence[Row], total: int) -> None:
    """How every cut stands."""
    shown = pd.DataFrame(
        {
            "layers kept": [ui.layers(one["cut"]) for one in standings],
            "dropped": [total - len(one["cut"]) for one in standings],
            "seeds": [one["seeds"] for one in standings],
            "loss, points": [one["loss"] for one in standings],
            "from": [one["low"] for one in standings],
            "to": [one["high"] for one in standings],
            "stands": [one["state"] for one in standings],
        }
    )
    numbers = ("loss, points", "from", "to")
    shown = shown.astype(dict.fromkeys(numbers, float))
    one_decimal = dict.fromkeys(numbers, st.column_config.NumberColumn(format="%.1f"))
    st.dataframe(
        shown, column_config=one_decimal, hide_index=True, height=220, alt="How each cut stands in the search."
    )
