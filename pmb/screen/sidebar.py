"""What every page has beside it: what the lab is, what goes on and waits, the words; and a toast for what has ended."""

from __future__ import annotations

import streamlit as st

from pmb import settings
from pmb.catalog.models import MODELS
from pmb.insight import estimate
from pmb.insight.metrics import shown
from pmb.lab import holder, listing, probes, queue
from pmb.lab.store import Row, runs_by_key
from pmb.screen import guide, offers, ui, visitors

RUNS_PAGE = "pages/runs_page.py"
SHOWN = 3  # so many of those that go on and of those that wait
MOST_TOASTS = 3


def sidebar() -> None:
    """Draw it; it looks again every second while something goes on."""
    ui.look()
    tell_ended()
    st.session_state.drawn_theme = ui.theme()
    with st.sidebar:
        st.subheader("Poor Man's BERT Lab", anchor=False)
        st.caption("How many layers of a pre-trained encoder can be thrown away, for a task, and what that brings.")
        visitors.sign_in_part(ui.the_store().refusal)
        ui.live(_status, ui.LIVE_SECONDS if st.session_state.live_keys else ui.IDLE_SECONDS)
        guide.words()


def tell_ended() -> None:
    """A toast for each run that was going on when this session last looked and has ended since, with the way to it."""
    live = [row["key"] for row in ui.live_runs()]
    gone = set(st.session_state.get("live_keys", [])) - set(live)
    st.session_state.live_keys = live
    if not gone:
        return
    ended = [row for row in runs_by_key(ui.the_store(), sorted(gone)) if row["state"] in ("done", "failed")]
    for row in ended[:MOST_TOASTS]:
        name = row["key"][:12]
        done = row["state"] == "done"
        said = f"is done: {shown(row['metric'], row['score'])}" if done else "failed; its page says why"
        icon = ":material/check:" if done else ":material/error:"
        st.toast(f"[Run {name} {said}](runs?run={name})", icon=icon, duration="long")
    if len(ended) > MOST_TOASTS:
        st.toast(f"[and {len(ended) - MOST_TOASTS} more runs have ended](runs)", duration="long")


def _status() -> None:
    rows = ui.live_runs()
    if [row["key"] for row in rows] != st.session_state.live_keys or ui.theme() != st.session_state.drawn_theme:
        st.rerun()  # something began or ended, or the browser's theme is another one: the page draws it
    running, waiting = ui.count_live()
    first = [row for row in rows if row["state"] == "running"]
    st.markdown(f"**{running:,} running, {waiting:,} waiting**")
    for place, row in enumerate(first[:SHOWN], 1):
        st.caption(f"{place} of {running + waiting:,}: {_cut(row)}")
        st.progress(ui.share_done(row), text=ui.plain(ui.progress_line(row)))
    for place, row in enumerate(rows[len(first) :][: SHOWN - 1], len(first) + 1):
        st.caption(f"{place} of {running + waiting:,}: {_cut(row)}, waiting")
    asked = probes.asked_probes(ui.the_store())
    for row in (row for row in asked if row["progress"]):
        st.progress(ui.share_done(row), text=ui.plain(f"Layers of {row['model']}, {probes.progress_text(row)}"))
    if waiting and (seconds := queue_seconds()):
        st.caption(f"All of it takes about {estimate.duration(seconds)} more here.")
    if (rows or asked) and ui.may_write():
        _worker_warning()
    st.page_link(RUNS_PAGE, label="All runs", icon=":material/list_alt:")


def _worker_warning() -> None:
    """Why nothing goes on, where no worker is alive or this home's is halted."""
    found = settings.from_environment()
    if holder.is_stopped(found) or not queue.list_workers(ui.the_store()):
        why = holder.trouble(found, ui.the_store())
        st.warning(
            ui.plain(why) if why else "No worker is alive. Start one: `python -m pmb worker`", icon=":material/warning:"
        )


def queue_seconds() -> float | None:
    """About how long what waits and goes on will take, judged by this machine's newest runs; None where unknown."""
    running = [row for row in ui.live_runs() if row["state"] == "running"]
    rows = running + listing.waiting_by_work(ui.the_store())
    parameters = {row["model"]: MODELS[row["model"]].parameters for row in rows if row["model"] in MODELS}
    return estimate.seconds_left(rows, offers.rate(), parameters)


def _cut(row: Row) -> str:
    model = MODELS[row["model"]].title if row["model"] in MODELS else row["model"]
    return ui.plain(f"{model}, kept {ui.layers(row['kept_layers'])}, seed {row['seed']}")
