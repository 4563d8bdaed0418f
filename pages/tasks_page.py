"""Which tasks can bear it? What a strategy loses on each task, and on their average."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import recipe_label
from pmb.catalog.tasks import PAPER_AVERAGE, TASKS, Task
from pmb.charts import losses as loss_charts
from pmb.charts import thresholds as threshold_charts
from pmb.charts.style import FADED
from pmb.insight import averages, summary, threshold
from pmb.insight.undertrained import UNDERTRAINED, undertrained_words
from pmb.insight.zero_layers import ZeroLayerScores
from pmb.lab.answer import sweep_command
from pmb.lab.dev import dev_labels, known_dev_labels
from pmb.lab.plan import known_layer_scores
from pmb.lab.results import predictions_of
from pmb.lab.store import Row, change_mark
from pmb.screen import controls, ui, view
from pmb.screen.data_part import data_part
from pmb.screen.finished import load_configurations, load_runs, load_undertrained, load_zero_layers
from pmb.screen.links import Link, to_explore
from pmb.screen.selection import Selection, selectable_table, selection
from pmb.screen.zero_rows import names_of, with_zero_rows
from pmb.spec import PROCEDURES
from pmb.strategies import drop_counts

# =============================================================================
# Constants
# =============================================================================

THRESHOLD_POINTS = 2  # of the sentence
THRESHOLD_SEEDS = 5  # of so many at most a cut's predictions are read
METHOD = """\
**Loss**: the whole model's score minus the cut one's, in points (scores × 100), each with recipe {recipe}; means over \
seeds. **Interval**: 95 %, Welch's t over seeds. **Score**: GLUE's own for each task, of two the one that the paper \
uses: accuracy; Matthews' correlation for CoLA; Pearson's for STS-B; the matched dev set for MNLI. **Average**: the \
plain mean of the chosen tasks' scores, seed by seed, without undertrained tasks. \
The paper's GLUE average is over {paper}; CoLA and WNLI are left out of it. **Bag of words**: TF-IDF and a linear \
model on the same train items, with zero layers. **Layers that go**: the most whose loss on one half of the dev \
sentences is at most so \
large; the points lost are then counted on the other half. Dev is halved by chance {splits} \
times, with at most {seeds} seeds: the median, and the least and the greatest as a line. **Source**: {sources}."""


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=32)
def load_measured(
    model: BaseModel, tasks: tuple[Task, ...], strategy: str, recipe: str, mark: tuple[Any, ...]
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, int]], dict[str, str], dict[str, ZeroLayerScores]]:
    """By task the strategy's points, its runs (see `runs_by_drop`), why it is undertrained, what zero layers score.

    Of the default procedure alone; tasks without any are left out.
    """
    store = ui.the_store()
    points, drops, undertrained, zero = {}, {}, {}, {}
    for task in tasks:
        runs = load_runs(model, task, recipe, PROCEDURES[0], mark)
        scores = known_layer_scores(store, model, task)
        curves = summary.curves(
            load_configurations(model, task, recipe, PROCEDURES[0], mark), model.num_hidden_layers, scores
        )
        found = curves[curves["strategy"] == strategy]
        if not found.empty:
            points[task.id], drops[task.id] = found, runs_by_drop(runs, found)
            if reason := load_undertrained(model, task, recipe, mark):
                undertrained[task.id] = reason
            if found_zero := load_zero_layers(model, task, recipe, mark):
                zero[task.id] = found_zero
    return points, drops, undertrained, zero


def runs_by_drop(runs: list[Row], points: pd.DataFrame) -> dict[str, int]:
    """How many layers each run of a strategy drops, of few seeds; empty without the whole model and a cut."""
    drops = dict(zip(points["kept_layers"], points["drop_count"], strict=True))
    found: dict[int, list[str]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        if (kept := tuple(run["kept_layers"])) in drops:
            found.setdefault(drops[kept], []).append(run["key"])
    if 0 not in found or len(found) < 2:
        return {}
    return {key: count for count, keys in found.items() for key in keys[:THRESHOLD_SEEDS]}


@ui.loaded(max_entries=64)
def load_threshold(drop_of: dict[str, int], _labels: tuple[int | float, ...], task: Task) -> pd.DataFrame:
    """How many layers go at each allowed loss, from runs (their keys, which say what the labels are) by drop count.

    Empty where the answers of the whole model or of every cut cannot be used.
    """
    predictions: dict[int, list[list[int | float]]] = {}
    for key, answers in predictions_of(ui.the_store(), list(drop_of), task, len(_labels)).items():
        predictions.setdefault(drop_of[key], []).append(answers)
    if 0 not in predictions or len(predictions) < 2:
        return pd.DataFrame()
    return threshold.layers_within(predictions, _labels, task.metric)


@ui.loaded(max_entries=32)
def load_thresholds(
    drops: dict[str, dict[str, int]], tasks: tuple[Task, ...], mark: tuple[Any, ...]
) -> dict[str, pd.DataFrame]:
    """By task how many layers go, where its true dev labels are known."""
    tables = {}
    for task in tasks:
        labels = known_dev_labels(ui.the_store(), task)
        if labels and drops[task.id]:
            tables[task.id] = load_threshold(drops[task.id], labels, task)
    return {name: table for name, table in tables.items() if not table.empty}


@ui.loaded(max_entries=32)
def unread_tasks(tasks: tuple[Task, ...], mark: tuple[Any, ...]) -> list[Task]:
    """Those whose data are here and whose dev labels have not been read."""
    return [task for task in tasks if not task.unfetched and known_dev_labels(ui.the_store(), task) is None]


# =============================================================================
# Parts of the page
# =============================================================================


def row_names(table: pd.DataFrame) -> list[str]:
    """Such as "sst2.3"."""
    return [f"{task}.{count}" for task, count in zip(table["task"], table["drop_count"], strict=True)]


def ways_on(table: pd.DataFrame, of: Selection) -> list[Link]:
    """To Explore with a selected cell."""
    choice = st.session_state
    rows = ui.records(table[of.has(row_names(table))])
    if len(rows) != 1:
        return []
    on = "" if rows[0]["task"] == averages.AVERAGE else rows[0]["task"]
    return [to_explore("Show on Explore", choice.model, choice.strategy, rows[0]["drop_count"], choice.recipe, on)]


def loss_table(table: pd.DataFrame, titles: dict[str, str], zero: dict[str, ZeroLayerScores], of: Selection) -> None:
    """The map as a table, a row a task and drop count, and below them zero layers on each task."""
    shown = pd.DataFrame(
        {
            "task": [titles.get(task, task) for task in table["task"]],
            "dropped": table["drop_count"],
            "points lost": table["loss"],
            "from": table["low"],
            "to": table["high"],
            "score × 100": 100 * table["mean"],
            "seeds": table["seeds"],
        }
    )
    for task, scores in zero.items():
        shown = with_zero_rows(shown, scores, "task", "score × 100", (), of=titles[task])
    one_decimal = st.column_config.NumberColumn(format="%.1f")
    config: dict[str, Any] = dict.fromkeys(("points lost", "from", "to", "score × 100"), one_decimal)
    config |= {"task": st.column_config.TextColumn(pinned=True)}
    selectable_table(of, shown, config, "What the map draws.", ways_on(table, of))


def thresholds(
    num_hidden_layers: int,
    tasks: list[Task],
    drops: dict[str, dict[str, int]],
    mark: tuple[Any, ...],
    chosen: set[str],
    undertrained: dict[str, str],
) -> None:
    """How many layers go at a loss of 1, 2 or 3 points, chosen on one half of dev and reported on the other.

    `drops`: see `runs_by_drop`, by task; `chosen`: the tasks of which something is selected above; the others fade.
    `undertrained`: tasks of which the sentence does not speak.
    """
    view.section("How many layers go at a loss of 1, 2 or 3 points?")
    store, found = ui.the_store(), settings.from_environment()
    for task in unread_tasks(tuple(tasks), mark) if ui.may_write() else ():
        with ui.told(f"Reading the dev labels of {ui.plain(task.title)}, once") as report:
            dev_labels(store, found, task, report)
        mark = change_mark(store)
    tables = load_thresholds(drops, tuple(tasks), mark)
    if not tables:
        st.info("This needs a cut and the whole model beside it, and the data of the task on this machine.")
        return
    titles = marked_titles({task.id: task.title for task in tasks}, undertrained)
    counted = {task: table for task, table in tables.items() if task not in undertrained}
    sentence = "Every task measured here is undertrained."
    if counted:
        sentence = threshold.threshold_sentence(counted, plain_titles(titles), THRESHOLD_POINTS, num_hidden_layers)
    view.words(sentence)
    view.note("Line: what another half of the dev sentences would have chosen.")
    drawn = {
        task: table.assign(opacity=FADED if chosen and task not in chosen else 1.0) for task, table in tables.items()
    }
    view.draw_once(
        lambda: threshold_charts.threshold_chart(drawn, titles, num_hidden_layers, ui.theme()),
        "Layers that can be dropped",
        lambda: sentence,
        *(tuple((task, *drops[task]) for task in tables), mark, frozenset(chosen)),
    )
    threshold_table(tables, titles)


def marked_titles(titles: dict[str, str], undertrained: dict[str, str]) -> dict[str, str]:
    """The titles of tasks with a star at those that are undertrained, as short as a chart needs it."""
    return titles | {task: f"{title} *" for task, title in titles.items() if task in undertrained}


def plain_titles(titles: dict[str, str]) -> dict[str, str]:
    """The titles of tasks for a sentence in Markdown: a table has the name that its user gave it."""
    return {name: ui.plain(title) for name, title in titles.items()}


def threshold_table(tables: dict[str, pd.DataFrame], titles: dict[str, str]) -> None:
    """The same as a table, a row a task and allowed loss."""
    data = pd.concat([table.assign(task=titles[task]) for task, table in tables.items()])
    names = {
        "task": "task",
        "points": "loss of at most, points",
        "dropped": "layers that go",
        "dropped_low": "fewest",
        "dropped_high": "most",
        "loss": "lost on the other half, points",
        "loss_low": "least",
        "loss_high": "greatest",
    }
    one_decimal = st.column_config.NumberColumn(format="%.1f")
    config: dict[str, Any] = {names[name]: one_decimal for name in ("loss", "loss_low", "loss_high")}
    config |= {"task": st.column_config.TextColumn(pinned=True)}
    shown = data[list(names)].rename(columns=names)
    view.table(shown, "How many layers go at each allowed loss.", config)


# =============================================================================
# Page
# =============================================================================

with controls.row():
    model, strategy = controls.choose_model(), controls.choose_strategy()
    allowed = [count for count in drop_counts(strategy, model.num_hidden_layers) if count]
    drop_count = controls.choose_drop(allowed, model.num_hidden_layers // 2)
    recipe = controls.choose_recipe(model)

mark = change_mark(ui.the_store())
every = controls.tasks_with(model, recipe)
titles = {name: task.title for name, task in every.items()}
measured, drops, every_undertrained, every_zero = load_measured(model, tuple(every.values()), strategy, recipe, mark)
chosen = st.multiselect(
    "Tasks",
    list(every),
    default=[task for task in PAPER_AVERAGE if task in measured] or list(measured),
    key="tasks",
    bind="query-params",
    help="The average is over these; the paper's is over seven of GLUE.",
)
points = {task: measured[task] for task in chosen if task in measured}
undertrained = {task: reason for task, reason in every_undertrained.items() if task in points}
zero = {task: every_zero[task] for task in points if task in every_zero}
table = averages.losses(points, undertrained)
view.answer(
    averages.loss_sentence(
        table, plain_titles(titles), strategy, drop_count, model.num_hidden_layers, tuple(undertrained)
    )
)
if points:
    sources = {source for found in points.values() for names in found["sources"] for source in names}
    here = table[(table["drop_count"] == drop_count) & table["loss"].notna()]
    ui.badges(sources, int(here["seeds"].min()) if len(here) else None)
paper = ", ".join(TASKS[task].title for task in PAPER_AVERAGE)
if set(chosen) == set(PAPER_AVERAGE) and len(points) == len(chosen) and not undertrained:
    view.note("These are the seven tasks of the paper's GLUE average.")
elif missing := [TASKS[task].title for task in PAPER_AVERAGE if task not in points or task in undertrained]:
    view.note(f"The paper's GLUE average is over seven tasks; not among these here: {', '.join(missing)}.")
if unmeasured := [titles[task] for task in chosen if task not in measured]:
    st.info(
        f"Not measured with strategy {strategy} and recipe {recipe_label(recipe)}: {ui.plain(', '.join(unmeasured))}."
        + ui.by_right(" Explore runs them one by one; `python -m pmb sweep --task …` runs every drop count.")
    )
if undertrained:
    view.note(ui.plain("* " + undertrained_words({titles[task]: reason for task, reason in undertrained.items()})))
drawn = table[(table["drop_count"] > 0) & table["loss"].notna()]
if drawn.empty:
    st.info("Nothing can be compared yet: a cut needs the whole model beside it.")
else:
    cuts = table[table["drop_count"] > 0].reset_index(drop=True)
    selected = selection(
        [*row_names(cuts), *(name for task, scores in zero.items() for name in names_of(scores, f"{task}."))]
    )
    marked = marked_titles(titles, undertrained)
    cuts["note"] = [f"{UNDERTRAINED}: {undertrained[task]}" if task in undertrained else "" for task in cuts["task"]]
    view.heading("Points lost against the whole model")
    view.note("Coloured and bold: the 95 % interval leaves out 0. Pale: no clear difference from the whole model.")
    view.draw_once(
        lambda: loss_charts.loss_map(cuts.assign(opacity=selected.opacity(row_names(cuts))), marked, ui.theme()),
        "Points lost against the whole model",
        lambda: loss_charts.loss_alt_text(cuts, marked),
        *(model.id, model.revision, tuple(points), strategy, recipe, mark, selected.chosen),
    )
    in_full = titles | {task: f"{titles[task]} ({UNDERTRAINED})" for task in undertrained}
    loss_table(cuts, in_full, zero, selected)
    faded_but = {task for task, has in zip(cuts["task"], selected.has(row_names(cuts)), strict=True) if has}
    faded_but -= {averages.AVERAGE}
    thresholds(model.num_hidden_layers, [every[task] for task in points], drops, mark, faded_but, undertrained)
data_part(model, [every[task] for task in measured], recipe, mark)
if not drawn.empty:
    view.method(
        METHOD.format(
            recipe=recipe_label(recipe),
            paper=paper,
            splits=threshold.SPLITS,
            seeds=THRESHOLD_SEEDS,
            sources=summary.source_words(points.values()),
        )
    )
view.made(
    [sweep_command(model.id, name, recipe, [strategy]) for name in points],
    view.runs_of(model, [every[task] for task in points], recipe),
)
