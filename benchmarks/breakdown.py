"""Where does a training step's time go? torch's own profiler over steps of the lab and of transformers' plain model.

Run: python -m benchmarks.breakdown [--write]   (with nothing else running)
Batch 32 of the embedded task, dropout 0.1, as benchmarks/finetune.py trains. Shares are of the operators' own time; the
profiler slows small operators, so they are upper bounds for all but the matrix products.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks import trainer
from benchmarks.embedded import open_embedded
from benchmarks.finetune import recipe_of
from benchmarks.results import publish
from pmb.engine import batches, finetune, surgery
from pmb.engine.batches import Encoded, batch_of, shuffled_rows
from pmb.engine.device import pick_device
from pmb.engine.forward import plain_forward

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


def shares(step: Callable[[], object]) -> tuple[dict[str, float], float]:
    """Share of each group in the operators' own time, and milliseconds a step."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    of_group: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        names = (group for group, parts in GROUPS.items() if any(part in event.key for part in parts))
        of_group[next(names, "everything else")] += event.self_cpu_time_total
    total = sum(of_group.values())
    return {group: of_group[group] / total for group in [*GROUPS, "everything else"]}, total / 1000 / STEPS


def plain_steps(train: Encoded, model_folder: Path, labels: Sequence[str]) -> None:
    """What a loop of one's own does: the whole vocabulary, transformers' forward pass, torch's dropout and clipping."""
    torch.manual_seed(0)
    model = surgery.load_classifier(model_folder, labels).train()
    trainer.set_dropout(model, 0.1)
    forward = plain_forward(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    for rows in shuffled_rows(train, 32, random.Random(0)):
        batch = batch_of(train, rows, pick_device())
        functional.cross_entropy(forward(batch), batch.labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(write: bool) -> None:
    """Profile both and print a table."""
    found = open_embedded()
    train = batches.encode(found.tokenizer, found.sentences.train[: 32 * STEPS], 128)

    def lab_steps() -> None:
        torch.manual_seed(0)
        model = surgery.load_classifier(found.folder, found.labels)
        finetune.fine_tune(model, train, recipe_of(32 * STEPS, 0.1), 0, pick_device(), lambda _: None)

    lab, lab_milliseconds = shares(lab_steps)
    plain, plain_milliseconds = shares(lambda: plain_steps(train, found.folder, found.labels))
    lines = ["| operators | this lab | a plain loop |", "| --- | --- | --- |"]
    for group in lab:
        lines.append(
            f"| {group} | {100 * lab[group]:.0f} % ({lab[group] * lab_milliseconds:.0f} ms) | "
            f"{100 * plain[group]:.0f} % ({plain[group] * plain_milliseconds:.0f} ms) |"
        )
    lines.append(f"| a step | {lab_milliseconds:.0f} ms | {plain_milliseconds:.0f} ms |")
    command = f"`python -m benchmarks.breakdown --write`: {STEPS} steps of batch 32, dropout 0.1, in torch's profiler."
    publish("Where a step's time goes", [command, "", *lines], write)


if __name__ == "__main__":
    main()
