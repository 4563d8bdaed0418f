"""Finished runs by what they are about, for the pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe, is_recipe
from pmb.catalog.tasks import Task
from pmb.lab.rows import Check, are_answers, no_fault
from pmb.lab.schema import memories, runs
from pmb.lab.store import LIST_COLUMNS, Row, Store, about, matching
from pmb.spec import PROCEDURES, Recipe

FACTS = ("model", "model_revision", "num_hidden_layers", "kept_layers", "recipe", "procedure")


def finished_runs(
    store: Store, model: BaseModel, task: Task, recipe: str, procedures: Collection[str] = PROCEDURES
) -> list[Row]:
    """The finished runs of a model on a task with a recipe, as they are now; the whole model's always among them."""
    return with_recipe(finished_on(store, model, task), find_recipe(recipe, model, task), procedures)


def finished_on(store: Store, model: BaseModel, task: Task) -> list[Row]:
    """All finished runs of a model on a task as they are now, the first asked for first."""
    query = select(*LIST_COLUMNS).where(
        runs.c.state == "done",
        *matching(runs, about(model, task)),
        runs.c.num_hidden_layers == model.num_hidden_layers,
    )
    # Not by the database: for the order, SQLite would take an index that has it and read the runs of every task.
    return sorted(store.read(runs, query), key=lambda row: (row["queued_at"], row["key"]))


def with_recipe(rows: Iterable[Row], recipe: Recipe, procedures: Collection[str]) -> list[Row]:
    """Those with the recipe's values and one of these procedures; the whole model's with any procedure."""
    return [
        run
        for run in rows
        if recipe.is_stored_as(run["recipe_values"])
        and (run["procedure"] in procedures or len(run["kept_layers"]) == run["num_hidden_layers"])
    ]


def memories_of(store: Store, found: Sequence[Row]) -> list[Row]:
    """The peak memory of finished runs of one task, wherever it was measured, each with the run's `kept_layers`."""
    kept = {run["key"]: run["kept_layers"] for run in found}
    of_task = select(runs.c.key).where(runs.c.task.in_({run["task"] for run in found}))
    rows = store.read(memories, select(memories).where(memories.c.key.in_(of_task)).order_by(memories.c.measured_at))
    return [row | {"kept_layers": kept[row["key"]]} for row in rows if row["key"] in kept]


def predictions_of(store: Store, keys: Sequence[str], task: Task, dev: int) -> dict[str, list[int | float]]:
    """What those runs answered on so many dev examples, by run, in their order; damaged answers are left out."""
    return stored_predictions(store, keys, are_answers("predictions", len(task.labels), dev))


def stored_predictions(store: Store, keys: Sequence[str], further: Check = no_fault) -> dict[str, list[int | float]]:
    """The answers of those runs as they are stored, by run, whatever their tasks are; damaged ones are left out."""
    names = (runs.c.key, runs.c.state, runs.c.num_dev, runs.c.predictions)
    query = select(*names).where(runs.c.key.in_(keys), runs.c.state == "done")
    return {row["key"]: row["predictions"] for row in store.read(runs, query, further)}


def configuration_name(model: str, recipe: str, kept_layers: Sequence[int], procedure: str = PROCEDURES[0]) -> str:
    """What a configuration is called in an address, such as "minilm-l6 standard 0,1,2"."""
    name = f"{model} {recipe} {','.join(map(str, kept_layers))}"
    return f"{name} {procedure}" if procedure != PROCEDURES[0] else name


def measured_configurations(store: Store, task: Task) -> dict[str, dict[str, Any]]:
    """What has finished on a task as it is now, by `configuration_name`.

    Each with `model`, `model_revision`, `num_hidden_layers`, `kept_layers`, `recipe`, `procedure`, `sources` and `keys`
    by seed. Where runs of one recipe's name have different values, those of the newest run count.
    """
    names = ("key", "state", "seed", "source", "recipe_values", "finished_at", *FACTS)
    query = select(*(runs.c[name] for name in names)).where(
        runs.c.state == "done", runs.c.task == task.id, runs.c.task_revision == task.revision
    )
    found: dict[str, dict[str, Any]] = {}
    rows = sorted(store.read(runs, query), key=lambda row: (row["finished_at"], row["key"]))  # see `finished_runs`
    rows = [row for row in rows if is_recipe(row["recipe"])]
    newest_values = {(row["model"], row["recipe"]): row["recipe_values"] for row in rows}
    for row in rows:
        if newest_values[row["model"], row["recipe"]] != row["recipe_values"]:
            continue
        name = configuration_name(row["model"], row["recipe"], row["kept_layers"], row["procedure"])
        facts = {fact: row[fact] for fact in FACTS}
        known = found.get(name)
        if known is None or known["model_revision"] != row["model_revision"]:  # the newest revision alone
            known = found[name] = facts | {"keys": {}, "sources": set()}
        known["keys"][row["seed"]] = row["key"]
        known["sources"].add(row["source"])
    return found


def losses_of(store: Store, keys: Sequence[str]) -> dict[str, list[float | None]]:
    """The mean training losses of those runs, a value an epoch, by run; None where one was not a number."""
    query = select(runs.c.key, runs.c.state, runs.c.losses).where(runs.c.key.in_(keys), runs.c.state == "done")
    return {row["key"]: row["losses"] for row in store.read(runs, query)}


def last_end(store: Store) -> float | None:
    """When the last finished run ended, by which `recent_runs` change; an index answers it."""
    with store.connect() as connection:
        return connection.execute(select(func.max(runs.c.finished_at)).where(runs.c.state == "done")).scalar()


def recent_runs(store: Store, limit: int) -> list[Row]:
    """The finished runs by which the time of others is judged: the newest of this machine, else the shipped ones."""
    names = (
        *("key", "state", "model", "task", "num_hidden_layers", "kept_layers", "recipe_values"),
        *("whole_model_parameters", "machine", "total_seconds"),
    )
    query = select(*(runs.c[name] for name in names), runs.c.started_at, runs.c.finished_at)
    query = query.where(runs.c.state == "done", runs.c.started_at.is_not(None))
    query = query.order_by(runs.c.finished_at.desc()).limit(limit)
    measured = store.read(runs, query.where(runs.c.source == "measured"))
    return measured or store.read(runs, query.where(runs.c.source == "shipped"))
