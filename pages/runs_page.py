"""What is running, and what has run? The queue, what failed, and every run, filtered, as a table and as files."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pmb.insight import estimate
from pmb.insight.failures import next_step
from pmb.insight.intervals import run_interval
from pmb.insight.undertrained import MEANING, UNDERTRAINED
from pmb.lab import disk, listing, queue
from pmb.lab.listing import ORDERS, Filter
from pmb.lab.plan import retry
from pmb.lab.store import Row, change_mark, get_run
from pmb.screen import ui
from pmb.screen.beside import run_undertrained
from pmb.screen.run_details import PARAMETER, show_linked_run
from pmb.screen.run_files import as_csv, as_parquet
from pmb.screen.sidebar import queue_seconds
from pmb.settings import Settings, from_environment
from pmb.wording import counted

# =============================================================================
# Constants
# =============================================================================

SHOWN_QUEUE = 12  # so many of the queue have a line with a button
SHOWN_FAILURES = 3
LAST_LINES = 3  # of a failed run's log
PAGE_ROWS = 100
DISK_SECONDS = 10.0  # between two looks at what is held on the disk
STATES = ("queued", "running", "done", "failed", "cancelled")
SEARCH_HELP = (
    "Words of model, task, recipe, device, machine or error; the first characters of a run; the layers kept, such as "
    "0,1,2; or a seed. All words must be found."
)


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=4)
def load_kinds(mark: Sequence[Any]) -> list[Row]:
    """How many runs there are of each kind, until one changes its state."""
    return listing.count_by_kind(ui.the_store())


@st.cache_data(ttl=DISK_SECONDS, max_entries=1, show_spinner=False)
def load_disk_line(found: Settings) -> str:
    """What the lab holds on the disk; every file is looked at, which no click waits for again so soon."""
    return disk.usage_line(disk.usage(found))


def run_table(rows: list[Row], places: dict[str, int], undertrained: dict[str, str]) -> pd.DataFrame:
    """Runs as people read them; `places`: of those in the queue, `undertrained`: why; columns where there are any."""
    table = pd.DataFrame([_run_row(row, places, undertrained) for row in rows])
    unused = [name for name, of_runs in (("place", places), (UNDERTRAINED, undertrained)) if not of_runs]
    return table if table.empty else table.drop(columns=unused)


@ui.loaded(max_entries=64)
def load_undertrained(keys: tuple[str, ...], _rows: list[Row], mark: Sequence[Any]) -> dict[str, str]:
    """Why the whole model is undertrained with the recipe of a finished run, by the runs of which that is known."""
    reasons: dict[tuple[Any, ...], str] = {}
    found = {}
    for row in _rows:
        about = (row["model"], row["task"], json.dumps(row["recipe_values"]))
        if row["state"] == "done" and about not in reasons:
            reasons[about] = run_undertrained(row, tuple(mark))
        if row["state"] == "done" and reasons[about]:
            found[row["key"]] = reasons[about]
    return found


def _run_row(row: Row, places: dict[str, int], undertrained: dict[str, str]) -> dict[str, Any]:
    run = listing.exported(row)
    interval = run_interval(row) if row["state"] == "done" else None
    texts = {
        name: listing.defused(ui.said(row[name] or "")) for name in ("model", "task", "device", "machine", "error")
    }
    return {
        "run": row["key"][:12],
        "state": row["state"],
        "place": places.get(row["key"]),
        "score × 100": 100 * row["score"] if row["score"] is not None else None,
        "interval": f"{100 * interval.low:.1f} to {100 * interval.high:.1f}" if interval else "",
        "metric": row["metric"] or "",
        UNDERTRAINED: undertrained.get(row["key"], ""),
        "kept": ui.layers(row["kept_layers"]),
        "dropped": ui.layers(run["dropped_layers"]),
        "seed": row["seed"],
        "recipe": row["recipe"],
        "model": texts["model"],
        "task": texts["task"],
        "took, s": run["seconds"],
        "ended": run["finished_at"],
        "parameters, M": row["parameters"] / 1e6 if row["parameters"] else None,
        "source": row["source"],
        "started by": row["started_by"] or "",
        "device": texts["device"],
        "machine": texts["machine"],
        "queued": run["queued_at"],
        "started": run["started_at"],
        "attempts": row["attempts"],
        "error": texts["error"],
    }


# =============================================================================
# Queue and failures
# =============================================================================


def queue_part() -> None:
    """The queue, with Cancel for each run; looks again every second while something is going on."""
    st.subheader("Queue", anchor=False)
    ui.live(_live_queue, ui.LIVE_SECONDS if ui.live_runs() else None)


def _live_queue() -> None:
    rows = ui.live_runs()
    if not rows:
        st.caption("Nothing runs and nothing waits." + ui.by_right(" Explore starts a run."))
        return
    for place, row in enumerate(rows[:SHOWN_QUEUE]):
        with st.container(horizontal=True, vertical_alignment="center", key=f"row-{row['key'][:12]}"):
            st.text(ui.title_of(row), width=300)
            if row["state"] == "running":
                st.progress(ui.share_done(row), text=ui.progress_line(row))
            else:
                before = place - sum(other["state"] == "running" for other in rows)
                st.text(f"waiting, {before} before it" if before else "waiting, next in the queue", width="stretch")
            if ui.action("Cancel", key=f"cancel-{row['key']}", disabled=bool(row["cancel_requested"])):
                queue.cancel(ui.the_store(), [row["key"]])
                st.rerun()
    total = sum(ui.count_live())
    if total > SHOWN_QUEUE:
        st.caption(f"and {total - SHOWN_QUEUE:,} more: choose the state 'queued' below.")
    seconds = queue_seconds()
    if seconds is not None:
        st.caption(f"All {total:,} take about {estimate.duration(seconds)} more here, judged by the newest runs.")


def failures_part(failed: int) -> None:
    """The newest runs that failed: why, what to do, the last lines of their log, and Retry."""
    if not failed:
        return
    st.subheader("Failed", anchor=False)
    keys = listing.list_keys(ui.the_store(), Filter(states=("failed",)), limit=SHOWN_FAILURES)
    for row in filter(None, (get_run(ui.the_store(), key) for key in keys)):
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.text(f"{ui.title_of(row)}: failed", width="stretch")
                if ui.action("Retry", key=f"retry-{row['key']}", icon=":material/replay:"):
                    retry(ui.the_store(), from_environment(), [row["key"]])
                    st.rerun()
            st.text(ui.said(row["error"] or "No reason is known."))
            if ui.may_write():
                st.markdown(f":material/arrow_forward: {next_step(row['error'] or '')}")
            if lines := (row["log"] or "").splitlines():
                st.code(ui.said("\n".join(lines[-LAST_LINES:])), language=None)
    if failed > SHOWN_FAILURES:
        st.caption(f"and {failed - SHOWN_FAILURES:,} more: choose the state 'failed' below.")


# =============================================================================
# All runs
# =============================================================================


def choose_filter(kinds: list[Row]) -> tuple[Filter, str]:
    """Which runs are shown, in which order; everything of it is in the address."""

    def several(label: str, key: str, name: str) -> tuple[Any, ...]:
        options = sorted({kind[name] for kind in kinds})
        return tuple(st.multiselect(label, options, key=key, bind="query-params", placeholder="all"))

    with st.container(horizontal=True, vertical_alignment="bottom"):
        states = st.pills("State", STATES, selection_mode="multi", key="states", bind="query-params")
        words = st.text_input(
            "Find", key="find", bind="query-params", width=260, help=SEARCH_HELP, max_chars=200, placeholder="all"
        )
        with st.popover("Filter and order", icon=":material/filter_list:"):
            models = several("Models", "models", "model")
            tasks = several("Tasks", "of_tasks", "task")
            recipes = several("Recipes", "recipes", "recipe")
            depths = several("Number of layers kept", "depths", "depth")
            sources = several("Source", "sources", "source")
            order = st.selectbox("Order", list(ORDERS), key="order", bind="query-params")
        places = st.container()
    chosen = Filter(tuple(states), models, tasks, recipes, sources, depths, words)
    with places:
        downloads(chosen)
    return chosen, order


def downloads(chosen: Filter) -> None:
    """All runs, and those chosen, as files that are made when they are asked for."""
    with st.popover("Download", icon=":material/download:"):
        for which, what in (("all runs", Filter()), ("the runs chosen here", chosen)):
            for kind, mime, make in (
                ("CSV", "text/csv", as_csv),
                ("Parquet", "application/vnd.apache.parquet", as_parquet),
            ):
                st.download_button(
                    f"{kind} of {which}",
                    data=lambda make=make, what=what: make(ui.the_store(), what),  # type: ignore[misc]
                    file_name=f"runs.{kind.lower()}",
                    mime=mime,
                    on_click="ignore",
                    key=f"{kind}-{which}",
                )
        st.caption("All columns, oldest first. `python -m pmb runs --csv` writes the same.")


def results_part(kinds: list[Row]) -> None:
    """The runs that are chosen, a page of them; the selected ones can be cancelled and retried together."""
    st.subheader("All runs", anchor=False)
    chosen, order = choose_filter(kinds)
    count = listing.count_runs(ui.the_store(), chosen)
    total = sum(kind["count"] for kind in kinds)
    if not count:
        st.info(f"No run is like that. Take a filter away{ui.by_right(', or start a run on Explore')}.")
        return
    pages = -(-count // PAGE_ROWS)
    if st.session_state.get("part", 1) > pages:
        st.session_state.part = 1  # of a longer list than this one
    place = st.container()
    number = 1
    if pages > 1:
        number = st.pagination(pages, key="part", bind="query-params")
    keys = listing.list_keys(ui.the_store(), chosen, order, PAGE_ROWS, (number - 1) * PAGE_ROWS)
    with place:
        which = f"{count:,} of {total:,} runs" if count < total else f"{count:,} runs"
        table_part(listing.runs_in_order(ui.the_store(), keys), f"{which}, {order} first")


def table_part(rows: list[Row], which: str) -> None:
    """A page of runs. What was selected stays so by its run and not by its place.

    The browser says which rows by their number: so the table is another one whenever its rows are others.
    """
    selected: set[str] = st.session_state.setdefault("selected_runs", set())
    keys = [row["key"] for row in rows]
    name = "runs-" + hashlib.sha256("".join(keys).encode()).hexdigest()[:12]
    if name in st.session_state:
        marked = st.session_state[name]["selection"]["rows"]  # as the browser sent them
        selected -= set(keys)
        selected |= {keys[place] for place in marked if place < len(keys)}
    actions = st.container(horizontal=True, vertical_alignment="center")
    shown = [place for place, key in enumerate(keys) if key in selected]
    with actions:
        st.text(which, width="content")
        change_selected([row for row in rows if row["key"] in selected])
    st.dataframe(
        run_table(rows, places_in_queue(rows), load_undertrained(tuple(keys), rows, change_mark(ui.the_store()))),
        key=name,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": shown}},
        placeholder="",
        column_config={
            "run": st.column_config.ButtonColumn(
                pinned=True, type="tertiary", key="open_run", on_click=open_run, help="Opens its page."
            ),
            "place": st.column_config.NumberColumn(help="In the queue; 1 goes on or is next."),
            "score × 100": st.column_config.NumberColumn(format="%.1f"),
            "interval": st.column_config.TextColumn(help="95 %, over the dev examples."),
            UNDERTRAINED: st.column_config.TextColumn(help=MEANING),
            "took, s": st.column_config.NumberColumn(format="%.0f"),
            "parameters, M": st.column_config.NumberColumn(format="%.1f"),
            **{
                time: st.column_config.DatetimeColumn(f"{time} (UTC)", format="YYYY-MM-DD HH:mm")
                for time in ("ended", "queued", "started")
            },
        },
        alt=f"Runs: {which}.",
    )


def places_in_queue(rows: list[Row]) -> dict[str, int]:
    """Where those of the runs that go on or wait stand, by key: the running ones first."""
    running = [row["key"] for row in ui.live_runs() if row["state"] == "running"]
    places = {key: place for place, key in enumerate(running, 1)}
    if waiting := [row for row in rows if row["state"] == "queued"]:
        since = listing.waiting_since(ui.the_store())
        places |= {row["key"]: len(running) + bisect_left(since, row["queued_at"]) + 1 for row in waiting}
    return places


def change_selected(rows: list[Row]) -> None:
    """Cancel and Retry for the selected runs that they can be done to."""
    to_cancel = [row["key"] for row in rows if row["state"] in ("queued", "running") and not row["cancel_requested"]]
    to_retry = [row["key"] for row in rows if row["state"] in ("failed", "cancelled")]
    for verb, keys, icon, change in (
        ("Cancel", to_cancel, ":material/stop:", queue.cancel),
        ("Retry", to_retry, ":material/replay:", lambda store, keys: retry(store, from_environment(), keys)),
    ):
        if keys and ui.action(f"{verb} {counted(len(keys), 'run')}", key=f"{verb.lower()}_selected", icon=icon):
            change(ui.the_store(), keys)
            st.session_state.selected_runs = set()
            st.rerun()
    if not to_cancel and not to_retry and ui.may_write():
        text = (
            f"{counted(len(rows), 'run')} selected, with a result."
            if rows
            else "Select rows to cancel or retry several."
        )
        st.caption(text, width="content")


def open_run() -> None:
    """The run whose cell was pressed, in the address."""
    st.query_params[PARAMETER] = st.session_state.open_run.label


# =============================================================================
# Page
# =============================================================================

mark = listing.count_states(ui.the_store())
counts = {state: count for state, count, _ in mark}
headline = [f"{counts.get(state, 0):,} {state}" for state in STATES if counts.get(state) or state == "done"]
st.markdown(f"##### {', '.join(headline)}.")
show_linked_run()
queue_part()
failures_part(counts.get("failed", 0))
results_part(load_kinds(mark))
st.caption(f"On the disk: {load_disk_line(from_environment())}.")
