"""One run in full, at the side of the Runs page: `/runs?run=` and its first characters."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from pmb import settings
from pmb.catalog.models import MODELS
from pmb.catalog.recipes import is_current
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput
from pmb.insight.failures import next_step
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.lab import listing, queue
from pmb.lab.answer import answer, command_of
from pmb.lab.plan import retry
from pmb.lab.queue import spec_of_row
from pmb.lab.store import Row, change_mark, get_run
from pmb.screen import take, ui
from pmb.screen.beside import run_undertrained

PARAMETER = "run"
MOST_CHARACTERS = 64  # a run's key


def show_linked_run() -> None:
    """The run that the address names, in a drawer; one sentence where it names none."""
    named = st.query_params.get(PARAMETER)
    if named is None or st.session_state.drawer:
        return
    try:
        key = queue.find_key(ui.the_store(), named[:MOST_CHARACTERS])
    except BadInput:
        said = ui.plain(repr(named[:MOST_CHARACTERS]))
        st.warning(
            f"No single run here begins with {said}; the table below lists them all.", icon=":material/link_off:"
        )
        return
    st.dialog(f"Run {key[:12]}", width="medium", position="right", icon=":material/list_alt:", on_dismiss=close)(
        _details
    )(key)


def close() -> None:
    """Take the run out of the address."""
    st.query_params.pop(PARAMETER, None)


def _details(key: str) -> None:
    run = get_run(ui.the_store(), key)
    if run is None:
        st.text("This run is gone from the store.")
        return
    values = answer(ui.the_store(), key, cached=False)
    st.text(ui.title_of(run))
    _outcome(run, values)
    if run["state"] in ("failed", "cancelled") and ui.action("Retry", key="retry_this", icon=":material/replay:"):
        retry(ui.the_store(), settings.from_environment(), [key])
        st.rerun()
    if run["state"] in ("queued", "running") and ui.action("Cancel", key="cancel_this", icon=":material/stop:"):
        queue.cancel(ui.the_store(), [key])
        st.rerun()
    take.command_lines(command_of(spec_of_row(run)), values["dropped_layers"])
    model, task = MODELS.get(run["model"]), TASKS.get(run["task"])
    if model and task and not is_current(spec_of_row(run).recipe, model, task):
        st.caption("This recipe has other values now. The command starts a different run.")
    if run["state"] == "done":
        st.markdown("##### Take it")
        take.offer(key)
    facts = {name: ui.plain(str(value)) for name, value in _facts(run, values).items()}
    st.table(facts, border="horizontal", alt="What is known of this run.")


def _outcome(run: Row, values: Row) -> None:
    """Its score beside the whole model's, or why there is none."""
    if run["state"] == "done":
        low, high = values["score_interval"]
        metric, whole = run["metric"], values["whole_model_score"]
        beside = f"; the whole model has {shown(metric, whole)}" if whole is not None else ""
        label = sentence_case(metric_of(metric).label)
        st.markdown(f"##### {label} {shown(metric, run['score'])}")
        bag = values["bag_of_words_score"]
        beside += f"; a bag of words has {shown(metric, bag)}" if bag is not None else ""
        st.markdown(f"95 % interval over dev {100 * low:.1f} to {100 * high:.1f}{beside}.")
        if reason := run_undertrained(run, change_mark(ui.the_store())):
            ui.undertrained_badge(reason)
        if values["note"]:
            st.warning(ui.plain(values["note"]), icon=":material/warning:")
    elif run["state"] == "failed":
        st.error("It failed.", icon=":material/error:")
        st.text(ui.said(run["error"] or "No reason is known."))
        if ui.may_write():
            st.markdown(next_step(run["error"] or ""))
        if run["log"]:
            st.caption("The end of its log")
            st.code(ui.said(run["log"]), language=None)
    else:
        st.text(f"{run['state']}: {ui.progress_line(run)}" if run["state"] == "running" else run["state"])


def _facts(run: Row, values: Row) -> dict[str, object]:
    """What it was, what it took, how it was measured; what is not known is left out."""
    took = listing.exported(run)["seconds"]
    speedup = values["speedup"]
    facts = {
        "kept layers": ui.layers(run["kept_layers"]),
        "dropped layers": ui.layers(values["dropped_layers"]),
        "strategies": ", ".join(values["strategy"]) or "none: a choice of one's own",
        "parameters": f"{run['parameters']:,} of {run['whole_model_parameters']:,}" if run["parameters"] else None,
        "speed-up": f"{speedup['ratio']:.2f} ({speedup['low']:.2f} to {speedup['high']:.2f})" if speedup else None,
        **{score["metric"]: _interval(score) for score in (run["scores"] or [])[1:]},
        "dev examples": run["num_dev"],
        "mean loss by epoch": ", ".join("none" if loss is None else f"{loss:.3f}" for loss in run["losses"] or []),
        "recipe": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in run["recipe_values"].items()),
        "procedure": run["procedure"],
        "queued (UTC)": _time(run["queued_at"]),
        "started (UTC)": _time(run["started_at"]),
        "ended (UTC)": _time(run["finished_at"]),
        "took": f"{ui.clock(took)} (training {ui.clock(run['train_seconds'] or 0)})" if took else None,
        "attempts": run["attempts"],
        "source": run["source"],
        "device": run["device"],
        "machine": run["machine"],
        "versions": ", ".join(f"{name} {version}" for name, version in (run["versions"] or {}).items()),
        "model": ui.said(f"{run['model']} {run['model_revision']}"),
        "task": ui.said(f"{run['task']} {run['task_revision']}"),
        "run": run["key"],
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _interval(score: Row) -> str:
    return f"{shown(score['metric'], score['value'])} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def _time(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else None
