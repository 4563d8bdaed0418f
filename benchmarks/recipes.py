"""How the recipes were chosen: candidates scored on sentences held out of TRAIN, at several depths of top dropping.

Run: python -m benchmarks.recipes [--candidates quick,standard] [--depths 1,6] [--chosen]   (adds to recipes.jsonl)
     python -m benchmarks.recipes --table                                        (prints docs/recipes.md's tables)
A candidate that the file already holds is not run again, so that a stopped search goes on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks.embedded import open_embedded
from pmb.catalog.recipes import RECIPES
from pmb.engine import batches, finetune, surgery
from pmb.spec import Recipe

RESULTS = Path(__file__).parent / "recipes.jsonl"
HELD_OUT = 1000  # of the end of TRAIN; dev is never touched
BASE = Recipe("", None, 2, 2e-4, 16, 0.1, 0.0, 1.0, 128, 0.1)
GRIDS = {  # train sentences, epochs, learning rate, batch, dropout
    "quick": [
        *((1600, 1, rate, 8, 0.1) for rate in (2e-4, 4e-4, 8e-4)),
        *((800, 2, rate, 8, 0.1) for rate in (2e-4, 4e-4, 8e-4)),
        *((640, 3, rate, 8, 0.1) for rate in (2e-4, 3e-4, 4e-4)),
        *((640, 3, rate, 8, 0.0) for rate in (1e-4, 2e-4, 3e-4)),
        *((512, 3, rate, 8, 0.0) for rate in (1e-4, 2e-4, 3e-4)),
    ],
    "standard": [
        *((2400, 2, rate, size, 0.1) for size in (16, 32) for rate in (5e-5, 1e-4, 2e-4, 4e-4)),
        *((2000, 2, rate, 16, 0.1) for rate in (2e-4, 3e-4, 4e-4)),
        *((2000, 2, rate, 8, 0.1) for rate in (2e-4, 3e-4)),
        *((2000, 2, rate, size, 0.0) for size in (8, 16) for rate in (1e-4, 2e-4)),
    ],
    "stable": [(2500, 10, 1e-4, 8, dropout) for dropout in (0.0, 0.1)],
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
    found = open_embedded()
    sentences = found.sentences.train
    torch.manual_seed(seed)
    model = surgery.cut(surgery.load_classifier(found.folder, found.labels), range(depth))
    train = batches.encode(found.tokenizer, sentences[:-HELD_OUT][: recipe.train_sentences], recipe.max_length)
    held_out = batches.encode(found.tokenizer, sentences[-HELD_OUT:], recipe.max_length)
    cpu = torch.device("cpu")
    training = finetune.fine_tune(model, train, recipe, seed, cpu, lambda progress: None)
    predicted = finetune.predict(model, held_out, cpu)
    accuracy = sum(p == y for p, y in zip(predicted, held_out.labels, strict=True)) / len(held_out)
    return {"accuracy": accuracy, "seconds": round(training.seconds, 1), "losses": training.losses}


def bag_of_words_accuracy(train_sentences: int) -> float:
    """What TF-IDF and logistic regression reach on the same sentences: a model that has learned is above it."""
    sentences = open_embedded().sentences.train
    train, held_out = sentences[:-HELD_OUT][:train_sentences], sentences[-HELD_OUT:]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=3, max_iter=1000))
    model.fit([e.texts[0] for e in train], [e.label for e in train])
    return float(model.score([e.texts[0] for e in held_out], [e.label for e in held_out]))


def print_tables(rows: list[dict[str, Any]]) -> None:
    """One Markdown table a preset: a candidate a row, a depth a column."""
    names = ("train_sentences", "epochs", "learning_rate", "batch_size", "dropout")
    depths = sorted({row["depth"] for row in rows})
    for preset in GRIDS:
        found: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
        for row in rows:
            if row["recipe"] == preset:
                found[tuple(row[name] for name in names)][row["depth"]] = row["accuracy"]
        click.echo(f"\n**{preset}**\n\n| sentences | epochs | rate | batch | dropout | bag of words | ", nl=False)
        click.echo(" | ".join(f"depth {depth}" for depth in depths) + " |\n" + "| --- " * (6 + len(depths)) + "|")
        for candidate, by_depth in found.items():
            cells = [f"{value:g}" for value in candidate] + [f"{100 * bag_of_words_accuracy(candidate[0]):.1f}"]
            cells += [f"{100 * by_depth[depth]:.1f}" if depth in by_depth else "" for depth in depths]
            click.echo("| " + " | ".join(cells) + " |")


@click.command()
@click.option("--candidates", "names", default="quick,standard", show_default=True)
@click.option("--depths", default="1,6", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--chosen", is_flag=True, help="Only the recipes that were chosen, as they stand in the catalog.")
@click.option("--table", is_flag=True, help="Print what is in the file.")
def main(names: str, depths: str, seed: int, chosen: bool, table: bool) -> None:
    """Score every candidate at every depth and append one JSON line for each."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    if table:
        print_tables(rows)
        return
    done = {line_key(row) for row in rows}
    for name in names.split(","):
        for depth in map(int, depths.split(",")):
            for recipe in [RECIPES[name]] if chosen else candidates(name):
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
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                click.echo(json.dumps(row))


def line_key(row: dict[str, object]) -> str:
    """What makes two lines the same measurement."""
    names = ("recipe", "train_sentences", "epochs", "learning_rate", "batch_size", "dropout", "depth", "seed")
    return json.dumps([row[name] for name in names])


if __name__ == "__main__":
    main()
