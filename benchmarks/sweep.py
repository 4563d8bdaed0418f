"""How fast is a whole sweep? Six strategies at every drop count with 3 seeds, against a shell loop over run_glue.

Run: python -m benchmarks.sweep [--home DIR] [--write]   (with nothing else running)
The lab's side is a real `python -m pmb sweep --recipe standard` in a home of its own, from the first run's queueing to
the last one's end. The loop's side has a process for each strategy, drop count and seed, so that equal cuts and the
whole model are trained again and again. It would take most of a day, and its steps are all alike (padded to 128): so
for each depth one process is really started and timed through its imports, loading and STEPS steps of training and of
evaluation, and the rest is multiplied out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
from filelock import FileLock

from benchmarks.results import publish
from pmb.catalog.models import find_model
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import find_task
from pmb.lab.store import list_runs, open_store
from pmb.settings import REPOSITORY, Settings, from_environment
from pmb.strategies import STRATEGIES, drop_counts

MODEL, TASK, RECIPE = "minilm-l6", "rotten-tomatoes", "standard"
SEEDS = 3
STEPS = 10
PADDED_LENGTH = 128  # run_glue's --max_seq_length
EVALUATION_BATCH = 8  # Trainer's default


def lab_seconds(home: Path) -> tuple[float, int]:
    """Wall time of the lab's sweep and how many runs it took."""
    settings = from_environment()
    with FileLock(home / "sweep.lock"):
        if not (home / "assets").exists():
            (home / "assets").symlink_to(settings.assets)
        nothing_shipped = home / "nothing-shipped"
        environment = os.environ | {"PMB_HOME": str(home), "PMB_SHIPPED": str(nothing_shipped)}
        command = [sys.executable, "-m", "pmb", "sweep", "--recipe", RECIPE, "--json"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)
        store = open_store(Settings(home, "", "local", nothing_shipped, None))
        rows = [row for row in list_runs(store, "done") if row["recipe"] == RECIPE]
        store.close()
    return max(row["finished_at"] for row in rows) - min(row["queued_at"] for row in rows), len(rows)


def loop_run_seconds(depth: int) -> float:
    """What run_glue's defaults take at one depth with the same sentences, epochs and batch size, start-up included."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.sweep", "--depth", str(depth)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - start
    measured = json.loads(done.stdout.splitlines()[-1])
    recipe = find_recipe(RECIPE, find_model(MODEL), find_task(TASK))
    assert recipe.train_sentences is not None
    train_steps = recipe.train_sentences * recipe.epochs / recipe.batch_size
    evaluation_steps = (find_task(TASK).dev_examples or 0) / EVALUATION_BATCH
    start_up = whole - measured["train_seconds"] - measured["evaluation_seconds"]
    train = train_steps * measured["train_seconds"] / STEPS
    return float(start_up + train + evaluation_steps * measured["evaluation_seconds"] / STEPS)


def measure_depth(depth: int) -> dict[str, float]:
    """In a process of its own: STEPS steps of training and of evaluation as run_glue does them."""
    import torch

    from benchmarks import trainer
    from benchmarks.embedded import open_embedded
    from pmb.engine import batches, surgery

    found, recipe = open_embedded(), find_recipe(RECIPE, find_model(MODEL), find_task(TASK))
    train = batches.encode(found.tokenizer, found.sentences.train[: STEPS * recipe.batch_size], PADDED_LENGTH)
    dev = batches.encode(found.tokenizer, found.sentences.dev[: STEPS * EVALUATION_BATCH], PADDED_LENGTH)
    torch.manual_seed(0)
    model = surgery.cut(surgery.load_classifier(found.folder, found.labels), range(depth))
    trainer.set_dropout(model, recipe.dropout)
    few = replace(recipe, train_sentences=None, epochs=1)
    return {
        "train_seconds": trainer.train_with_trainer(model, found.tokenizer, train, few, 0, pad_to=PADDED_LENGTH),
        "evaluation_seconds": trainer.evaluate_with_trainer(model, found.tokenizer, dev, PADDED_LENGTH),
    }


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Keep the lab's sweep here.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
@click.option("--depth", type=int, hidden=True)
def main(home: Path | None, write: bool, depth: int | None) -> None:
    """Measure both sides and print a table."""
    if depth:
        click.echo(json.dumps(measure_depth(depth)))
        return
    whole_depth = find_model(MODEL).num_hidden_layers
    of_depth = {depth: loop_run_seconds(depth) for depth in range(1, whole_depth + 1)}
    depths = [whole_depth - k for strategy in STRATEGIES for k in drop_counts(strategy, whole_depth)]
    loop = SEEDS * sum(of_depth[depth] for depth in depths)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (home or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lab, runs = lab_seconds(folder)
    lines = [
        f"`python -m benchmarks.sweep --write`: {MODEL}, {TASK}, `{RECIPE}`, {len(STRATEGIES)} strategies at every "
        f"drop count, {SEEDS} seeds.",
        "",
        "| side | processes that train | hours |",
        "| --- | --- | --- |",
        f"| `python -m pmb sweep`, measured | {runs} | {lab / 3600:.2f} |",
        f"| shell loop over run_glue's defaults, {STEPS} steps a depth measured and multiplied out | "
        f"{SEEDS * len(depths)} | {loop / 3600:.2f} |",
        "",
        f"The sweep takes **1/{loop / lab:.1f}** of the loop's time. One process of the loop, by layers kept: "
        + ", ".join(f"{depth}: {seconds:.0f} s" for depth, seconds in of_depth.items())
        + ".",
    ]
    publish("A whole sweep", lines, write)


if __name__ == "__main__":
    main()
