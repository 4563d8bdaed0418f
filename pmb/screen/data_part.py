"""Does it hold with more data? A part of Tasks: scores against the number of train items, from whatever is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe, recipe_changes, recipe_text, with_change
from pmb.catalog.tasks import TASKS, Task
from pmb.charts.data_sizes import train_items_chart
from pmb.insight import data_sizes
from pmb.insight.metrics import metric_of
from pmb.insight.zero_layers import ZeroLayerScores
from pmb.lab.answer import sweep_command
from pmb.lab.store import Row
from pmb.screen import ui, view
from pmb.screen.finished import load_all, zero_layers_with
from pmb.screen.zero_rows import with_zero_rows
from pmb.spec import PROCEDURES

TRAIN_ITEMS = "train-items"
FEWEST_SIZES = 2  # numbers of train items that make a curve
NOTE = """\
Each seed draws its own train items where fewer than all are taken, so that the interval speaks for other samples too. \
The recipe is the same at every size: fewer items are also fewer training steps."""


@ui.loaded(max_entries=32)
def load_curves(model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]) -> pd.DataFrame:
    """Scores by cut and number of train items, of runs whose recipe is this one but for that number."""
    wanted = _without_size(find_recipe(base_recipe(recipe), model, task).values)
    runs = [
        run
        for run in load_all(model, task, mark)
        if run["procedure"] == PROCEDURES[0]
        and run["recipe_values"].get("train_sentences")
        and _without_size(run["recipe_values"]) == wanted
    ]
    return data_sizes.by_train_items(runs, data_sizes.planned_cuts(model.num_hidden_layers))


@ui.loaded(max_entries=32)
def load_zero_layers(
    model: BaseModel, task: Task, recipe: str, sizes: tuple[int, ...], mark: tuple[Any, ...]
) -> dict[int, ZeroLayerScores]:
    """What zero layers score by number of train items, where that is measured."""
    base = find_recipe(base_recipe(recipe), model, task)
    found = {size: zero_layers_with(task, replace(base, train_sentences=size)) for size in sizes}
    return {size: scores for size, scores in found.items() if scores}


def base_recipe(recipe: str) -> str:
    """The recipe's text without a number of train items."""
    name, changes = recipe_changes(recipe)
    return recipe_text(name, {setting: value for setting, value in changes.items() if setting != TRAIN_ITEMS})


def data_part(model: BaseModel, tasks: Sequence[Task], recipe: str, mark: tuple[Any, ...]) -> None:
    """The chart with its table for one task, or that it is not measured, and the commands for what is missing."""
    with st.expander("Data", icon=":material/database:"):
        view.section("Does it hold with more data?")
        curves = {task: load_curves(model, task, recipe, mark) for task in tasks}
        measured = {task: curve for task, curve in curves.items() if len(data_sizes.sizes_of(curve)) >= FEWEST_SIZES}
        task = next(iter(measured), TASKS["rotten-tomatoes"])
        if len(measured) > 1:
            of_id = {one.id: one for one in measured}
            chosen = st.selectbox("Task of the curves", list(of_id), key="data_task", bind="query-params")
            task = of_id.get(chosen, task)
        if task in measured:
            _curves(model, task, recipe, measured[task], mark)
        else:
            view.words(f"Not measured: this needs runs with at least {FEWEST_SIZES} numbers of train items.")
        _missing(model, task, recipe, measured.get(task, curves.get(task, pd.DataFrame(columns=["train_items"]))))


def _curves(model: BaseModel, task: Task, recipe: str, curve: pd.DataFrame, mark: tuple[Any, ...]) -> None:
    zero = load_zero_layers(model, task, recipe, tuple(data_sizes.sizes_of(curve)), mark)
    sentence = data_sizes.losses_sentence(curve)
    view.words(ui.plain(sentence))
    view.heading(f"Score on {ui.plain(task.title)} against train items")
    view.draw_once(
        lambda: train_items_chart(curve, zero, ui.theme()),
        "Score against train items",
        lambda: data_sizes.alt_text(curve),
        *(model.id, model.revision, task.id, task.revision, base_recipe(recipe), mark),
    )
    view.note(f"Vertical lines are 95 % intervals, over {data_sizes.seeds_words(curve)}. {NOTE}")
    _table(curve, zero)


def _table(curve: pd.DataFrame, zero: Mapping[int, ZeroLayerScores]) -> None:
    score = metric_of(curve["metric"].iloc[0]).label
    shown = pd.DataFrame(
        {
            "what": curve["cut"],
            "train items": curve["train_items"],
            score: 100 * curve["mean"],
            "from": 100 * curve["low"],
            "to": 100 * curve["high"],
            "seeds": curve["seeds"].map(len),
        }
    )
    for size, scores in zero.items():
        shown = with_zero_rows(shown, scores, "what", score, ("from", "to"), more={"train items": size})
    one_decimal: dict[str, Any] = dict.fromkeys((score, "from", "to"), st.column_config.NumberColumn(format="%.1f"))
    view.table(shown, "Scores by cut and number of train items.", one_decimal)


def _missing(model: BaseModel, task: Task, recipe: str, curve: pd.DataFrame) -> None:
    """The commands that measure the sizes at which nothing is measured."""
    missing = data_sizes.missing_sizes(curve, task.train_examples)
    if not missing or not ui.may_write():
        return
    depth = model.num_hidden_layers
    drops = sorted({depth - len(kept) for kept in data_sizes.planned_cuts(depth).values()} - {0})
    recipes = [with_change(base_recipe(recipe), TRAIN_ITEMS, size) for size in missing]
    lines = [sweep_command(model.id, task.id, text, data_sizes.STRATEGIES, drops) for text in recipes]
    st.caption("The runs with other numbers of train items:")
    st.code("\n".join(lines), language="bash", wrap_lines=True)


def _without_size(values: Row) -> Row:
    return {name: value for name, value in values.items() if name not in ("name", "train_sentences")}
