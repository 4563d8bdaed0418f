"""How `full` was chosen: candidate recipes, fine-tuned on one part of TRAIN and scored on another part of it.

Run: python -m benchmarks.recipes --task mrpc --depths 1,3,6 --rates 5e-5,1e-4 --epochs 5,10 --dropouts 0.1,0
     python -m benchmarks.recipes --table        prints the tables of docs/recipes.md

Each measurement is appended to recipes.jsonl as soon as it is finished. A measurement that the file already holds is
not repeated, so a search can be stopped and resumed. Dev is never read.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from pmb import scoring
from pmb.catalog.models import find_model
from pmb.catalog.tasks import Task, find_task
from pmb.engine import batches, data, finetune, surgery
from pmb.engine.device import use_threads
from pmb.engine.examples import Example, in_hash_order
from pmb.engine.run import model_folder, quieten
from pmb.errors import BadInput
from pmb.settings import from_environment
from pmb.spec import Recipe

RESULTS = Path(__file__).parent / "recipes.jsonl"
MOST_HELD_OUT = 1500  # train items
HELD_OUT_SHARE = 0.25
MOST_TRAIN_ITEMS = 10_000
TRIED = ("learning_rate", "epochs", "batch_size", "dropout")  # what the candidates differ in


def train_split(task: Task) -> tuple[Sequence[Example], Sequence[Example]]:
    """The task's TRAIN items in two parts: those that a candidate learns from, and those that it is scored on."""
    settings = from_environment()
    if task.glue:
        folder = settings.glue and settings.glue / task.glue
        if not folder:
            raise BadInput(f"Set PMB_GLUE_DIR to a folder with {task.glue}.")
        from pmb.engine.glue import load_glue

        items = load_glue(task.id, folder).train
    else:
        items = data.load_task(task, settings.assets).train
    shuffled = in_hash_order(items)
    held_out = min(MOST_HELD_OUT, round(len(shuffled) * HELD_OUT_SHARE))
    return shuffled[held_out:][:MOST_TRAIN_ITEMS], shuffled[:held_out]


def held_out_scores(model: str, task: Task, recipe: Recipe, depth: int, seed: int) -> dict[str, Any]:
    """Fine-tune the model's lowest `depth` layers on one part of TRAIN and score them on the other."""
    folder = model_folder(find_model(model), from_environment().assets)
    tokenizer = surgery.load_tokenizer(folder)
    train, held_out = (batches.encode(tokenizer, part, recipe.max_length) for part in train_split(task))
    torch.manual_seed(seed)
    classifier = surgery.cut(surgery.load_classifier(folder, task.labels), range(depth))
    cpu, start = torch.device("cpu"), time.perf_counter()
    training = finetune.fine_tune(classifier, train, recipe, seed, cpu, lambda progress: None)
    predictions = finetune.predict(classifier, held_out, cpu)
    return {
        "scores": {name: scoring.score(name, held_out.labels, predictions).value for name in task.metrics},
        "train_items": len(train),
        "held_out_items": len(held_out),
        "seconds": round(time.perf_counter() - start, 1),
        "losses": [round(loss, 4) for loss in training.losses],
    }


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Print one Markdown table for each model and task: a candidate in each row, a depth in each column."""
    for model, task in dict.fromkeys((row["model"], row["task"]) for row in rows):
        of_task = [row for row in rows if (row["model"], row["task"]) == (model, task)]
        depths = sorted({row["depth"] for row in of_task})
        metric = find_task(task).metric
        click.echo(f"\n**{model} on {task}** ({metric}, {of_task[0]['train_items']:,} train items)\n")
        click.echo("| rate | epochs | batch | dropout | " + " | ".join(f"depth {depth}" for depth in depths) + " |")
        click.echo("| --- " * (len(TRIED) + len(depths)) + "|")
        for candidate in sorted({tuple(row[name] for name in TRIED) for row in of_task}):
            cells = [f"{value:g}" for value in candidate]
            for depth in depths:
                scores = [
                    100 * row["scores"][metric]
                    for row in of_task
                    if row["depth"] == depth and tuple(row[name] for name in TRIED) == candidate
                ]
                cells.append(", ".join(f"{score:.1f}" for score in scores))
            click.echo("| " + " | ".join(cells) + " |")


def numbers(kind: type) -> Any:
    """An option's callback that reads a list of numbers separated by commas."""
    return lambda context, parameter, value: [kind(number) for number in value.split(",")]


def read_results() -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


@click.command()
@click.option("--model", default="minilm-l6", show_default=True)
@click.option("--task", "task_id", default="rotten-tomatoes", show_default=True)
@click.option("--depths", default="1,3,6", show_default=True, callback=numbers(int))
@click.option("--rates", default="1e-4", show_default=True, callback=numbers(float))
@click.option("--epochs", default="4", show_default=True, callback=numbers(int))
@click.option("--batches", "sizes", default="16", show_default=True, callback=numbers(int))
@click.option("--dropouts", default="0.1", show_default=True, callback=numbers(float))
@click.option("--seeds", default="0", show_default=True, callback=numbers(int))
@click.option("--threads", default=1, show_default=True)
@click.option("--table", is_flag=True, help="Print what has been measured, and measure nothing.")
def main(
    model: str,
    task_id: str,
    depths: list[int],
    rates: list[float],
    epochs: list[int],
    sizes: list[int],
    dropouts: list[float],
    seeds: list[int],
    threads: int,
    table: bool,
) -> None:
    """Score every candidate at every depth."""
    if table:
        print_tables(read_results())
        return
    quieten()
    use_threads(threads)
    task = find_task(task_id)
    for seed, depth, values in itertools.product(seeds, depths, itertools.product(rates, epochs, sizes, dropouts)):
        candidate = {
            "model": model,
            "task": task_id,
            "depth": depth,
            "seed": seed,
            **dict(zip(TRIED, values, strict=True)),
        }
        if any(candidate.items() <= row.items() for row in read_results()):
            continue
        rate, num_epochs, size, dropout = values
        recipe = Recipe("candidate", None, num_epochs, rate, size, 0.1, 0.0, 1.0, 128, dropout)
        row = candidate | held_out_scores(model, task, recipe, depth, seed)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
