"""The finished runs that pages show, read once for all of them: with many runs that is most of a page's time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe, recipe_fault
from pmb.catalog.tasks import Task
from pmb.insight import summary
from pmb.lab.results import finished_on, with_recipe
from pmb.lab.store import Row
from pmb.screen import ui


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
