"""Does it hold? The paper's claims with their published evidence, what this lab measured, and a verdict on each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BASELINES, MODELS, BaseModel
from pmb.catalog.recipes import recipe_label
from pmb.catalog.tasks import Task
from pmb.charts.published import lost_alt_text, lost_by_strategy
from pmb.insight import claims, estimate, published, summary
from pmb.insight.claims import CLAIMS, Claim, Measured, Verdict
from pmb.insight.undertrained import MOST_POINTS_BELOW, undertrained_words
from pmb.lab.answer import HEADLINE_SHAPE, sweep_command
from pmb.lab.plan import Plan, known_layer_scores, plan_strategy, plan_whole, spec_of
from pmb.lab.probes import probes_of
from pmb.lab.sources import find_model
from pmb.lab.store import change_mark, list_latencies
from pmb.screen import controls, offers, ui, view
from pmb.screen.finished import is_whole, load_configurations, load_runs, load_undertrained
from pmb.spec import PROCEDURES

# =============================================================================
# Constants
# =============================================================================

PUBLISHED_LAYERS = {"BERT": 12, "XLNet": 12, "DistilBERT": 6}
BADGES: dict[str, tuple[str, Any]] = {
    claims.HOLDS: (":material/check:", "green"),
    claims.FAILS: (":material/close:", "red"),
    claims.NOISE: (":material/waves:", "gray"),
    claims.UNMEASURED: (":material/hourglass_empty:", "blue"),
}
METHOD = """\
**Published**: {source}; no seeds and no intervals are published. **Measured**: recipe {recipe}, means over seeds, \
95 % intervals over seeds (Student's t; of differences Welch's). Undertrained tasks are left out: those on which the \
whole model is more than {below:g} points below its published score, or not clearly better than a bag of words or one \
answer to all. **Verdict**: a claim holds where every interval says so; it does not \
hold where one contradicts it, widened to the number of comparisons (Bonferroni); else it is within noise. "Near" and \
"equals" are within {near:g} points, "hardly anything" and "level" within {hardly:g}; half the time is at least \
{speedup:g} times as fast. A third and half of the layers are of each model's own."""


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=16)
def load_measured(model: BaseModel, tasks: tuple[Task, ...], recipe: str, mark: tuple[Any, ...]) -> Measured:
    """What the store has of a model with a recipe, on the tasks that it has learned."""
    store, half = ui.the_store(), claims.half(model.num_hidden_layers)
    points, distilled, cost, probed, undertrained = {}, {}, [], [], {}
    small = distilled_of(model)
    beside = find_model(store, settings.from_environment(), small) if small else None
    for task in tasks:
        cost += load_runs(model, task, recipe, PROCEDURES[0], mark)
        if reason := load_undertrained(model, task, recipe, mark):
            undertrained[task.title] = reason
            continue
        probed += [row for row in probes_of(store, model, task, recipe) if row["state"] == "done"]
        table = load_configurations(model, task, recipe, PROCEDURES[0], mark)
        if table.empty:
            continue
        points[task.title] = summary.curves(table, model.num_hidden_layers, known_layer_scores(store, model, task))
        if beside and not load_undertrained(beside, task, recipe, mark):
            others = load_runs(beside, task, recipe, PROCEDURES[0], mark)
            distilled[task.title] = {run["seed"]: run["score"] for run in others if is_whole(run)}
    latencies = list_latencies(store, model.id, model.revision)
    speed = summary.speed_by_depth(latencies, model.num_hidden_layers, *HEADLINE_SHAPE)
    timed = {
        "fine-tuning": summary.tuning_speedup(half, cost, model.num_hidden_layers),
        "inference": summary.inference_speedup(half, speed),
    }
    return Measured(
        title=model.title,
        num_hidden_layers=model.num_hidden_layers,
        points=points,
        probes=claims.probe_rows(probed),
        speedups={name: speedup for name, speedup in timed.items() if speedup},
        distilled=distilled,
        distilled_title=beside.title if beside else "",
        undertrained=undertrained,
    )


@ui.loaded(max_entries=16)
def load_verdicts(
    model: BaseModel, tasks: tuple[Task, ...], recipe: str, mark: tuple[Any, ...]
) -> tuple[Measured, list[Verdict]]:
    """What is measured of the model, and what each claim is worth by it and by the models that the claim names."""
    store, found = ui.the_store(), settings.from_environment()
    known = {"": load_measured(model, tasks, recipe, mark)}
    for name in {name for claim in CLAIMS for name in claim.models} | {claims.BERT}:
        known[name] = load_measured(find_model(store, found, name), tasks, recipe, mark)
    return known[""], [claim.judge(known) for claim in CLAIMS]


def plans_for(claim: Claim, model: BaseModel, task: Task, measuring: bool) -> list[Plan]:
    """The cuts that decide a claim, with the whole model; contribution where its scores are known or measured now."""
    store, found = ui.the_store(), settings.from_environment()
    models = [find_model(store, found, name, pinned=measuring) for name in claim.models] or [model]
    if claim.distilled:
        models = [one for one in models if distilled_of(one)] or [find_model(store, found, claims.BERT, measuring)]
    plans = []
    for one in models:
        plans.append(plan_whole(one))
        for strategy, count in claim.needs(one.num_hidden_layers):
            if measuring or strategy != "contribution" or known_layer_scores(store, one, task):
                plans.append(plan_strategy(store, found, one, task, strategy, count))
        if claim.distilled:
            plans.append(plan_whole(find_model(store, found, distilled_of(one), pinned=measuring)))
    return plans


def distilled_of(model: BaseModel) -> str:
    """The name of a distilled model with half as many layers; empty where there is none."""
    half = claims.half(model.num_hidden_layers)
    named = [row for row in BASELINES.get(model.id, ()) if row.depth == half]
    return next((row.model for row in named if MODELS[row.model].num_hidden_layers == half), "")


# =============================================================================
# Parts of the page
# =============================================================================


def ledger_row(claim: Claim, verdict: Verdict, evidence: str, model: BaseModel, task: Task, recipe: str) -> None:
    """A claim with its evidence on both sides, and what would decide it where it is not measured."""
    icon, colour = BADGES[verdict.verdict]
    with st.container(border=True, key=f"claim-{claim.number}", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{claim.number}. {claim.text}**", width="content")
            st.badge(verdict.verdict, icon=icon, color=colour)
        left, right = st.columns(2, gap="medium")
        left.markdown(f":gray[Published]  \n{view.unparted(ui.plain(evidence))}")
        with right:
            if verdict.measured:
                st.markdown(f":gray[Measured]  \n{view.unparted(ui.plain(verdict.measured))}")
            elif claim.needs(model.num_hidden_layers):
                open_claim(claim, model, task, recipe)
            else:
                names = " and ".join(MODELS[name].title for name in claim.models)
                needed = f":gray[Measured]  \nClassifiers on the layers of {names} are needed"
                st.markdown(needed + ui.by_right("; Layers measures them.", "."))


def open_claim(claim: Claim, model: BaseModel, task: Task, recipe: str) -> None:
    """The runs that would decide a claim, their number and time, and a button that queues them."""

    def plans_on(data: Task, measuring: bool) -> list[Plan]:
        return plans_for(claim, model, data, measuring)

    titles = dict.fromkeys(plan.model.title for plan in plans_on(task, False))
    st.markdown(f":gray[Measured]  \nNot yet: {ui.plain(' and '.join(titles))} on {ui.plain(task.title)}.")
    if not offers.offer(f"queue-{claim.number}", [task], recipe, plans_on):
        st.caption("These runs are done and do not decide it; choose another task above.")


def open_probes(claim: Claim, task: Task, recipe: str) -> None:
    """The measurements of layers that would decide a claim, and the way to them."""
    store, found = ui.the_store(), settings.from_environment()
    plans = [plan_whole(find_model(store, found, name)) for name in claim.models]
    specs = [spec_of(plan, task, recipe, seed) for plan in plans for seed in offers.SEEDS]
    seconds = offers.seconds_for(specs, plans)
    about = f", about {estimate.duration(seconds)} here" if seconds else ""
    names = " and ".join(plan.model.title for plan in plans)
    st.markdown(f":gray[Measured]  \nNot yet: the layers of {names} on {ui.plain(task.title)}.")
    model, beside = claim.models
    st.page_link(
        "pages/layers_page.py",
        label=ui.by_right(
            f"Measure them on Layers: {len(specs)} fine-tunings{about}",
            f"Layers: {len(specs)} fine-tunings would tell",
        ),
        icon=":material/layers:",
        query_params={"model": model, "beside": beside, "task": task.id, "recipe": recipe},
    )


def ledger_rows(verdicts: Sequence[Verdict], evidence: dict[int, str]) -> pd.DataFrame:
    """The ledger, a row a claim."""
    rows = [
        {
            "claim": f"{claim.number}. {claim.text}",
            "verdict": verdict.verdict,
            "published": evidence[claim.number],
            "measured": verdict.measured or "–",
        }
        for claim, verdict in zip(CLAIMS, verdicts, strict=True)
    ]
    return pd.DataFrame(rows)


def wants_table() -> bool:
    """Whether the ledger is to be shown as a table: short rows instead of a card a claim."""
    view = st.segmented_control(
        "View",
        ["Cards", "Table"],
        default="Cards",
        required=True,
        key="view",
        label_visibility="collapsed",
        bind="query-params",
    )
    return view == "Table"


def side_by_side(measured: Measured, task: Task, *of: Hashable) -> None:
    """Points lost by strategy, published at the left, measured at the right; never in one chart."""
    view.section("Published and measured, side by side")
    name = st.segmented_control(
        "Published model",
        list(PUBLISHED_LAYERS),
        default="BERT",
        required=True,
        key="published",
        bind="query-params",
    )
    points = measured.points.get(task.title)
    own = summary.points_lost(points) if points is not None else pd.DataFrame()
    left, right = st.columns(2, gap="medium")
    with left:
        view.heading(f"Published: {name}, mean of seven GLUE tasks")
        losses_part(published.losses(name), PUBLISHED_LAYERS[name], f"Published, {name}", name)
    with right:
        view.heading(f"Measured: {ui.plain(measured.title)}, {ui.plain(task.title)}")
        if own.empty:
            st.info("Nothing has been measured for this choice, or the whole model is undertrained on this task.")
        else:
            source = f"Measured, {measured.title} on {task.title}"
            losses_part(own, measured.num_hidden_layers, source, *of)


def losses_part(losses: pd.DataFrame, total: int, source: str, *of: Hashable) -> None:
    """Points lost of one source, as a chart and as a table with a column a drop count."""
    words = lost_alt_text(losses, source)
    view.draw_once(
        lambda: lost_by_strategy(losses, total, ui.theme()), "Points lost by strategy", lambda: words, source, *of
    )
    wide = losses.pivot(index="strategy", columns="drop_count", values="lost")
    wide.columns = pd.Index([f"{count} dropped" for count in wide.columns])
    config: dict[str, Any] = dict.fromkeys(wide.columns, st.column_config.NumberColumn(format="%.1f"))
    config |= {"strategy": st.column_config.TextColumn(pinned=True)}
    wide = wide.reset_index()
    wide["strategy"] = wide["strategy"].str.replace("-", " ")
    view.table(wide, words, config)


# =============================================================================
# Page
# =============================================================================

with controls.row():
    model, task = controls.choose_model(), controls.choose_task()
    recipe = controls.choose_recipe(model, task)

mark = change_mark(ui.the_store())
every = tuple(controls.tasks_with(model, recipe).values())
own, verdicts = load_verdicts(model, every, recipe, mark)
evidence = published.evidence()

view.answer(claims.ledger_sentence(verdicts, ui.plain(model.title), recipe_label(recipe)))
learned = ", ".join(own.points) or "no task yet"
sources = summary.source_words(own.points.values())
view.note(
    ui.plain(f"Measured: {model.title} on {learned}{f' ({sources})' if sources else ''}."),
    f" The task above is the one of the runs that {ui.by_right('a row offers', 'would tell')}.",
)
if own.undertrained:
    view.note(ui.plain(undertrained_words(own.undertrained)))
offers.tell_problem()
ledger = ledger_rows(verdicts, evidence)
if wants_table():
    view.table(ledger, "The paper's claims, with the evidence and a verdict on each.")
else:
    view.keep_table(ledger)
    for claim, verdict in zip(CLAIMS, verdicts, strict=True):
        ledger_row(claim, verdict, evidence[claim.number], model, task, recipe)
side_by_side(own, task, model.id, model.revision, task.id, recipe, mark)
view.method(
    METHOD.format(
        source=published.SOURCE,
        recipe=recipe_label(recipe),
        near=claims.NEAR_POINTS,
        hardly=claims.HARDLY_POINTS,
        speedup=claims.LEAST_SPEEDUP,
        below=MOST_POINTS_BELOW,
    )
)
learned_on = [data for data in every if data.title in own.points]
view.made(
    [sweep_command(model.id, data.id, recipe) for data in learned_on],
    view.runs_of(model, learned_on, recipe),
)
