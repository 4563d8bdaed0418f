"""What is running, and what has run? The queue and every result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from pmb import ui
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.store import Row, get_run, list_runs

# =============================================================================
# Constants
# =============================================================================

SHOWN_QUEUE = 20  # so many of the queue have a line with a button
STATES = ("queued", "running", "done", "failed", "cancelled")
ENDED_BADLY = ("failed", "cancelled")


# =============================================================================
# Data loading
# =============================================================================


def run_table(rows: list[Row]) -> pd.DataFrame:
    """Runs as people read them, newest first."""
    return pd.DataFrame([_run_row(row) for row in reversed(rows)])


def _run_row(row: Row) -> dict[str, Any]:
    took = row["finished_at"] - row["started_at"] if row["finished_at"] and row["started_at"] else None
    ended = datetime.fromtimestamp(row["finished_at"], UTC) if row["finished_at"] else None
    return {
        "run": row["key"][:12],
        "state": row["state"],
        "layers kept": ui.layers(row["kept_layers"]),
        "seed": row["seed"],
        "recipe": row["recipe"],
        "metric": row["metric"],
        "score × 100": 100 * row["score"] if row["score"] is not None else None,
        "took, s": took,
        "ended (UTC)": ended,
        "source": row["source"],
        "device": row["device"],
        "model": row["model"],
        "task": row["task"],
    }


# =============================================================================
# Parts of the page
# =============================================================================


def queue_part() -> None:
    """The queue, with Cancel for each run; looks again every second while something is going on."""
    ui.live(_live_queue, ui.LIVE_SECONDS if ui.live_runs() else None)


def _live_queue() -> None:
    rows = ui.live_runs()
    if not rows:
        st.caption("Nothing runs and nothing waits.")
        return
    for position, row in enumerate(rows[:SHOWN_QUEUE]):
        with st.container(horizontal=True, vertical_alignment="center", key=f"row-{row['key'][:12]}"):
            st.text(title_of(row), width=260)
            if row["state"] == "running":
                st.progress(ui.share_done(row), text=ui.progress_line(row))
            else:
                waiting = position - sum(other["state"] == "running" for other in rows)
                st.text(f"waiting, {waiting} before it" if waiting else "waiting, next in the queue", width="stretch")
            if st.button("Cancel", key=f"cancel-{row['key']}", disabled=bool(row["cancel_requested"])):
                queue.cancel(ui.the_store(), [row["key"]])
                st.rerun()
    if len(rows) > SHOWN_QUEUE:
        st.caption(f"and {len(rows) - SHOWN_QUEUE} more; the table below lists them under 'queued'.")


def title_of(row: Row) -> str:
    """What a run is about, in a line."""
    model = MODELS[row["model"]].title if row["model"] in MODELS else row["model"]
    task = TASKS[row["task"]].title if row["task"] in TASKS else row["task"]
    return f"{model}, {task}, {row['recipe']}: kept {ui.layers(row['kept_layers'])}, seed {row['seed']}"


def failures_part(rows: list[Row]) -> None:
    """Runs that ended without a result: why, the end of their log, and Retry."""
    ended_badly = [row for row in rows if row["state"] in ENDED_BADLY]
    if not ended_badly:
        return
    st.subheader("Without a result", anchor=False)
    for row in reversed(ended_badly[-10:]):
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.text(f"{title_of(row)}: {row['state']}", width="stretch")
                if st.button("Retry", key=f"retry-{row['key']}", icon=":material/replay:"):
                    queue.retry(ui.the_store(), [row["key"]])
                    st.rerun()
            if row["error"]:
                st.text(row["error"])
                log = (get_run(ui.the_store(), row["key"]) or {}).get("log")
                if log:
                    with st.expander("The end of its log"):
                        st.code(log, language=None)


def results_part(rows: list[Row]) -> None:
    """Every run as a table, filtered by state, and as CSV."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.pills("State", STATES, selection_mode="multi", default=["done"], key="states", bind="query-params")
        chosen = [row for row in rows if row["state"] in shown]
        st.download_button(
            f"CSV of all {len(rows):,} runs",
            data=lambda: run_table(rows).to_csv(index=False),
            file_name="runs.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="csv",
        )
    if not chosen:
        st.info("No run is in these states. Choose others above, or start one on Explore.")
        return
    st.dataframe(
        run_table(chosen),
        hide_index=True,
        column_config={
            "run": st.column_config.TextColumn(pinned=True),
            "score × 100": st.column_config.NumberColumn(format="%.1f"),
            "took, s": st.column_config.NumberColumn(format="%.0f"),
            "ended (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
        alt=f"{len(chosen)} runs in the states {', '.join(shown)}.",
    )


# =============================================================================
# Page
# =============================================================================

st.title("What is running, and what has run?", anchor=False)
rows = list_runs(ui.the_store())
counts = {state: sum(row["state"] == state for row in rows) for state in STATES}
st.markdown(
    "##### " + ", ".join(f"{count:,} {state}" for state, count in counts.items() if count or state == "done") + "."
)
st.subheader("Queue", anchor=False)
queue_part()
failures_part(rows)
st.subheader("All runs", anchor=False)
results_part(rows)
