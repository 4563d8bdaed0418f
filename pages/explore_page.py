"""How many layers can I drop? Pick a cut, see what it costs and brings, run it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from pmb import controls, settings, ui
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import Task
from pmb.charts import accuracy, strip
from pmb.errors import PmbError
from pmb.insight import summary
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.lab import queue
from pmb.lab.answer import HEADLINE_SHAPE
from pmb.lab.plan import (
    Plan,
    known_layer_scores,
    plan_baselines,
    plan_kept,
    plan_strategy,
    plan_whole,
    spec_of,
    with_data,
)
from pmb.lab.results import finished_runs
from pmb.lab.sources import find_model, notes_on
from pmb.lab.store import Row, change_mark, list_latencies
from pmb.spec import PROCEDURES, RunSpec
from pmb.strategies import drop_counts
from pmb.your_table import your_table

# =============================================================================
# Constants
# =============================================================================

DEFAULT_DROP = 2
MORE_SEEDS = 2
ROW_PIXELS = 64  # of the buttons or the progress: nothing below jumps
METHOD = """\
**Score**: {metric} on {dev} dev examples that no choice was made on; the last epoch counts. \
**Interval**: 95 %; over seeds Student's t, which speaks for other seeds and not for other sentences; of a single seed \
over the dev examples, Wilson's of accuracy, else a bootstrap. **Speed-up**: time of the whole model by time of the \
cut one, batch {batch} of {length} \
tokens, median of pairs timed in turn{device}. **Recipe** {recipe}, the same for every \
depth. **Source**: {sources}."""


# =============================================================================
# Data loading
# =============================================================================


@st.cache_data(max_entries=32, show_spinner=False)
def load_points(
    model: BaseModel, task: Task, recipe: str, procedure: str, mark: tuple[Any, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Configurations and the strategies' curves, with speed-up; `mark` changes when the store does.

    The whole model stands beside the cuts of every procedure.
    """
    store = ui.the_store()
    runs = finished_runs(store, model, task, recipe, [procedure])
    scores = known_layer_scores(store, model, task)
    table = summary.configurations(runs)
    speed = summary.speed_by_depth(
        list_latencies(store, model.id, model.revision), model.num_hidden_layers, *HEADLINE_SHAPE
    )
    table = table.merge(speed, on="depth", how="left")
    curves = summary.curves(table, model.num_hidden_layers, scores)
    curves = curves.merge(speed, on="depth", how="left")
    return table, curves


@st.cache_data(max_entries=32, show_spinner=False)
def load_baselines(plans: list[Plan], task: Task, recipe: str, mark: tuple[Any, ...]) -> pd.DataFrame:
    """Those of other models that stand beside the cuts and are measured: configurations with `title` and `number`."""
    tables = []
    for number, plan in enumerate(plans, 1):
        table = summary.configurations(finished_runs(ui.the_store(), plan.model, task, recipe))
        tables.append(table[table["kept_layers"] == plan.kept_layers].assign(title=plan.title, number=number))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def cut_of(model: BaseModel, task: Task, strategy: str, drop_count: int) -> Plan:
    """The chosen cut; contribution scores are measured now where they are not known yet."""
    store, found = ui.the_store(), settings.from_environment()
    if strategy != "contribution" or known_layer_scores(store, model, task) is not None:
        return plan_strategy(store, found, model, task, strategy, drop_count)
    model = pinned(model)
    with ui.told("What each layer contributes is measured once, in about 10 seconds") as report:
        return plan_strategy(store, found, model, task, strategy, drop_count, report)


def pinned(model: BaseModel) -> BaseModel:
    """The model as the commit that the Hub has now, which is remembered; others as they are."""
    if model.revision:
        return model
    with st.spinner(f"Asking the Hub for {model.id}"):
        return find_model(ui.the_store(), settings.from_environment(), model.id, pinned=True)


def specs_of(plan: Plan, task: Task, seeds: list[int]) -> list[RunSpec]:
    """The runs of a cut with these seeds, each with the whole model beside it."""
    choice = st.session_state
    cuts = (plan, plan_whole(plan.model))
    return [spec_of(cut, task, choice.recipe, seed, choice.procedure) for seed in seeds for cut in cuts]


# =============================================================================
# Parts of the page
# =============================================================================


def cards(row: Row | None, plan: Plan, whole: Row | None, task: Task) -> None:
    """Four large numbers, each beside the whole model's."""
    score = sentence_case(metric_of(task.metric).label)
    with st.grid(4, min_column_width=150):
        if row is None:
            for label in (score, "Speed-up", "Parameters", "File size"):
                card(label, "–", "not measured yet")
            return
        timed = pd.notna(row["speedup"])
        beside = {
            score: f"{100 * (row['mean'] - whole['mean']):+.1f} points" if whole else None,
            "Speed-up": f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}" if timed else "not timed yet",
            "Parameters": f"{100 * (row['parameters'] / whole['parameters'] - 1):+.0f} %" if whole else None,
            "File size": f"{row['megabytes'] - whole['megabytes']:+.0f} MB" if whole else None,
        }
        values = {
            score: shown(row["metric"], row["mean"]),
            "Speed-up": f"{row['speedup']:.2f} ×" if timed else "–",
            "Parameters": f"{row['parameters'] / 1e6:.1f} M",
            "File size": f"{row['megabytes']:.0f} MB",
        }
        for label, value in values.items():
            compared = beside[label] or "whole model not measured yet"
            card(label, value, compared if plan.dropped_layers else "whole model")


def card(label: str, value: str, beside: str) -> None:
    """One number; what stands below it compares with the whole model and is neither good nor bad by colour."""
    st.metric(label, value, border=True, delta=beside, delta_color="off", delta_arrow="off")


def buttons(plan: Plan, row: Row | None, task: Task) -> None:
    """Run, or what is happening to the runs that were asked for; looks again every second while they go on."""
    seeds = list(row["seeds"]) if row is not None else []
    watched = [run["key"] for run in live_runs_of(plan)]
    ui.live(lambda: _live(plan, seeds, watched, task), ui.LIVE_SECONDS if watched else None)


def live_runs_of(plan: Plan) -> list[Row]:
    """Runs of this cut, or of the whole model beside it, that wait or go on; those of the cut first."""
    choice, whole = st.session_state, list(range(plan.model.num_hidden_layers))
    wanted = (plan.model.id, choice.task, asdict(RECIPES[choice.recipe]))
    found = [run for run in ui.live_runs() if (run["model"], run["task"], run["recipe_values"]) == wanted]
    cut = [run for run in found if run["kept_layers"] == list(plan.kept_layers)]
    return cut + [run for run in found if run["kept_layers"] == whole and run not in cut]


def _live(plan: Plan, seeds: list[int], watched: list[str], task: Task) -> None:
    """The row of buttons or of progress, in a place of constant height."""
    active = [run for run in live_runs_of(plan) if run["key"] in watched]
    if watched and not active:
        st.rerun()  # the last one has ended: its point goes onto the charts
    with st.container(height=ROW_PIXELS, border=False):
        if active:
            progress_row(active)
        else:
            run_row(plan, seeds, task)


def run_row(plan: Plan, seeds: list[int], task: Task) -> None:
    """Run and its like."""
    choice, place = st.session_state, st.empty()
    free = [seed for seed in range(len(seeds) + MORE_SEEDS + 1) if seed not in seeds]
    with place.container(horizontal=True, vertical_alignment="center"):
        once = st.button("Run", type="primary", icon=":material/play_arrow:", key="run")
        more = st.button("Add two seeds", icon=":material/add:", key="more_seeds", help="Narrows the interval.")
        if choice.pop("told_cached", False):
            st.badge("Answered at once from the cache", icon=":material/bolt:", color="green")
        with st.popover("Command", icon=":material/terminal:", type="tertiary"):
            kept = ",".join(map(str, plan.kept_layers))
            st.code(
                f"python -m pmb run --model {shlex.quote(plan.model.id)} --task {shlex.quote(choice.task)} "
                f"--keep {kept} --recipe {choice.recipe}"
                + (f" --procedure {choice.procedure}" if choice.procedure != PROCEDURES[0] else ""),
                language="bash",
            )
    if once or more:
        with place.container():
            ask_for(plan, free[:MORE_SEEDS] if more else [seeds[0] if seeds else 0], task)


def ask_for(plan: Plan, seeds: list[int], task: Task) -> None:
    """Queue the runs of a cut and of the whole model, after the model has been looked up; a cached answer is marked."""
    with problem_told():
        plan = plan_kept(pinned(plan.model), plan.kept_layers)
        st.session_state["told_cached"] = queued(task, lambda data: specs_of(plan, data, seeds))
    st.rerun()


def ask_for_baselines(model: BaseModel, task: Task) -> None:
    """Queue one run of each model that stands beside the cuts; those that are measured are cached."""
    with problem_told():
        with st.spinner("Asking the Hub"):
            plans = plan_baselines(ui.the_store(), settings.from_environment(), model, pinned=True)
        queued(task, lambda data: [spec_of(plan, data, st.session_state.recipe, 0) for plan in plans])
    st.rerun()


def queued(task: Task, specs_on: Callable[[Task], list[RunSpec]]) -> bool:
    """Queue runs, after their data have been fetched where need be; whether all of them are cached."""
    store = ui.the_store()
    with ui.told(f"Fetching {task.title} from the Hub") as report:
        specs = with_data(store, settings.from_environment(), task, specs_on, report)
    return all(submission.cached for submission in queue.submit(store, specs))


@contextmanager
def problem_told() -> Iterator[None]:
    """A PmbError is told below the buttons when the page is drawn again."""
    try:
        yield
    except PmbError as error:
        st.session_state["told_problem"] = str(error)


def progress_row(active: list[Row]) -> None:
    """How far the runs of this cut are, and Cancel for all of them."""
    run = active[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        if run["state"] == "queued":
            before = queue.waiting_before(ui.the_store(), run["key"]) or 0
            text = f"waiting, {before} before it" if before else "waiting, next in the queue"
        else:
            text = ui.progress_line(run)
        more = f" ({len(active) - 1} more for this cut)" if len(active) > 1 else ""
        st.progress(ui.share_done(run), text=text + more)
        if st.button("Cancel", key="cancel", icon=":material/stop:", disabled=bool(run["cancel_requested"])):
            queue.cancel(ui.the_store(), [one["key"] for one in active])
            st.rerun()


def beside(plans: list[Plan], measured: pd.DataFrame, model: BaseModel, task: Task) -> None:
    """The other models that stand in the chart of depth, with their scores, and a button for those without one."""
    if not plans:
        return
    scores = {row["number"]: summary.score_of(row) for row in ui.records(measured)}
    parts = [f"{n} {plan.title}: {scores.get(n, 'not measured')}" for n, plan in enumerate(plans, 1)]
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        st.caption(ui.plain(f"Stars: {'; '.join(parts)}."), width="content")
        missing = len(scores) < len(plans)
        pressed = missing and st.button(
            "Measure them", key="run_baselines", type="tertiary", icon=":material/play_arrow:"
        )
    if pressed:
        with place.container():
            ask_for_baselines(model, task)


def charts(points: pd.DataFrame, baselines: pd.DataFrame, strategy: str, drop_count: int) -> None:
    """The score against depth and against speed, or the same as a table."""
    if controls.wants_table():
        configuration_table(points)
        return
    name = sentence_case(metric_of(points["metric"].iloc[0]).name)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"**{name} against layers kept**")
        ui.draw(
            accuracy.accuracy_by_depth(points, baselines, strategy, drop_count, ui.theme()),
            accuracy.depth_alt_text(points, baselines),
        )
    timed = points[points["speedup"].notna()].copy()
    with right:
        st.markdown(f"**{name} against speed-up**")
        if timed.empty:
            st.info("Speed is measured with the first run of each depth on this machine.")
            return
        timed["front"] = summary.pareto_front(timed)
        ui.draw(
            accuracy.accuracy_by_speed(timed, strategy, drop_count, ui.theme()),
            accuracy.speed_alt_text(timed),
        )


def configuration_table(points: pd.DataFrame) -> None:
    """What the charts draw, one row a strategy and drop count."""
    shown = pd.DataFrame(
        {
            "strategy": points["strategy"].str.replace("-", " "),
            "dropped": points["drop_count"],
            "layers kept": points["kept_layers"].map(ui.layers),
            metric_of(points["metric"].iloc[0]).label: 100 * points["mean"],
            "from": 100 * points["low"],
            "to": 100 * points["high"],
            "loss, points": -100 * points["difference"],
            "seeds": points["seeds"].map(len),
            "speed-up": points["speedup"],
            "parameters, M": points["parameters"] / 1e6,
            "training, s": points["train_seconds"],
            "source": points["sources"].map(", ".join),
        }
    )
    decimals: dict[str, Any] = {
        str(name): st.column_config.NumberColumn(format="%.1f")
        for name in shown
        if str(name) in ("from", "to", metric_of(points["metric"].iloc[0]).label)
        or str(name).endswith(("points", ", M", ", s"))
    }
    decimals |= {
        "speed-up": st.column_config.NumberColumn(format="%.2f"),
        "strategy": st.column_config.TextColumn(pinned=True),
    }
    decimals["seeds"] = decimals["dropped"] = st.column_config.NumberColumn(format="%d")
    st.dataframe(
        shown, hide_index=True, column_config=decimals, placeholder="–", alt="The configurations that the charts draw."
    )


def recipe_line(name: str) -> str:
    """What a recipe does, in a line."""
    recipe = RECIPES[name]
    return (
        f"{recipe.train_sentences:,} train sentences at most, {recipe.epochs} epochs, "
        f"learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}, dropout {recipe.dropout:g}"
    )


def method(table: pd.DataFrame, model: BaseModel, task: Task, recipe: str) -> None:
    """How the numbers came about."""
    timed = table["speed_device"].dropna()
    devices = ", ".join(sorted(set(table["device"])))
    dates = [datetime.fromtimestamp(seconds, UTC).date().isoformat() for seconds in table["finished_at"]]
    batch, length = HEADLINE_SHAPE
    with st.expander("How this was measured", icon=":material/info:"):
        st.markdown(
            METHOD.format(
                metric=metric_of(task.metric).name,
                dev=f"{task.dev_examples:,}" if task.dev_examples else "the",
                batch=batch,
                length=length,
                device=f" ({timed.iloc[0]})" if len(timed) else "",
                recipe=f"{recipe} ({recipe_line(recipe)})",
                sources=f"{summary.source_words([table])}, on {devices}, {min(dates)} to {max(dates)}"
                if dates
                else "none yet",
            )
        )
        st.caption(f"**{ui.plain(model.title)}**: {ui.plain(model.about)} Licence {model.licence}.")
        st.caption(f"**{ui.plain(task.title)}**: {ui.plain(task.about)} Licence {task.licence}.")
        st.caption("The address bar holds the whole view: copy it to share it.")


# =============================================================================
# Page
# =============================================================================

st.title("How many layers can I drop?", anchor=False)

store, found = ui.the_store(), settings.from_environment()
with st.container(horizontal=True, vertical_alignment="bottom"):
    model, task, strategy = controls.choose_model(), controls.choose_task(), controls.choose_strategy()
    drop_count = controls.choose_drop(drop_counts(strategy, model.num_hidden_layers), DEFAULT_DROP)
    if st.button(
        "Your table",
        icon=":material/upload_file:",
        key="your_table",
        help="Upload a table of your own, or look at the present one.",
    ):
        your_table(task.table)
    with st.popover("More", icon=":material/tune:"):
        recipe = controls.choose_recipe()
        st.caption(recipe_line(recipe))
        procedure = st.selectbox(
            "Procedure",
            list(PROCEDURES),
            key="procedure",
            bind="query-params",
            help="Cut and fine-tune; or fine-tune the whole model, cut it and fine-tune again.",
        )

plan = cut_of(model, task, strategy, drop_count)
mark = change_mark(store)
table, points = load_points(model, task, recipe, procedure, mark)
baseline_plans = plan_baselines(store, found, model)
baselines = load_baselines(baseline_plans, task, recipe, mark)
rows: dict[tuple[int, ...], Row] = {row["kept_layers"]: row for row in ui.records(table)}
chosen, whole = rows.get(plan.kept_layers), rows.get(plan_whole(model).kept_layers)

if chosen is None:
    st.markdown(f"##### This cut has not been measured with recipe {recipe} yet. Press Run.")
else:
    st.markdown(f"##### {summary.answer_sentence(chosen, whole, strategy, chosen['speedup'])}")

scores = known_layer_scores(store, model, task)
st.caption(
    f"Kept {ui.layers(plan.kept_layers)}; dropped {ui.layers(plan.dropped_layers)}. "
    "A darker layer changes the sentence token more."
)
ui.draw(
    strip.layer_strip(plan.kept_layers, model.num_hidden_layers, scores, ui.theme()),
    strip.strip_alt_text(plan.kept_layers, model.num_hidden_layers),
    width="content",
)
if model.shared:
    st.caption("All layers of this model are the same weights: dropping some saves time, but no parameters.")
if task.unfetched:
    st.caption(f"The sentences of {task.title} are not on this machine; the first run fetches them from the Hub.")
if task.warning:
    st.warning(task.warning, icon=":material/warning:")
for note in notes_on(store, task.id):
    st.caption(ui.plain(note))
cards(chosen, plan, whole, task)
buttons(plan, chosen, task)
if problem := st.session_state.pop("told_problem", ""):
    st.warning(ui.plain(problem), icon=":material/warning:")
if points.empty:
    st.info("Nothing has been measured for this choice yet. Press Run; the first point appears when it ends.")
else:
    charts(points, baselines, strategy, drop_count)
    beside(baseline_plans, baselines, model, task)
    method(table, model, task, recipe)
