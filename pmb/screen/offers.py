"""Runs that would answer what is open: how many, how long, and a button that queues them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from pmb import settings
from pmb.catalog.recipes import recipe_fault
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight import estimate
from pmb.lab import queue
from pmb.lab.listing import LIVE
from pmb.lab.plan import Plan, spec_of, with_data
from pmb.lab.results import last_end, recent_runs
from pmb.lab.sources import tasks_by_id
from pmb.lab.store import Row
from pmb.screen import ui
from pmb.screen.download_row import download_row
from pmb.spec import RunSpec

SEEDS = (0, 1, 2)
RATE_RUNS = 200  # the newest so many tell how quick this machine is

# The cuts that are wanted on a task; what is not known about models and layers is looked up where it is measuring.
PlansOn = Callable[[Task, bool], list[Plan]]


def offer(key: str, tasks: Sequence[Task], recipe: str, plans_on: PlansOn) -> bool:
    """A button that queues those runs of the cuts, with SEEDS, that have not ended; False where none is left."""
    by_task = {task: plans_on(task, False) for task in tasks}
    specs = [spec for task, plans in by_task.items() for spec in missing_runs(plans, task, recipe)]
    if not specs:
        return False
    if not ui.may_write():
        st.caption(f"{len(specs)} runs would tell.")
        return True
    states = queue.states_of(ui.the_store(), [spec.key for spec in specs])
    if all(states.get(spec.key) in LIVE for spec in specs):
        st.caption(f"{len(specs)} runs wait or go on.")
        return True
    if any(download_row(plan.model, f"{key}_{plan.model.id}") for plan in first_of_each(by_task)):
        return True
    seconds = seconds_for(specs, [plan for plans in by_task.values() for plan in plans])
    about = f", about {estimate.duration(seconds)} here" if seconds else ""
    place = st.empty()
    with place:
        pressed = ui.action(f"Queue it: {len(specs)} runs{about}", key=key, icon=":material/playlist_add:")
    if pressed:
        with place.container():
            queue_missing(tasks, recipe, plans_on)
    return True


def first_of_each(by_task: dict[Task, list[Plan]]) -> list[Plan]:
    """A plan of each model."""
    return list({plan.model.id: plan for plans in by_task.values() for plan in plans}.values())


def missing_runs(plans: list[Plan], task: Task, recipe: str) -> list[RunSpec]:
    """The runs of these cuts with SEEDS that have not ended yet."""
    usable = [plan for plan in plans if not recipe_fault(recipe, plan.model, task)]
    specs = {spec.key: spec for plan in usable for seed in SEEDS for spec in [spec_of(plan, task, recipe, seed)]}
    return queue.unfinished(ui.the_store(), list(specs.values()))


def seconds_for(specs: list[RunSpec], plans: list[Plan]) -> float | None:
    """About how long runs take here; None where nothing has run yet."""
    parameters = {plan.model.id: plan.model.parameters for plan in plans}
    wanted = [spec.to_dict() | {"recipe_values": spec.recipe.to_dict(), "progress": None} for spec in specs]
    return estimate.seconds_left(wanted, rate(), parameters)


def rate() -> float | None:
    """Seconds by work of this machine's newest runs, else of the shipped ones; None where there are none."""
    return estimate.seconds_per_work(_recent())


def run_seconds(spec: RunSpec) -> float | None:
    """About how long one run takes here, from start to result; None where nothing like it has run yet."""
    wanted = spec.to_dict() | {"recipe_values": spec.recipe.to_dict()}
    recent = _recent()
    tasks = {} if _judged_by_its_own(spec, recent) else tasks_by_id(ui.the_store())
    return estimate.run_seconds(wanted, recent, tasks)


def run_words(spec: RunSpec) -> str:
    """The same in words; another task's sentences may be much longer or shorter. Empty where it is not known."""
    seconds = run_seconds(spec)
    if seconds is None:
        return ""
    time = estimate.duration(seconds)
    own = _judged_by_its_own(spec, _recent())
    return f"about {time} a run here" if own else f"perhaps {time} a run here, judged by other tasks"


def _judged_by_its_own(spec: RunSpec, recent: Sequence[Row]) -> bool:
    """Whether a run of the same model and task is among those by which its time is judged."""
    return any((row["model"], row["task"]) == (spec.model, spec.task) for row in recent)


def _recent() -> Sequence[Row]:
    return load_recent(last_end(ui.the_store()))


@st.cache_resource(max_entries=4, show_spinner=False)
def load_recent(mark: float | None) -> Sequence[Row]:
    """The runs by which the time of others is judged, the newest first; one list for all, since copies take longest."""
    return recent_runs(ui.the_store(), RATE_RUNS)


def queue_missing(tasks: Sequence[Task], recipe: str, plans_on: PlansOn) -> None:
    """Look models and data up where need be, queue what is missing, and draw the page again."""
    store, found = ui.the_store(), settings.from_environment()
    try:
        for task in tasks:
            with ui.told(f"Fetching what {ui.plain(task.title)} needs") as report:

                def wanted(data: Task) -> list[RunSpec]:
                    return missing_runs(plans_on(data, True), data, recipe)

                queue.submit(store, with_data(store, found, task, wanted, report))
    except PmbError as error:
        st.session_state["told_problem"] = str(error)
    st.rerun()


def tell_problem() -> None:
    """Say what went wrong when runs were asked for, once."""
    if problem := st.session_state.pop("told_problem", ""):
        st.warning(ui.plain(problem), icon=":material/warning:")
