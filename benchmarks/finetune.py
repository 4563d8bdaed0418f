"""How fast is one fine-tuning? The lab, Trainer at its best, Trainer as run_glue leaves it, the matrix products alone.

Run: python benchmarks/finetune.py --pairs 5 [--json] [--write]   (with nothing else running)
2,000 sentences of the embedded task, one epoch, batch 32, the same seed, tokens, schedule and dropout on all sides. A
pair is the four sides one after the other, each in a process of its own, so that its peak memory is its own; a ratio is
the median over the pairs. Accuracy is that of the dev sentences afterwards, outside the time.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from sklearn.metrics import accuracy_score
from transformers import PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that the file can be run by its path

from benchmarks import trainer
from benchmarks.embedded import MODEL, TASK, open_embedded
from benchmarks.results import publish
from pmb.engine import batches, finetune, surgery
from pmb.engine.batches import Encoded
from pmb.engine.device import pick_device, product_type
from pmb.insight.intervals import difference_interval
from pmb.lab.executors import CHILD_ENVIRONMENT
from pmb.spec import Recipe

SIDES = ("lab", "trainer_best", "trainer_defaults", "matrix_products")
PADDED_LENGTH = 128  # run_glue's --max_seq_length

Side = dict[str, Any]


def recipe_of(sentences: int, dropout: float) -> Recipe:
    """The recipe of all sides."""
    return Recipe(
        name="benchmark",
        train_sentences=sentences,
        epochs=1,
        learning_rate=1e-4,
        batch_size=32,
        warmup_fraction=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=PADDED_LENGTH,
        dropout=dropout,
    )


def native_bf16() -> bool:
    """Whether this machine has instructions for bfloat16 products; without them Trainer's bf16 is its slower choice."""
    return product_type(pick_device()) == torch.bfloat16


def measure(side: str, recipe: Recipe, seed: int, defaults_steps: int | None) -> Side:
    """Train once; returns `seconds`, `megabytes` (peak of the process) and `accuracy` (None where none was trained).

    With `defaults_steps` Trainer's defaults train for so many steps, and their seconds are multiplied out: all steps
    of that side have one shape.
    """
    found = open_embedded()
    train = batches.encode(found.tokenizer, found.sentences.train[: recipe.train_sentences], recipe.max_length)
    torch.manual_seed(seed)
    model = surgery.load_classifier(found.folder, found.labels)
    if side == "matrix_products":
        return {"seconds": matrix_product_seconds(model, train, recipe, seed)} | {"megabytes": None, "accuracy": None}
    if side == "lab":
        seconds = finetune.fine_tune(model, train, recipe, seed, pick_device(), lambda _: None).seconds
    else:
        trainer.set_dropout(model, recipe.dropout)
        best = {"group_by_length": True, "bf16": native_bf16()}
        options: dict[str, Any] = best if side == "trainer_best" else {"pad_to": PADDED_LENGTH}
        share = 1.0
        if side == "trainer_defaults" and defaults_steps:
            count = min(len(train), defaults_steps * recipe.batch_size)
            share = count / len(train)
            train = replace(train, token_ids=train.token_ids[:count], labels=train.labels[:count])
        seconds = trainer.train_with_trainer(model, found.tokenizer, train, recipe, seed, **options) / share
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    if side == "trainer_defaults" and defaults_steps:
        return {"seconds": seconds, "megabytes": peak, "accuracy": None}
    dev = batches.encode(found.tokenizer, found.sentences.dev, recipe.max_length)
    accuracy = float(accuracy_score(dev.labels, finetune.predict(model, dev, pick_device())))
    return {"seconds": seconds, "megabytes": peak, "accuracy": accuracy}


def matrix_product_seconds(model: PreTrainedModel, train: Encoded, recipe: Recipe, seed: int) -> float:
    """The products of the lab's training alone: of every linear layer forward and both gradients.

    Shapes and type are those of the lab's steps (its last layer has products of first tokens only), every
    layer has weights of its own; no attention scores, no activations, no optimizer.
    """
    width, inner = model.config.hidden_size, model.config.intermediate_size
    shapes = {"query, key, value": (width, 3 * width), "output": (width, width)}
    shapes |= {"up": (width, inner), "down": (inner, width)}
    layers = range(model.config.num_hidden_layers)
    dtype = product_type(pick_device())
    weights = {(i, name): torch.randn(out, into, dtype=dtype) for i in layers for name, (into, out) in shapes.items()}
    gradients = {key: torch.empty_like(weight) for key, weight in weights.items()}

    def products(tokens: int, first_tokens: int) -> Iterator[tuple[tuple[int, str], int]]:
        for i in layers:
            for name in shapes:
                yield (i, name), tokens if i < layers[-1] else first_tokens

    seconds = 0.0
    for rows in batches.shuffled_rows(train, recipe.batch_size, random.Random(seed)):
        tokens = len(rows) * max(len(train.token_ids[row]) for row in rows)
        states = {
            (count, size): torch.randn(count, size, dtype=dtype)
            for count in (tokens, len(rows))
            for size in (width, 3 * width, inner)
        }
        results = {
            (count, size): torch.empty(count, size, dtype=dtype)
            for count in (tokens, len(rows))
            for size in (width, 3 * width, inner)
        }
        work = list(products(tokens, len(rows)))
        start = time.perf_counter()
        for key, count in work:
            out, into = weights[key].shape
            torch.mm(states[count, into], weights[key].t(), out=results[count, out])
        for key, count in reversed(work):
            out, into = weights[key].shape
            torch.mm(states[count, out], weights[key], out=results[count, into])
            torch.mm(states[count, out].t(), states[count, into], out=gradients[key])
        seconds += time.perf_counter() - start
    return seconds


def compare(pairs: int, sentences: int, dropout: float, defaults_steps: int | None) -> dict[str, Any]:
    """Run every side `pairs` times in turn and return the ratios with what is behind them."""
    found: dict[str, list[Side]] = {side: [] for side in SIDES}
    for pair in range(pairs):
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, "--seed", str(pair)]
            command += ["--sentences", str(sentences), "--dropout", str(dropout)]
            command += ["--defaults-steps", str(defaults_steps)] if defaults_steps else []
            environment = os.environ | (CHILD_ENVIRONMENT if side == "lab" else {})  # the lab's own children have it
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"pair {pair + 1} of {pairs}, {side}: {found[side][-1]}", err=True)
    seconds = {side: [one["seconds"] for one in found[side]] for side in SIDES}
    trained = [side for side in SIDES if found[side][0]["accuracy"] is not None]
    measured = [side for side in SIDES if side != "matrix_products"]
    return {
        "vs_trainer_best": _ratio(seconds["trainer_best"], seconds["lab"]),
        "vs_trainer_defaults": _ratio(seconds["trainer_defaults"], seconds["lab"]),
        "vs_matrix_products": _ratio(seconds["lab"], seconds["matrix_products"]),
        "pairs": pairs,
        "sentences": sentences,
        "dropout": dropout,
        "defaults_steps": defaults_steps,
        "trainer_best_is": "grouped by length, padded to the batch, fused AdamW, "
        + ("bf16" if native_bf16() else "float32 (this CPU has no bf16 products)"),
        "seconds": seconds,
        "accuracy": {side: [one["accuracy"] for one in found[side]] for side in trained},
        "peak_megabytes": {side: [round(one["megabytes"]) for one in found[side]] for side in measured},
    }


def table(result: dict[str, Any]) -> list[str]:
    """The result for RESULTS.md, line by line."""
    names = {
        "lab": "this lab",
        "trainer_best": f"Trainer at its best: {result['trainer_best_is']}",
        "trainer_defaults": f"Trainer as run_glue leaves it: padded to {PADDED_LENGTH}, float32",
        "matrix_products": "the lab's matrix products alone",
    }
    if steps := result["defaults_steps"]:
        names["trainer_defaults"] += f"; {steps} steps measured, multiplied out"
    lines = [
        "| side | seconds, median (least to most) | accuracy, mean over seeds | peak megabytes |",
        "| --- | --- | --- | --- |",
    ]
    for side, name in names.items():
        seconds = result["seconds"][side]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        accuracies, peaks = result["accuracy"].get(side), result["peak_megabytes"].get(side)
        accuracy = f"{100 * statistics.mean(accuracies):.2f}" if accuracies else ""
        megabytes = f"{statistics.median(peaks):.0f}" if peaks else ""
        lines.append(f"| {name} | {spread} | {accuracy} | {megabytes} |")
    gap = difference_interval(result["accuracy"]["lab"], result["accuracy"]["trainer_best"])
    return [
        f"`python benchmarks/finetune.py --pairs {result['pairs']} --dropout {result['dropout']:g}"
        f"{f' --defaults-steps {steps}' if steps else ''} --write`: {MODEL}, "
        f"{result['sentences']:,} sentences of {TASK}, one epoch, batch 32, seeds 0 to {result['pairs'] - 1}, "
        "one a pair.",
        "",
        *lines,
        "",
        f"Median ratios of the pairs: **{result['vs_trainer_best']:.2f}** times as fast as Trainer at its best, "
        f"**{result['vs_trainer_defaults']:.1f}** times as fast as its defaults, "
        f"**{result['vs_matrix_products']:.2f}** times the time of the matrix products. Accuracy against Trainer "
        f"at its best: {100 * gap.mean:+.2f} points (95 % interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f}).",
    ]


def _ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


@click.command()
@click.option("--pairs", type=click.IntRange(2), default=5, show_default=True)
@click.option("--sentences", type=int, default=2000, show_default=True)
@click.option("--dropout", type=float, default=0.1, show_default=True, help="run_glue leaves the model's own, 0.1.")
@click.option("--defaults-steps", type=int, help="Train Trainer's defaults for so many steps and multiply out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
@click.option("--side", type=click.Choice(SIDES), hidden=True, help="Measure this side once, in this process.")
@click.option("--seed", type=int, default=0, hidden=True)
def main(
    pairs: int,
    sentences: int,
    dropout: float,
    defaults_steps: int | None,
    as_json: bool,
    write: bool,
    side: str | None,
    seed: int,
) -> None:
    """Compare the sides and print a table."""
    if side:
        click.echo(json.dumps(measure(side, recipe_of(sentences, dropout), seed, defaults_steps)))
        return
    if as_json and write:
        raise click.UsageError("--json and --write exclude each other.")
    result = compare(pairs, sentences, dropout, defaults_steps)
    if as_json:
        click.echo(json.dumps(result))
    else:
        publish(f"One fine-tuning, dropout {dropout:g}", table(result), write)


if __name__ == "__main__":
    main()
