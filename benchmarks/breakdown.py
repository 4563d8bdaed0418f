"""Where does a training step's time go? torch's own profiler over steps of the lab and of transformers' plain model.

Run: python -m benchmarks.breakdown [--write]   (with nothing else running)
Batches of the embedded task, dropout 0.1: of 32 with all cores, as benchmarks/finetune.py trains, and of 8 on one
thread, as a run of a sweep trains; in the environment that the lab gives its children. Shares are of the operators'
own time; the profiler slows small operators, so they are upper bounds for all but the matrix products.
"""

from __future__ import annotations

import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import click
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks import trainer
from benchmarks.embedded import Embedded, open_embedded
from benchmarks.finetune import recipe_of
from benchmarks.results import publish
from pmb.engine import batches, finetune, surgery
from pmb.engine.batches import Encoded, batch_of, shuffled_rows
from pmb.engine.device import pick_device
from pmb.engine.forward import plain_forward
from pmb.lab.executors import CHILD_ENVIRONMENT

STEPS = 12

# The first group whose part of a name occurs in the operator's name has it.
GROUPS = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "attention's products": ("aten::bmm", "aten::baddbmm", "scaled_dot_product"),
    "activations and normalisation": ("gelu", "layer_norm", "softmax", "tanh"),
    "dropout masks": ("bernoulli", "aten::where", "aten::ge", "native_dropout"),
    "optimizer and clipping": ("adamw", "norm_except", "vector_norm", "linalg", "AdamW", "aten::mul_", "aten::stack"),
    "gradient of the embeddings": ("embedding", "aten::fill_", "aten::zero_", "index"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone", "contiguous"),
}


def shares(
    steps: Callable[[Embedded, Encoded, int], None], found: Embedded, train: Encoded, batch_size: int
) -> tuple[dict[str, float], float]:
    """Share of each group in the operators' own time, and milliseconds a step."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        steps(found, train, batch_size)
    of_group: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        names = (group for group, parts in GROUPS.items() if any(part in event.key for part in parts))
        of_group[next(names, "everything else")] += event.self_cpu_time_total
    total = sum(of_group.values())
    return {group: of_group[group] / total for group in [*GROUPS, "everything else"]}, total / 1000 / STEPS


def lab_steps(found: Embedded, train: Encoded, batch_size: int) -> None:
    """What a run of the lab does."""
    torch.manual_seed(0)
    model = surgery.load_classifier(found.folder, found.labels)
    recipe = replace(recipe_of(len(train), 0.1), batch_size=batch_size)
    finetune.fine_tune(model, train, recipe, 0, pick_device(), lambda _: None)


def plain_steps(found: Embedded, train: Encoded, batch_size: int) -> None:
    """What a loop of one's own does: the whole vocabulary, transformers' forward pass, torch's dropout and clipping."""
    torch.manual_seed(0)
    model = surgery.load_classifier(found.folder, found.labels).train()
    trainer.set_dropout(model, 0.1)
    forward = plain_forward(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    for rows in shuffled_rows(train, batch_size, random.Random(0)):
        batch = batch_of(train, rows, pick_device())
        functional.cross_entropy(forward(batch), batch.labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(write: bool) -> None:
    """Profile both at both settings and print a table."""
    if not CHILD_ENVIRONMENT.items() <= os.environ.items():  # malloc reads its settings when a process starts
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.breakdown", *sys.argv[1:]],
            os.environ | CHILD_ENVIRONMENT,
        )
    found = open_embedded()
    columns = []
    all_threads = torch.get_num_threads()
    for batch_size, threads in ((32, all_threads), (8, 1)):
        torch.set_num_threads(threads)
        train = batches.encode(found.tokenizer, found.sentences.train[: batch_size * STEPS], 128)
        for side, steps in (("this lab", lab_steps), ("a plain loop", plain_steps)):
            columns.append(
                (
                    f"{side}, batch {batch_size}, {threads} thread{'s' * (threads > 1)}",
                    *shares(steps, found, train, batch_size),
                )
            )
    lines = [f"| operators | {' | '.join(title for title, _, _ in columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for group in columns[0][1]:
        cells = [f"{100 * of[group]:.0f} % ({of[group] * milliseconds:.0f} ms)" for _, of, milliseconds in columns]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    lines.append(f"| a step | {' | '.join(f'{milliseconds:.0f} ms' for _, _, milliseconds in columns)} |")
    torch.set_num_threads(all_threads)  # the line of the machine counts them
    command = f"`python -m benchmarks.breakdown --write`: {STEPS} steps of each, dropout 0.1, in torch's profiler."
    publish("Where a step's time goes", [command, "", *lines], write)


if __name__ == "__main__":
    main()
