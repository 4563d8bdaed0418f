"""What the layers of a fine-tuned whole model hold: asked for, measured by a worker that has no runs, remembered.

One row a model, task, recipe and seed, under the key of the run that fine-tunes the whole model so. A worker that takes
a row renews it; one that is silent loses it. To cancel is to delete the row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import and_, between, or_, select

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import check_recipe, find_recipe, recipe_fault
from pmb.catalog.tasks import Task
from pmb.lab.plan import plan_whole, spec_of
from pmb.lab.queue import CLOCK_SECONDS, LEASE_SECONDS
from pmb.lab.rows import row_fault
from pmb.lab.schema import layer_probes as table
from pmb.lab.sources import find_model, find_task
from pmb.lab.store import Row, Store, about, matching, plain_rows
from pmb.settings import Settings
from pmb.spec import LayerProbe, Progress, Recipe, Report, RunSpec, progress_words


def ask_for(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    recipe: str,
    seeds: Sequence[int],
    report: Report = lambda _: None,
) -> list[str]:
    """Ask for a measurement with each seed and return the keys; raises PmbError.

    What is there stays; what failed is asked for again. A model of the Hub is looked up, and data that a missing
    measurement needs are fetched.
    """
    store.check_may_write()
    check_recipe(recipe)
    plan = plan_whole(find_model(store, settings, model.id, pinned=True))
    specs = [spec_of(plan, task, recipe, seed) for seed in seeds]
    done = {row["key"] for row in probes_by_key(store, [s.key for s in specs]) if row["state"] == "done"}
    if any(spec.key not in done for spec in specs):
        plan.model.check_weights(settings.assets)
    if task.unfetched and any(spec.key not in done for spec in specs):
        report(Progress("starting"))
        task = find_task(store, settings, task.id, pinned=True, report=report)
        specs = [spec_of(plan, task, recipe, seed) for seed in seeds]
    keys = [spec.key for spec in specs]
    with store.connect() as connection:
        connection.execute(table.delete().where(table.c.key.in_(keys), table.c.state == "failed"))
        connection.execute(store.insert_new(table), [_new_row(spec) for spec in specs])
    return keys


def probes_of(store: Store, model: BaseModel, task: Task, recipe: str) -> list[Row]:
    """The measurements of a model on a task with a recipe as they are now, in any state, by seed.

    None where the recipe cannot be used with this model on this task.
    """
    if recipe_fault(recipe, model, task):
        return []
    query = select(table).where(*matching(table, about(model, task)))
    wanted = find_recipe(recipe, model, task)
    rows = store.read(table, query.order_by(table.c.seed))
    return [row for row in rows if wanted.is_stored_as(row["recipe_values"])]


def probes_by_key(store: Store, keys: Sequence[str]) -> list[Row]:
    """Those measurements, in any state, by seed."""
    return store.read(table, select(table).where(table.c.key.in_(keys)).order_by(table.c.seed))


def asked_probes(store: Store) -> list[Row]:
    """What waits to be measured or is being measured, in the order in which it was asked for."""
    return store.read(table, select(table).where(table.c.state == "asked").order_by(table.c.asked_at, table.c.key))


def cancel(store: Store, keys: Sequence[str]) -> None:
    """Take back what was asked for; what is measured stays. Raises NotAllowed."""
    store.check_may_write()
    with store.connect() as connection:
        connection.execute(table.delete().where(table.c.key.in_(keys), table.c.state == "asked"))


def waiting_line(store: Store, keys: Sequence[str]) -> str | None:
    """How far the measurements are, in a line; None when none of them waits any more."""
    live = [row for row in probes_by_key(store, keys) if row["state"] == "asked"]
    if not live:
        return None
    running = next((row for row in live if row["progress"]), None)
    line = f"{len(keys) - len(live)} of {len(keys)} done" if len(keys) > 1 else ""
    return "  ".join(filter(None, [line, progress_text(running) if running else "waiting"]))


def progress_text(row: Row) -> str:
    """Phase, steps and time left of a measurement that waits or goes on."""
    progress = row["progress"]
    if not progress:
        return "waiting"
    seconds_left = progress["seconds_left"]
    return progress_words(progress, "" if seconds_left is None else f"{seconds_left:.0f} s left")


def take(store: Store) -> RunSpec | None:
    """The run whose layers are to be measured next, now this worker's; None when nothing was asked for."""
    with store.connect() as connection:
        now = store.now(connection)
        renewed = between(table.c.renewed_at, now - LEASE_SECONDS, now + CLOCK_SECONDS)  # and not by a wrong clock
        silent = or_(table.c.renewed_at.is_(None), ~renewed)
        free = and_(table.c.state == "asked", silent)
        oldest = select(table).where(free).order_by(table.c.asked_at, table.c.key).limit(1)
        found = plain_rows(connection.execute(oldest))
        if not found:
            return None
        mine = table.update().where(table.c.key == found[0]["key"], free)
        if why := row_fault(table, found[0]):
            connection.execute(mine.values(state="failed", error=f"What was asked for is damaged in the store: {why}."))
            return None
        taken = connection.execute(mine.values(renewed_at=now, progress=asdict(Progress("starting")))).rowcount
    return _spec_of_row(found[0]) if taken else None


def renew(store: Store, key: str, progress: Progress) -> bool:
    """Tell how far it is and keep it; False when it was cancelled."""
    with store.connect() as connection:
        now = store.now(connection)
    return _update_asked(store, key, {"renewed_at": now, "progress": asdict(progress)})


def give_back(store: Store, key: str) -> None:
    """Leave it to the next worker."""
    _update_asked(store, key, {"renewed_at": None, "progress": None})


def finish(store: Store, key: str, probe: LayerProbe) -> None:
    """Write down what was measured."""
    values = asdict(probe) | {"state": "done", "progress": None, "error": None, "measured_at": time.time()}
    _update_asked(store, key, values)


def fail(store: Store, key: str, error: str) -> None:
    """End it without a result, with the sentence for its user."""
    _update_asked(store, key, {"state": "failed", "progress": None, "error": error})


def _update_asked(store: Store, key: str, values: Row) -> bool:
    asked = table.update().where(table.c.key == key, table.c.state == "asked")
    with store.connect() as connection:
        return bool(connection.execute(asked.values(values)).rowcount)


def _new_row(spec: RunSpec) -> Row:
    names = ("key", "model", "model_revision", "task", "task_revision", "num_hidden_layers", "seed")
    values = {name: getattr(spec, name) for name in names}
    values |= {"recipe": spec.recipe.name, "recipe_values": spec.recipe.to_dict()}
    return values | {"source": "measured", "state": "asked", "asked_at": time.time()}


def _spec_of_row(row: Row) -> RunSpec:
    names = ("model", "model_revision", "task", "task_revision", "num_hidden_layers", "seed")
    values = {name: row[name] for name in names}
    return RunSpec(**values, kept_layers=tuple(range(row["num_hidden_layers"])), recipe=Recipe(**row["recipe_values"]))
