"""Measure the results that are shipped in cache/shipped: what is planned, what is missing, and how long it will take.

Run: python -m benchmarks.measure                         prints what is missing, with its hours on this machine
     PMB_HOME=HOME nice python -m benchmarks.measure --run [--parts 1,3]      measures it; can be stopped and resumed
     PMB_HOME=HOME python -m pmb ship                     writes what is finished into cache/shipped

Measure in a clone with a PMB_HOME of its own. Shipped results count as finished, so another machine carries on.
Missing runs are queued a few at a time, in the order of the parts and of their seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import click

from pmb.api import opened_store
from pmb.errors import PmbError
from pmb.insight.data_sizes import PLANNED_TRAIN_ITEMS
from pmb.insight.estimate import run_seconds
from pmb.lab import queue
from pmb.lab.plan import Plan, plan_strategy, plan_sweep, plan_whole, spec_of
from pmb.lab.probes import ask_for, probes_of, waiting_line
from pmb.lab.results import recent_runs
from pmb.lab.sources import find_model, find_task, tasks_by_id
from pmb.lab.store import Store
from pmb.lab.waiting import wait_for, wait_until_none
from pmb.settings import Settings
from pmb.spec import RunSpec
from pmb.strategies import DRAWS, STRATEGIES, drop_counts

AT_ONCE = 8  # runs in the queue: few enough that stopping loses no order
SECONDS_AN_HOUR = 3600
RECENT_RUNS = 200
HEADINGS = ["part", "model", "task", "recipe", "runs done", "runs missing", "hours missing"]
THREE, FIVE = (0, 1, 2), (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Part:
    """Runs of one model on one task with one recipe.

    `drops`: the drop counts of each strategy; None: every one that it can reach. The whole model has `whole_seeds`.
    """

    number: int
    model: str
    task: str
    recipe: str
    drops: tuple[tuple[str, tuple[int, ...] | None], ...]
    seeds: tuple[int, ...]
    whole_seeds: tuple[int, ...]
    random_draws: bool = False  # ten at every drop count, one seed
    probes: bool = False


OTHERS = tuple(strategy for strategy in STRATEGIES if strategy != "top")
GLUE = ("mrpc", "rte", "cola", "stsb", "sst2")
PARTS = (
    Part(
        *(1, "minilm-l6", "rotten-tomatoes", "full"),
        drops=tuple((strategy, None) for strategy in STRATEGIES),
        seeds=FIVE,
        whole_seeds=FIVE,
        random_draws=True,
        probes=True,
    ),
    Part(
        *(2, "all-mpnet-base-v2", "rotten-tomatoes", "standard"),
        drops=(("top", None), *((strategy, (2, 4, 6)) for strategy in OTHERS)),
        seeds=THREE,
        whole_seeds=FIVE,
        probes=True,
    ),
    *(
        Part(
            *(3, "minilm-l6", task, "full"),
            drops=(("top", None), *((strategy, (2, 3)) for strategy in OTHERS)),
            seeds=THREE,
            whole_seeds=THREE,
        )
        for task in GLUE
    ),
    *(
        Part(
            *(4, "all-mpnet-base-v2", task, "full"),
            drops=(("top", (2, 4, 6)), *((strategy, (4, 6)) for strategy in OTHERS)),
            seeds=THREE,
            whole_seeds=THREE,
        )
        for task in GLUE
    ),
    *(
        Part(  # with all train items: part 1
            *(5, "minilm-l6", "rotten-tomatoes", f"full,train-items={size}"),
            drops=(("top", (2, 3)), ("even-alternate", (2, 3))),
            seeds=FIVE,
            whole_seeds=FIVE,
        )
        for size in PLANNED_TRAIN_ITEMS
    ),
)


def specs_of(store: Store, settings: Settings, part: Part) -> list[RunSpec]:
    """Every run of a part, each once: seed by seed, the whole model first; raises PmbError."""
    model, task = find_model(store, settings, part.model), find_task(store, settings, part.task)
    plans: dict[tuple[int, ...], Plan] = {}
    for strategy, drops in part.drops:
        possible = set(drop_counts(strategy, model.num_hidden_layers))
        wanted = None if drops is None else sorted(possible.intersection(drops))
        for plan in plan_sweep(store, settings, model, task, [strategy], wanted) if wanted != [] else []:
            plans.setdefault(plan.kept_layers, plan)
    whole = plan_whole(model)
    plans.pop(whole.kept_layers, None)
    cuts = sorted(plans.values(), key=lambda plan: -len(plan.kept_layers))
    pairs = [(whole, seed) for seed in part.whole_seeds]
    pairs += [(plan, seed) for seed in part.seeds for plan in cuts]
    pairs.sort(key=lambda pair: pair[1])  # stable: within a seed the whole model stays first
    if part.random_draws:
        pairs += [
            (plan_strategy(store, settings, model, task, draw, drop), 0)
            for draw in DRAWS
            for drop in drop_counts(draw, model.num_hidden_layers)
            if drop
        ]
    specs = {spec.key: spec for spec in (spec_of(plan, task, part.recipe, seed) for plan, seed in pairs)}
    return list(specs.values())


def hours(store: Store, specs: Sequence[RunSpec]) -> float | None:
    """About how long these runs take one after the other on this machine; None where nothing like them has run."""
    recent, tasks = recent_runs(store, RECENT_RUNS), tasks_by_id(store)
    seconds = [run_seconds(spec.to_dict() | {"recipe_values": spec.recipe.to_dict()}, recent, tasks) for spec in specs]
    known = [value for value in seconds if value is not None]
    return sum(known) / SECONDS_AN_HOUR if len(known) == len(seconds) else None


def table(store: Store, settings: Settings, parts: Sequence[Part]) -> str:
    """What is planned, done and missing of each part."""
    rows = []
    for part in parts:
        try:
            specs = specs_of(store, settings, part)
        except PmbError as error:
            rows.append([str(part.number), part.model, part.task, part.recipe, "", "", str(error)])
            continue
        left = queue.unfinished(store, specs)
        needed = hours(store, left) if left else 0.0
        cells = [str(part.number), part.model, part.task, part.recipe, f"{len(specs) - len(left)} of {len(specs)}"]
        rows.append([*cells, str(len(left)), "not known yet" if needed is None else f"{needed:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in [HEADINGS, ["---"] * len(HEADINGS), *rows])


def batches(specs: Sequence[RunSpec]) -> Iterator[Sequence[RunSpec]]:
    """The runs, AT_ONCE at a time."""
    for start in range(0, len(specs), AT_ONCE):
        yield specs[start : start + AT_ONCE]


@click.command()
@click.option("--run", is_flag=True, help="Measure what is missing.")
@click.option("--parts", "numbers", default="1,2,3,4,5", show_default=True)
def main(run: bool, numbers: str) -> None:
    """Print what is missing, or measure it."""
    chosen = [part for part in PARTS if str(part.number) in numbers.split(",")]
    with opened_store() as (store, settings):
        click.echo(table(store, settings, chosen))
        for part in chosen if run else ():
            for few in batches(queue.unfinished(store, specs_of(store, settings, part))):
                queue.submit(store, few)
                wait_for(store, settings, [spec.key for spec in few], lambda line: None)
                click.echo(f"part {part.number}: {few[-1].model} {few[-1].task}, {len(few)} more runs have ended")
            if part.probes:
                model, task = find_model(store, settings, part.model), find_task(store, settings, part.task)
                if len(probes_of(store, model, task, part.recipe)) < len(THREE):
                    keys = ask_for(store, settings, model, task, part.recipe, THREE)
                    wait_until_none(store, settings, partial(waiting_line, store, keys), lambda line: None)


if __name__ == "__main__":
    main()
