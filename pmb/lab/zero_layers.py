"""What tasks score without any layer of a model: a bag of words and a constant answer, measured once and remembered.

They depend on the task and on the train items that a recipe takes with a seed, and not on the model.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select

from pmb.catalog.tasks import Task
from pmb.lab.schema import zero_layers as table
from pmb.lab.sources import find_task
from pmb.lab.store import Row, Store, matching
from pmb.settings import Settings
from pmb.spec import Progress, Recipe, Report, RunSpec, ZeroLayers

SEED = re.compile(r"seed (\d+)")  # a sample that a seed draws, as `Recipe.sample` names it


def measure(
    store: Store, settings: Settings, task: Task, recipe: Recipe, seeds: Sequence[int], report: Report = lambda _: None
) -> list[Row]:
    """The rows of these seeds, each once; what is missing is measured in a child process. Raises PmbError.

    The data of a task are fetched first where need be.
    """
    if task.unfetched and any(known(store, task, recipe, seed) is None for seed in seeds):
        store.check_may_write()
        report(Progress("starting"))
        task = find_task(store, settings, task.id, pinned=True, report=report)
    by_sample = {recipe.sample(task.train_examples, seed): seed for seed in seeds}
    missing = [seed for seed in by_sample.values() if known(store, task, recipe, seed) is None]
    if missing:
        from pmb.lab.executors import ask  # time to import that a cached answer needs not take

        store.check_may_write()
        report(Progress("starting"))
        job = {"kind": "zero layers", "task": asdict(task), "recipe": asdict(recipe), "seeds": missing}
        answer = ask(job | {"assets": str(settings.assets)}, report)
        for seed, measured in zip(missing, answer["zero_layers"], strict=True):
            save(store, task, recipe, seed, ZeroLayers.from_dict(measured))
    found = [known(store, task, recipe, seed) for seed in by_sample.values()]
    return [row for row in found if row is not None]


def measure_for_runs(store: Store, settings: Settings, task: Task, finished: Sequence[Row]) -> None:
    """Measure what is missing for the recipes and seeds of finished runs on a task as it is now; raises PmbError."""
    seeds: dict[Recipe, list[int]] = {}
    for run in finished:
        if run["task_revision"] == task.revision:
            seeds.setdefault(Recipe(**run["recipe_values"]), []).append(run["seed"])
    for recipe, of_recipe in seeds.items():
        measure(store, settings, task, recipe, sorted(of_recipe))


def save(store: Store, task: Task, recipe: Recipe, seed: int, measured: ZeroLayers) -> None:
    """Remember them; what is there already stays."""
    row = asdict(measured) | _about(task, recipe) | {"sample": recipe.sample(task.train_examples, seed)}
    store.remember(table, [row | {"source": "measured", "measured_at": time.time()}])


def known(store: Store, task: Task, recipe: Recipe, seed: int) -> Row | None:
    """What is measured on the train items of this seed; None where nothing is."""
    values = _about(task, recipe) | {"sample": recipe.sample(task.train_examples, seed)}
    return next(iter(store.read(table, select(table).where(*matching(table, values)))), None)


def known_of_run(store: Store, spec: RunSpec) -> Row | None:
    """What is measured on the train items of a run; None where nothing is."""
    samples = ("all", spec.recipe.sample(None, spec.seed))  # how many train items there are is not asked for
    about = {"task": spec.task, "task_revision": spec.task_revision, "train_items": spec.recipe.train_sentences}
    query = select(table).where(*matching(table, about), table.c.sample.in_(samples))
    return next(iter(store.read(table, query.order_by(table.c.sample))), None)


def zero_layers_of(store: Store, task: Task, recipe: Recipe) -> list[Row]:
    """What is measured on the train items of any seed, in the order of the seeds."""
    rows = store.read(table, select(table).where(*matching(table, _about(task, recipe))))
    sample = recipe.sample(task.train_examples, 0)
    if not SEED.fullmatch(sample):  # one for all seeds
        return [row for row in rows if row["sample"] == sample]
    by_seed = {int(drawn[1]): row for row in rows if (drawn := SEED.fullmatch(row["sample"]))}
    return [by_seed[seed] for seed in sorted(by_seed)]


def _about(task: Task, recipe: Recipe) -> Row:
    train_items = recipe.train_sentences or task.train_examples or 0
    return {"task": task.id, "task_revision": task.revision, "train_items": train_items}
