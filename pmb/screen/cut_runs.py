"""Runs of a cut from its page: the buttons, how far the runs are, and those of the models that stand beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight import summary
from pmb.lab import listing, queue
from pmb.lab.answer import command_of
from pmb.lab.plan import Plan, plan_baselines, plan_kept, plan_whole, spec_of, with_data
from pmb.lab.sources import find_model
from pmb.lab.store import Row, runs_by_key
from pmb.screen import offers, take, ui
from pmb.spec import RunSpec

MORE_SEEDS = 2
ROW_PIXELS, SPACE_PIXELS = 64, 8  # of the progress, and what makes a line of buttons as high: nothing below jumps


def run_buttons(plan: Plan, row: Row | None, task: Task) -> None:
    """Run, or what is happening to the runs that were asked for; looks again every second while they go on."""
    seeds = list(row["seeds"]) if row is not None else []
    watched = set(_live_keys_of(plan, task))
    ui.live(lambda: _live(plan, seeds, watched, task), ui.LIVE_SECONDS if watched else None)


def _live(plan: Plan, seeds: list[int], watched: set[str], task: Task) -> None:
    """The row of buttons or of progress, of one height where the buttons stand in one line; a phone has two."""
    active = [key for key in _live_keys_of(plan, task) if key in watched]
    if watched and not active:
        st.rerun()  # the last one has ended: its point goes onto the charts
    if active:
        with st.container(height=ROW_PIXELS, border=False):
            _progress_row(active)
    else:
        _run_row(plan, seeds, task)
        st.space(SPACE_PIXELS)


def _live_keys_of(plan: Plan, task: Task) -> list[str]:
    """The keys of runs of this cut, or of the whole model beside it, that wait or go on; those of the cut first."""
    choice = st.session_state
    recipe = find_recipe(choice.recipe, plan.model, task)
    cuts = (plan.kept_layers, plan_whole(plan.model).kept_layers)
    live = listing.live_runs_of(ui.the_store(), plan.model.id, choice.task, cuts)
    found = [run for run in live if recipe.is_stored_as(run["recipe_values"])]
    found.sort(key=lambda run: (run["kept_layers"] != list(plan.kept_layers), run["state"] != "running"))
    return [run["key"] for run in found]


def _run_row(plan: Plan, seeds: list[int], task: Task) -> None:
    """Run and its like."""
    choice, place = st.session_state, st.empty()
    free = [seed for seed in range(len(seeds) + MORE_SEEDS + 1) if seed not in seeds]
    with place.container(horizontal=True, vertical_alignment="center", gap="xsmall"):  # in one line on a phone
        once = ui.action("Run", type="primary", icon=":material/play_arrow:", key="run")
        label, help = ("Add two seeds", "Narrows the interval.") if seeds else ("Run two seeds", "Gives an interval.")
        more = ui.action(label, icon=":material/add:", key="more_seeds", help=help)
        wanted = spec_of(plan, task, choice.recipe, seeds[0] if seeds else 0, choice.procedure)
        take.command_popover(command_of(wanted), wanted.dropped_layers)
        if (words := offers.run_words(wanted)) and ui.may_write():
            st.caption(words, width="content")
        if choice.pop("told_cached", False):
            st.badge("Answered at once from the cache", icon=":material/bolt:", color="green")
    if once or more:
        with place.container():
            _ask_for(plan, free[:MORE_SEEDS] if more else [seeds[0] if seeds else 0], task)


def _progress_row(active: list[str]) -> None:
    """How far the first of these runs is, and Cancel for all of them."""
    run = next(iter(runs_by_key(ui.the_store(), active[:1])), None)
    if run is None:  # its row is damaged, which the page tells
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if run["state"] == "queued":
            before = queue.waiting_before(ui.the_store(), run["key"]) or 0
            text = f"waiting, {before} before it" if before else "waiting, next in the queue"
        else:
            text = ui.progress_line(run)
        more = f" ({len(active) - 1} more for this cut)" if len(active) > 1 else ""
        st.progress(ui.share_done(run), text=ui.plain(text + more))
        if ui.action("Cancel", key="cancel", icon=":material/stop:", disabled=bool(run["cancel_requested"])):
            queue.cancel(ui.the_store(), active)
            st.rerun()


def other_models(plans: list[Plan], measured: pd.DataFrame, model: BaseModel, task: Task) -> None:
    """The other models that stand in the chart of depth, with their scores, and a button for those without one."""
    if not plans:
        return
    scores = {row["number"]: summary.score_of(row) for row in ui.records(measured)}
    parts = [f"{n} {plan.title}: {scores.get(n, 'not measured')}" for n, plan in enumerate(plans, 1)]
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        st.caption(ui.plain(f"Stars: {'; '.join(parts)}."), width="content")
        missing = len(scores) < len(plans)
        pressed = missing and ui.action(
            "Measure them", key="run_baselines", type="tertiary", icon=":material/play_arrow:"
        )
    if pressed:
        with place.container():
            _ask_for_baselines(model, task)


def measure_button(plans: list[Plan], task: Task) -> None:
    """A button that queues one run of each of these cuts, of one model, or that they are on their way."""
    choice = st.session_state

    def specs_on(data: Task, model: BaseModel) -> list[RunSpec]:
        cuts = [plan_kept(model, plan.kept_layers) for plan in plans]
        return [spec_of(cut, data, choice.recipe, 0, choice.procedure) for cut in cuts]

    model, place = plans[0].model, st.empty()
    states = queue.states_of(ui.the_store(), [spec.key for spec in specs_on(task, model)])
    if sum(state in listing.LIVE for state in states.values()) == len(plans):
        st.caption("They wait or go on.")
        return
    with place:
        label = f"Measure the {len(plans)}, a run each"
        pressed = ui.action(label, key="measure", type="tertiary", icon=":material/play_arrow:")
    if pressed:
        with place.container(), _problem_told():
            model = pinned(model)
            _queued(task, lambda data: specs_on(data, model))
        st.rerun()


def _ask_for(plan: Plan, seeds: list[int], task: Task) -> None:
    """Queue the runs of a cut and of the whole model, after the model has been looked up; a cached answer is marked."""
    with _problem_told():
        plan = plan_kept(pinned(plan.model), plan.kept_layers)
        st.session_state["told_cached"] = _queued(task, lambda data: _specs_of(plan, data, seeds))
    st.rerun()


def _ask_for_baselines(model: BaseModel, task: Task) -> None:
    """Queue one run of each model that stands beside the cuts; those that are measured are cached."""
    with _problem_told():
        with st.spinner("Asking the Hub"):
            plans = plan_baselines(ui.the_store(), settings.from_environment(), model, pinned=True)
        _queued(task, lambda data: [spec_of(plan, data, st.session_state.recipe, 0) for plan in plans])
    st.rerun()


def _queued(task: Task, specs_on: Callable[[Task], list[RunSpec]]) -> bool:
    """Queue runs, after their data have been fetched where need be; whether all of them are cached."""
    store = ui.the_store()
    with ui.told(f"Fetching {ui.plain(task.title)} from the Hub") as report:
        specs = with_data(store, settings.from_environment(), task, specs_on, report)
    return all(submission.cached for submission in queue.submit(store, specs))


@contextmanager
def _problem_told() -> Iterator[None]:
    """A PmbError is told below the buttons when the page is drawn again."""
    try:
        yield
    except PmbError as error:
        st.session_state["told_problem"] = str(error)


def _specs_of(plan: Plan, task: Task, seeds: list[int]) -> list[RunSpec]:
    """The runs of a cut with these seeds, each with the whole model beside it."""
    choice = st.session_state
    cuts = (plan, plan_whole(plan.model))
    return [spec_of(cut, task, choice.recipe, seed, choice.procedure) for seed in seeds for cut in cuts]


def pinned(model: BaseModel) -> BaseModel:
    """The model as the commit that the Hub has now, which is remembered; others as they are."""
    if model.revision:
        return model
    with st.spinner(f"Asking the Hub for {ui.plain(model.id)}"):
        return find_model(ui.the_store(), settings.from_environment(), model.id, pinned=True)
