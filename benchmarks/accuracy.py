"""Does this lab train as well as Hugging Face Trainer? The whole model and top K=3, 3 seeds each, one recipe and data.

Run: python -m benchmarks.accuracy [--recipe standard] [--write]
The lab's side is asked for as any run is, so what is in the store already is not trained again; Trainer's side is
trained here. --write puts the table into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import statistics

import click
import torch
from sklearn.metrics import accuracy_score

from benchmarks.embedded import MODEL, TASK, open_embedded
from benchmarks.results import publish
from benchmarks.trainer import set_dropout, train_with_trainer
from pmb.catalog.models import find_model
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import find_task
from pmb.engine import batches, surgery
from pmb.engine.finetune import predict
from pmb.insight.intervals import difference_interval
from pmb.lab import queue
from pmb.lab.plan import Plan, plan_strategy, spec_of
from pmb.lab.store import Store, get_run, open_store
from pmb.lab.waiting import wait_for
from pmb.settings import Settings, from_environment
from pmb.spec import Recipe

SEEDS = (0, 1, 2)
DROPS = (0, 3)
AGREEMENT_POINTS = 1.0


def trainer_score(plan: Plan, recipe: Recipe, seed: int) -> float:
    """Accuracy on dev after Trainer's fine-tuning of the same cut with the same recipe."""
    found = open_embedded()
    train = batches.encode(found.tokenizer, found.sentences.train[: recipe.train_sentences], recipe.max_length)
    dev = batches.encode(found.tokenizer, found.sentences.dev, recipe.max_length)
    torch.manual_seed(seed)
    model = surgery.cut(surgery.load_classifier(found.folder, found.labels), plan.kept_layers)
    set_dropout(model, recipe.dropout)
    train_with_trainer(model, found.tokenizer, train, recipe, seed)
    return float(accuracy_score(dev.labels, predict(model, dev, torch.device("cpu"))))


def lab_scores(store: Store, settings: Settings, plan: Plan, recipe: str) -> list[float]:
    """Scores of the lab's own runs, one a seed."""
    specs = [spec_of(plan, find_task(TASK), recipe, seed) for seed in SEEDS]
    keys = [submission.key for submission in queue.submit(store, specs)]
    wait_for(store, settings, keys, lambda line: None)
    rows = [get_run(store, key) for key in keys]
    return [float(row["score"]) for row in rows if row is not None]


@click.command()
@click.option("--recipe", default="full", show_default=True)
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(recipe: str, write: bool) -> None:
    """Compare and print a table; exit 1 where the means are further apart than a point."""
    settings = from_environment()
    store = open_store(settings)
    lines = ["| model | this lab | Trainer | difference of the means (95 % interval) |", "| --- | --- | --- | --- |"]
    agreed = True
    for drop in DROPS:
        plan = plan_strategy(store, settings, find_model(MODEL), find_task(TASK), "top", drop)
        ours = lab_scores(store, settings, plan, recipe)
        theirs = [trainer_score(plan, find_recipe(recipe, find_model(MODEL), find_task(TASK)), seed) for seed in SEEDS]
        gap = difference_interval(ours, theirs)
        agreed &= abs(100 * gap.mean) <= AGREEMENT_POINTS
        name = f"top, K={drop}" if drop else "whole"
        difference = f"{100 * gap.mean:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})"
        lines.append(f"| {name} | {_scores(ours)} | {_scores(theirs)} | {difference} points |")
        click.echo(lines[-1], err=True)
    store.close()
    verdict = f"The means {'agree' if agreed else 'do NOT agree'} within {AGREEMENT_POINTS:g} point."
    command = (
        f"`python -m benchmarks.accuracy --recipe {recipe}`: accuracy in per cent on the {TASK} dev sentences, "
        f"mean (seeds {', '.join(map(str, SEEDS))})."
    )
    publish("Accuracy against Trainer", [command, "", *lines, "", verdict], write)
    raise SystemExit(0 if agreed else 1)


def _scores(values: list[float]) -> str:
    each = ", ".join(f"{100 * value:.2f}" for value in values)
    return f"{100 * statistics.mean(values):.2f} ({each})"


if __name__ == "__main__":
    main()
