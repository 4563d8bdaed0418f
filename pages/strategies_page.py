"""Which layers should go? The strategies side by side at one drop count, on each task and on average."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import recipe_label
from pmb.catalog.tasks import Task
from pmb.charts.contest import contest_alt_text, contest_chart
from pmb.insight import claims, summary
from pmb.insight.claims import Measured
from pmb.insight.contest import contest, contest_sentence, without_best
from pmb.insight.metrics import metric_of
from pmb.insight.undertrained import UNDERTRAINED, undertrained_words
from pmb.insight.zero_layers import BAG_OF_WORDS, ZeroLayerScores
from pmb.lab.answer import sweep_command
from pmb.lab.plan import Plan, known_layer_scores, plan_baselines, plan_strategy, plan_whole
from pmb.lab.results import configuration_name
from pmb.lab.sources import find_model
from pmb.lab.store import change_mark
from pmb.screen import controls, offers, ui, view
from pmb.screen.finished import load_configurations, load_undertrained, load_zero_layers
from pmb.screen.links import Link, to_compare, to_explore
from pmb.screen.selection import Selection, selectable_table, selection
from pmb.screen.zero_rows import names_of, with_zero_rows
from pmb.spec import PROCEDURES
from pmb.strategies import STRATEGIES, drop_counts

# =============================================================================
# Constants
# =============================================================================

AVERAGE = "average"
NOT_MEASURED = "No strategy has been measured at this drop count with this recipe yet."
ALL_UNDERTRAINED = (
    "With {drop_count} of {total} layers dropped no strategy can be called better: every task measured here is "
    "undertrained."
)
METHOD = """\
**Score**: GLUE's own for each task, recipe {recipe}, mean over seeds. **Interval**: 95 %, Student's t over seeds. \
**Average**: the plain mean over the tasks on which every strategy is measured at this drop count, seed by seed; \
undertrained tasks are left out, and nothing is called best there. **Not clearly different**: the interval of the \
difference from the highest mean (Welch's) holds 0; it is widened to the number of pairs of cuts (Bonferroni), since \
which one is highest is not known beforehand. Two strategies that keep the same layers are one \
cut and one run. **Bag of words**: TF-IDF and a linear model on the same train items, with \
zero layers. **Source**: {sources}."""


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=16)
def load_points(
    model: BaseModel, tasks: tuple[Task, ...], recipe: str, mark: tuple[Any, ...]
) -> tuple[dict[str, pd.DataFrame], dict[str, str], dict[str, ZeroLayerScores]]:
    """By task every strategy's measured points, why the whole model is undertrained, and what zero layers score."""
    store, points, undertrained, zero = ui.the_store(), {}, {}, {}
    for task in tasks:
        table = load_configurations(model, task, recipe, PROCEDURES[0], mark)
        if not table.empty:
            points[task.id] = summary.curves(table, model.num_hidden_layers, known_layer_scores(store, model, task))
            if reason := load_undertrained(model, task, recipe, mark):
                undertrained[task.id] = reason
            if scores := load_zero_layers(model, task, recipe, mark):
                zero[task.id] = scores
    return points, undertrained, zero


@ui.loaded(max_entries=16)
def load_distilled(
    model: BaseModel, tasks: tuple[Task, ...], recipe: str, depth: int, mark: tuple[Any, ...]
) -> dict[str, dict[str, float]]:
    """By task the mean scores of whole models of that depth that stand beside this one, by their names."""
    store, found = ui.the_store(), settings.from_environment()
    plans = [p for p in plan_baselines(store, found, model) if len(p.kept_layers) == depth and not p.dropped_layers]
    scores: dict[str, dict[str, float]] = {}
    for task in tasks:
        for plan in plans:
            table = load_configurations(plan.model, task, recipe, PROCEDURES[0], mark)
            whole = table[table["drop_count"] == 0]
            if len(whole):
                scores.setdefault(task.id, {})[plan.title] = float(whole["mean"].iloc[0])
    return scores


@dataclass(frozen=True, slots=True)
class Contests:
    """What is measured at a drop count, by task, the average first, and what that says."""

    tables: dict[str, pd.DataFrame]
    lines: dict[str, dict[str, float]]
    where: dict[str, str]  # such as "on SST-2"
    answer: str
    sources: set[str]
    complete: list[str]  # those with every strategy
    counted: list[str]  # those of them that are not undertrained


@ui.loaded(max_entries=64)
def load_contests(
    model: BaseModel,
    tasks: tuple[Task, ...],
    shown: tuple[str, ...],
    recipe: str,
    drop_count: int,
    mark: tuple[Any, ...],
) -> Contests:
    """What is measured on the tasks that are shown, and what that says."""
    points, undertrained, zero = load_points(model, tasks, recipe, mark)
    total, possible = model.num_hidden_layers, claims.reachable(model.num_hidden_layers, drop_count)
    here = {task: points[task][points[task]["drop_count"] == drop_count] for task in shown}
    tables = {task: of_task(rows) for task, rows in here.items()}
    tables |= {task: without_best(tables[task]) for task in undertrained if task in tables}
    complete = [task for task in shown if set(possible) <= set(tables[task]["strategy"])]
    counted = [task for task in complete if task not in undertrained]
    of_shown = tuple(task for task in tasks if task.id in shown)
    distilled = load_distilled(model, of_shown, recipe, total - drop_count, mark)
    bags = {task: {BAG_OF_WORDS: scores.bag_of_words.mean} for task, scores in zero.items()}
    lines = {task: whole_score(points[task]) | distilled.get(task, {}) | bags.get(task, {}) for task in shown}
    measured = Measured(model.title, total, {task: points[task] for task in counted})
    if len(counted) > 1 and (scores := claims.scores_at(measured, possible, drop_count)):
        tables = {AVERAGE: contest(scores, kept_on_all([tables[task] for task in counted]))} | tables
        lines[AVERAGE] = mean_lines([lines[task] for task in counted])
    where = {task.id: f"on {task.title}" for task in of_shown} | {AVERAGE: f"on average over {len(counted)} tasks"}
    first = next((task for task in tables if task not in undertrained), None)
    answer = contest_sentence(tables[first], drop_count, total, where[first]) if first else NOT_MEASURED
    if tables and not first:
        answer = ALL_UNDERTRAINED.format(drop_count=drop_count, total=total)
    sources = {name for rows in here.values() for names in rows["sources"] for name in names}
    return Contests(tables, lines, where, answer, sources, complete, counted)


# =============================================================================
# Parts of the page
# =============================================================================


def of_task(points: pd.DataFrame) -> pd.DataFrame:
    """The contest on one task, of points of one drop count."""
    rows = points.to_dict("records")
    return contest({r["strategy"]: r["scores"] for r in rows}, {r["strategy"]: r["kept_layers"] for r in rows})


def whole_score(points: pd.DataFrame) -> dict[str, float]:
    """The whole model's mean on one task."""
    whole = points[points["drop_count"] == 0]["mean"]
    return {"whole model": float(whole.iloc[0])} if len(whole) else {}


def kept_on_all(of_tasks: list[pd.DataFrame]) -> dict[str, tuple[int, ...]]:
    """The layers that each strategy keeps; none where they differ by task, as those of contribution may."""
    kept: dict[str, set[tuple[int, ...]]] = {}
    for table in of_tasks:
        for row in table.to_dict("records"):
            kept.setdefault(row["strategy"], set()).add(row["kept_layers"])
    return {name: cuts.pop() if len(cuts) == 1 else () for name, cuts in kept.items()}


def mean_lines(of_tasks: list[dict[str, float]]) -> dict[str, float]:
    """The mean over tasks of those models that are measured on all of them."""
    common = [name for name in of_tasks[0] if all(name in lines for lines in of_tasks)]
    return {name: sum(lines[name] for lines in of_tasks) / len(of_tasks) for name in common}


def fewest_seeds(tables: dict[str, pd.DataFrame]) -> int:
    """Of all that is compared."""
    return min(int(table["seeds"].min()) for table in tables.values())


def plans_for(model: BaseModel, drop_count: int, strategies: list[str], task: Task, measuring: bool) -> list[Plan]:
    """The cuts of these strategies with the whole model; contribution where its scores are known or measured now."""
    store, found = ui.the_store(), settings.from_environment()
    model = find_model(store, found, model.id, pinned=measuring)
    names = [n for n in strategies if measuring or n != "contribution" or known_layer_scores(store, model, task)]
    return [plan_whole(model), *(plan_strategy(store, found, model, task, name, drop_count) for name in names)]


def panel(
    contests: Contests,
    tables: dict[str, pd.DataFrame],
    possible: list[str],
    of: tuple[Hashable, ...],
    task: str,
    heading: str,
    axis: str,
    undertrained: str = "",
) -> None:
    """One chart with its heading. `of`: where its numbers come from, and what of them is selected."""
    view.heading(ui.plain(heading), undertrained)
    view.draw_once(
        lambda: contest_chart(tables[task], contests.lines[task], possible, axis, ui.theme()),
        f"Scores of the strategies, {heading}",
        lambda: contest_alt_text(tables[task], contests.where[task]),
        task,
        *of,
    )


def row_names(table: pd.DataFrame, task: str) -> list[str]:
    """Such as "sst2.top"."""
    return [f"{task}.{strategy}" for strategy in table["strategy"]]


def contest_table(
    tables: dict[str, pd.DataFrame],
    titles: dict[str, str],
    zero: dict[str, ZeroLayerScores],
    of: Selection,
    links: list[Link],
) -> None:
    """What the charts draw, a row a task and strategy, and below them zero layers on each task."""
    found = pd.concat([table.assign(task=titles.get(task, task)) for task, table in tables.items()])
    shown = pd.DataFrame(
        {
            "task": found["task"],
            "strategy": found["strategy"].str.replace("-", " "),
            "layers kept": found["kept_layers"].map(lambda kept: ui.layers(kept) if kept else "differ by task"),
            "score × 100": 100 * found["mean"],
            "from": 100 * found["low"],
            "to": 100 * found["high"],
            "behind the best, points": found["behind"],
            "seeds": found["seeds"],
            "not clearly worse": found["in_best_group"],
        }
    )
    for task, scores in zero.items():
        shown = with_zero_rows(shown, scores, "strategy", "score × 100", ("from", "to"), more={"task": titles[task]})
    one_decimal = st.column_config.NumberColumn(format="%.1f")
    config: dict[str, Any] = dict.fromkeys(("score × 100", "from", "to", "behind the best, points"), one_decimal)
    config |= {"task": st.column_config.TextColumn(pinned=True)}
    selectable_table(of, shown, config, "What the charts draw.", links)


def ways_on(tables: dict[str, pd.DataFrame], of: Selection, model: BaseModel, drop_count: int) -> list[Link]:
    """To Explore with a selected row; to Compare with two of one task."""
    if not of.chosen:
        return []
    choice = st.session_state
    rows = [(task, row) for task, table in tables.items() for row in ui.records(table[of.has(row_names(table, task))])]
    if len(rows) == 1:
        task, row = rows[0]
        on = "" if task == AVERAGE else task
        return [to_explore("Show on Explore", model.id, row["strategy"], drop_count, choice.recipe, on)]
    names = [configuration_name(model.id, choice.recipe, row["kept_layers"]) for _, row in rows]
    if len(rows) == 2 and rows[0][0] == rows[1][0] != AVERAGE and names[0] != names[1]:
        return [to_compare("Compare the two", rows[0][0], *names)]
    return []


# =============================================================================
# Page
# =============================================================================

with controls.row():
    model = controls.choose_model()
    total = model.num_hidden_layers
    drop_count = controls.choose_drop([k for k in drop_counts("top", total) if k], total // 2)
    recipe = controls.choose_recipe(model)

mark = change_mark(ui.the_store())
every = controls.tasks_with(model, recipe)
titles = {name: task.title for name, task in every.items()}
points, undertrained, zero = load_points(model, tuple(every.values()), recipe, mark)
chosen = st.multiselect(
    "Tasks",
    list(every),
    default=list(points) or [next(iter(every))],
    key="tasks",
    bind="query-params",
    help="The average is over those of them on which every strategy is measured.",
)
possible = claims.reachable(total, drop_count)
shown = {task: points[task] for task in chosen if task in points and drop_count in set(points[task]["drop_count"])}
contests = load_contests(model, tuple(every.values()), tuple(shown), recipe, drop_count, mark)
tables, complete = contests.tables, contests.complete

with st.container():  # so that the charts keep their places, and are not drawn anew, where a note comes or goes
    view.answer(ui.plain(contests.answer))
    if shown:
        ui.badges(contests.sources, fewest_seeds(tables))
    if impossible := [name.replace("-", " ") for name in STRATEGIES if name not in possible]:
        view.note(f"{', '.join(impossible).capitalize()} cannot drop {drop_count} of {total} layers.")
    if AVERAGE in tables and (partly := [titles[task] for task in shown if task not in [*complete, *undertrained]]):
        view.note(f"Not in the average, since not every strategy is measured there: {ui.plain(', '.join(partly))}.")
    reasons = {titles[task]: undertrained[task] for task in shown if task in undertrained}
    if reasons:
        view.note(ui.plain(undertrained_words(reasons)))
    offers.tell_problem()
if tables:
    zero = {task: zero[task] for task in shown if task in zero}
    selected = selection(
        [
            *(name for task, table in tables.items() for name in row_names(table, task)),
            *(name for task, scores in zero.items() for name in names_of(scores, f"{task}.")),
        ]
    )
    tables = {task: table.assign(opacity=selected.opacity(row_names(table, task))) for task, table in tables.items()}
    of = (model.id, model.revision, tuple(shown), recipe, drop_count, mark, selected.chosen)
    names = list(dict.fromkeys(name for found_lines in contests.lines.values() for name in found_lines))
    view.note(
        f"Shaded: not clearly different from the best. Dashed: {ui.plain(', '.join(names)) or 'none'}. "
        "Horizontal lines are 95 % intervals over seeds."
    )
    draw_panel = partial(panel, contests, tables, possible, of)
    with st.container():
        if AVERAGE in tables:
            draw_panel(AVERAGE, f"Average of {len(contests.counted)} tasks", "mean score × 100")
    each = list(shown)
    for start in range(0, len(each), 2):  # a row each, so that a phone has them in this order
        for task, column in zip(each[start : start + 2], st.columns(min(2, len(shown)), gap="medium"), strict=False):
            with column:
                draw_panel(task, titles[task], metric_of(every[task].metric).axis, undertrained.get(task, ""))
    marked = titles | {task: f"{titles[task]} ({UNDERTRAINED})" for task in undertrained}
    contest_table(tables, marked, zero, selected, ways_on(tables, selected, model, drop_count))
if missing := [task for task in chosen if task not in complete and not every[task].unfetched]:
    st.markdown(f"Not every strategy is measured on {ui.plain(', '.join(titles[task] for task in missing))}.")
    plans_on = partial(plans_for, model, drop_count, possible)
    offers.offer("queue_missing", [every[task] for task in missing], recipe, plans_on)
if away := [titles[task] for task in chosen if task not in complete and every[task].unfetched]:
    not_here = f"The sentences of {ui.plain(', '.join(away))} are not on this machine"
    st.caption(not_here + ui.by_right(": a first run on Explore fetches them.", "."))
if tables:
    view.method(METHOD.format(recipe=recipe_label(recipe), sources=summary.source_words(shown.values())))
view.made(
    [sweep_command(model.id, task, recipe, possible, [drop_count]) for task in chosen],
    view.runs_of(model, [every[task] for task in chosen], recipe),
)
