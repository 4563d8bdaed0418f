"""The finished runs that pages show, read once for all of them: with many runs that is most of a page's time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe, recipe_fault
from pmb.catalog.tasks import Task
from pmb.insight import summary
from pmb.insight.undertrained import undertrained
from pmb.insight.zero_layers import ZeroLayerScores, zero_layer_scores
from pmb.lab.dev import known_dev_labels
from pmb.lab.results import finished_on, with_recipe
from pmb.lab.store import Row
from pmb.lab.zero_layers import zero_layers_of
from pmb.screen import ui
from pmb.spec import Recipe


@ui.loaded(max_entries=128)
def load_all(model: BaseModel, task: Task, mark: tuple[Any, ...]) -> list[Row]:
    """Of every recipe and procedure; `mark` changes when the store does."""
    return finished_on(ui.the_store(), model, task)


@ui.loaded(max_entries=128)
def load_runs(model: BaseModel, task: Task, recipe: str, procedure: str, mark: tuple[Any, ...]) -> list[Row]:
    """Those of a recipe and a procedure, and the whole model's of any; none where the recipe cannot be used."""
    if recipe_fault(recipe, model, task):
        return []
    return with_recipe(load_all(model, task, mark), find_recipe(recipe, model, task), [procedure])


@ui.loaded(max_entries=128)
def load_configurations(
    model: BaseModel, task: Task, recipe: str, procedure: str, mark: tuple[Any, ...]
) -> pd.DataFrame:
    """Those runs as `summary.configurations`."""
    return summary.configurations(load_runs(model, task, recipe, procedure, mark))


@ui.loaded(max_entries=128)
def load_zero_layers(model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]) -> ZeroLayerScores | None:
    """What zero layers score, fitted on the train items of this recipe; None where that is not measured."""
    return zero_layers_with(task, find_recipe(recipe, model, task))


@ui.loaded(max_entries=128)
def load_undertrained(model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]) -> str:
    """Why the whole model is undertrained on a task with a recipe; empty where it is not, or is not measured."""
    return undertrained_with(model, task, find_recipe(recipe, model, task), mark)


def undertrained_with(model: BaseModel, task: Task, recipe: Recipe, mark: tuple[Any, ...]) -> str:
    """The same for a recipe's values, such as those of runs whose recipe has other values now."""
    whole = [run for run in with_recipe(load_all(model, task, mark), recipe, ()) if is_whole(run)]
    labels = known_dev_labels(ui.the_store(), task)
    return undertrained(model.id, task.id, summary.configurations(whole), zero_layers_with(task, recipe), labels)


def is_whole(run: Row) -> bool:
    """Whether a run is of the whole model."""
    return len(run["kept_layers"]) == run["num_hidden_layers"]


def zero_layers_with(task: Task, recipe: Recipe) -> ZeroLayerScores | None:
    """`load_zero_layers` for a recipe's values."""
    return zero_layer_scores(zero_layers_of(ui.the_store(), task, recipe), task.metric)
