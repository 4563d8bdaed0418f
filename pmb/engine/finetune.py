"""Fine-tuning and scoring: one readable loop, the paper's procedure (all weights, last epoch counts)."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from pmb.engine import memory
from pmb.engine.batches import Encoded, batch_of, shuffled_rows, sorted_rows
from pmb.engine.device import product_type
from pmb.engine.dropout import set_dropout
from pmb.engine.forward import Forward, evaluated, pick_forward, plain_forward, same_logits
from pmb.engine.vocabulary import compacted
from pmb.errors import RunFailed
from pmb.spec import Progress, Recipe, Report

EVALUATION_BATCH = 64
PROBE_EXAMPLES = 4  # by which a shortcut shows that it is exact


@dataclass(frozen=True, slots=True)
class Training:
    """What a fine-tuning took and how its loss fell."""

    seconds: float
    losses: tuple[float, ...]  # mean of each epoch
    fast: bool  # whether by the quicker forward pass
    peak_megabytes: float | None  # of memory, as `memory.peak_megabytes` counts


def fine_tune(
    model: PreTrainedModel, train: Encoded, recipe: Recipe, seed: int, device: torch.device, report: Report
) -> Training:
    """Fine-tune the model in place; raises RunFailed when the loss is not a number.

    AdamW with bias correction, linear warm-up and decay, clipped gradients. The order of the sentences and,
    on a CPU, the dropout masks come from `seed`; on a GPU the masks come from torch's generator, which the caller has
    seeded.
    """
    before = memory.forget_peak(device)
    set_dropout(model, recipe.dropout, seed)
    probe = range(min(PROBE_EXAMPLES, len(train)))
    reference = evaluated(model, plain_forward(model), batch_of(train, probe, device))
    with _vocabulary(model, train, recipe, device, reference) as data:
        forward, fast = pick_forward(model, product_type(device), batch_of(data, probe, device), reference)
        seconds, losses = _train(model, forward, data, recipe, seed, device, report)
    return Training(seconds, losses, fast, memory.peak_megabytes(device, before))


@contextmanager
def _vocabulary(
    model: PreTrainedModel, train: Encoded, recipe: Recipe, device: torch.device, reference: Tensor
) -> Iterator[Encoded]:
    """The data renumbered for a table of the words that occur, where that is exact; else as they are."""
    if recipe.weight_decay:  # it moves the rows of words that never occur
        yield train
        return
    with compacted(model, train) as data:
        probe = batch_of(data, range(len(reference)), device)
        if exact := same_logits(evaluated(model, plain_forward(model), probe), reference):
            yield data
    if not exact:
        yield train


def _train(
    model: PreTrainedModel,
    forward: Forward,
    train: Encoded,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    report: Report,
) -> tuple[float, tuple[float, ...]]:
    """Seconds, and the mean loss of each epoch."""
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    steps = total_steps(len(train), recipe)
    schedule = LambdaLR(optimizer, lambda step: linear_schedule(step, steps, recipe.warmup_fraction))
    rng = random.Random(seed)
    start = time.perf_counter()
    step = 0
    losses: list[float] = []
    for _ in range(recipe.epochs):
        epoch_losses: list[float] = []
        for rows in shuffled_rows(train, recipe.batch_size, rng):
            batch = batch_of(train, rows, device)
            loss = _loss(forward(batch).float(), batch.labels)
            loss.backward()
            _clip(optimizer, list(model.parameters()), recipe.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            epoch_losses.append(loss.item())
            if not math.isfinite(epoch_losses[-1]):
                raise RunFailed(
                    f"The loss became {epoch_losses[-1]} at step {step} of {steps}; a learning rate below "
                    f"{recipe.learning_rate:g} may help."
                )
            seconds = time.perf_counter() - start
            report(Progress("training", step, steps, epoch_losses[-1], seconds / step * (steps - step)))
        losses.append(sum(epoch_losses) / len(epoch_losses))
    return time.perf_counter() - start, tuple(losses)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels)


def _clip(optimizer: torch.optim.AdamW, parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """Have the next step divide the gradients so that their norm is at most `max_norm`.

    The fused step divides while it reads them, where `clip_grad_norm_` goes over all of them once more.
    """
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    optimizer.grad_scale = (norm / max_norm).clamp(min=1.0)  # type: ignore[attr-defined] # as torch's GradScaler does


def total_steps(num_sentences: int, recipe: Recipe) -> int:
    """Training steps of a recipe over that many sentences."""
    return math.ceil(num_sentences / recipe.batch_size) * recipe.epochs


def linear_schedule(step: int, steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate at a step counted from 0: up to 1 over the warm-up, then down to 0."""
    warmup = round(steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return max(0.0, (steps - step) / max(1, steps - warmup))


@torch.inference_mode()
def predict(model: PreTrainedModel, data: Encoded, device: torch.device) -> tuple[int | float, ...]:
    """The model's label for each example, or its number in a regression, in the order of the data."""
    model.eval()
    probe = batch_of(data, range(min(PROBE_EXAMPLES, len(data))), device)
    forward, _ = pick_forward(model, product_type(device), probe, plain_forward(model)(probe))
    predictions: list[int | float] = [0] * len(data)
    for rows in sorted_rows(data, EVALUATION_BATCH):
        batch = batch_of(data, rows, device)
        logits = forward(batch)
        found = logits.squeeze(-1) if batch.labels.is_floating_point() else logits.argmax(-1)
        for row, prediction in zip(rows, found.tolist(), strict=True):
            predictions[row] = prediction
    return tuple(predictions)
