"""Finished runs by what they are about, for the pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict

from sqlalchemy import select

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import Task
from pmb.lab.schema import runs
from pmb.lab.store import LIST_COLUMNS, Row, Store
from pmb.spec import PROCEDURES


def finished_runs(
    store: Store, model: BaseModel, task: Task, recipe: str, procedures: Collection[str] = PROCEDURES
) -> list[Row]:
    """The finished runs of a model on a task with a recipe, as they are now; the whole model's always among them."""
    query = select(*LIST_COLUMNS).where(
        runs.c.state == "done",
        runs.c.model == model.id,
        runs.c.model_revision == model.revision,
        runs.c.task == task.id,
        runs.c.task_revision == task.revision,
    )
    with store.connect() as connection:
        found = [dict(row) for row in connection.execute(query.order_by(runs.c.queued_at, runs.c.key)).mappings()]
    values, whole = asdict(RECIPES[recipe]), list(range(model.num_hidden_layers))
    return [
        run
        for run in found
        if run["recipe_values"] == values and (run["procedure"] in procedures or run["kept_layers"] == whole)
    ]


def predictions_of(store: Store, keys: Sequence[str]) -> dict[str, list[int | float]]:
    """What those runs answered on dev, by run, in the order of the task's dev labels."""
    query = select(runs.c.key, runs.c.predictions).where(runs.c.key.in_(keys))
    with store.connect() as connection:
        return {row.key: row.predictions for row in connection.execute(query)}
