"""Fine-tuning and scoring: one readable loop, the paper's procedure (all weights, last epoch counts)."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from pmb.engine import memory
from pmb.engine.batches import Batch, Encoded, batch_of, shuffled_rows, sorted_rows
from pmb.engine.checkpoints import Checkpoint, Generators, Keeper, Stand
from pmb.engine.device import leave_default_stream, needed_bytes, product_type
from pmb.engine.dropout import set_dropout
from pmb.engine.forward import Forward, evaluated, pick_forward, plain_forward, same_logits
from pmb.engine.graphs import Step, repeated
from pmb.engine.shortcut import attempt
from pmb.engine.vocabulary import compacted
from pmb.errors import RunFailed
from pmb.spec import Progress, Recipe, Report

EVALUATION_BATCH = 64
PROBE_EXAMPLES = 4  # by which a shortcut shows that it is exact


@dataclass(frozen=True, slots=True)
class Training:
    """What a fine-tuning took and how its loss fell."""

    seconds: float  # also of an attempt before this one from which it went on
    earlier_seconds: float  # of those, the earlier attempt's
    losses: tuple[float, ...]  # mean of each epoch
    fast: bool  # whether by the quicker forward pass
    peak_megabytes: float | None  # of memory, as `memory.peak_megabytes` counts


def fine_tune(
    model: PreTrainedModel,
    train: Encoded,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    report: Report,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Fine-tune the model in place; raises RunFailed when the loss is not a number.

    With a checkpoint it goes on from the epoch that was saved there, and ends with the same weights as without a break.

    AdamW with bias correction, linear warm-up and decay, clipped gradients. The order of the sentences and,
    on a CPU, the dropout masks come from `seed`; on a GPU the masks come from torch's generator, which the caller has
    seeded.
    """
    if device.type == "cuda":
        leave_default_stream()
    peak_before = memory.forget_peak(device)
    masks = set_dropout(model, recipe.dropout, seed)
    probe = range(min(PROBE_EXAMPLES, len(train)))
    reference = evaluated(model, plain_forward(model), batch_of(train, probe, device))
    with _vocabulary(model, train, recipe, device, reference) as data:
        forward, fast = pick_forward(model, product_type(device), batch_of(data, probe, device), reference)
        optimizer = _optimizer(model, recipe, device)
        order = random.Random(seed)
        keeper = Keeper(checkpoint, model, optimizer, Generators(order, masks, device))
        before = keeper.restore()
        weights = class_weights(train.labels, model.config.num_labels or 0).to(device) if recipe.class_weights else None
        loop = _Loop(model, forward, fast, data, recipe, device, report, optimizer, order, weights)
        stand = loop.train(before, keeper)
    # What was read to go on from stood in memory too: only a fine-tuning in one go tells its peak.
    peak_megabytes = None if before.losses else memory.peak_megabytes(device, peak_before)
    return Training(stand.seconds, before.seconds, stand.losses, fast, peak_megabytes)


@contextmanager
def _vocabulary(
    model: PreTrainedModel, train: Encoded, recipe: Recipe, device: torch.device, reference: Tensor
) -> Iterator[Encoded]:
    """The data renumbered for a table of the words that occur, where that is exact; else as they are."""
    if recipe.weight_decay:  # it moves the rows of words that never occur
        yield train
        return
    with ExitStack() as compaction:

        def exact_data() -> Encoded | None:
            data = compaction.enter_context(compacted(model, train))
            probe = batch_of(data, range(len(reference)), device)
            return data if same_logits(evaluated(model, plain_forward(model), probe), reference) else None

        data = attempt("The compacted vocabulary", exact_data)
        if data is None:
            compaction.close()
        yield train if data is None else data


@dataclass(frozen=True, slots=True)
class _Loop:
    """What the training loop works with."""

    model: PreTrainedModel
    forward: Forward
    fast: bool
    data: Encoded
    recipe: Recipe
    device: torch.device
    report: Report
    optimizer: torch.optim.AdamW
    order: random.Random
    class_weights: Tensor | None

    def train(self, stand: Stand, keeper: Keeper) -> Stand:
        """Train the epochs that are left, and have each saved."""
        self.model.train()
        step: Step = self._step
        widths: tuple[int, ...] = ()
        if self.fast:  # transformers' own way may wait for numbers on its way
            step, widths = repeated(step, self.device, needed_bytes(self.model, self.recipe), self.data)
        start = time.perf_counter() - stand.seconds
        while len(stand.losses) < self.recipe.epochs:
            loss = self._epoch(step, widths, len(stand.losses), time.perf_counter() - start)
            stand = Stand((*stand.losses, loss), time.perf_counter() - start)
            keeper.save(stand)
        return stand

    def _step(self, batch: Batch) -> Tensor:
        """Train on one batch; returns its loss."""
        try:
            loss = _loss(self.forward(batch).float(), batch.labels, self.class_weights)
            loss.backward()
            _clip(self.optimizer, list(self.model.parameters()), self.recipe.max_grad_norm)
            self.optimizer.step()
        finally:  # what a recording that breaks off leaves is no gradient
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _epoch(self, train_on: Step, widths: Sequence[int], epoch: int, seconds_before: float) -> float:
        """Train one epoch, counted from 0, with batches of these numbers of tokens; returns its mean loss."""
        steps = total_steps(len(self.data), self.recipe)
        step = steps // self.recipe.epochs * epoch
        start = time.perf_counter() - seconds_before
        losses: list[float] = []
        for rows in shuffled_rows(self.data, self.recipe.batch_size, self.order):
            factor = linear_schedule(step, steps, self.recipe.warmup_fraction)
            _set_learning_rate(self.optimizer, self.recipe.learning_rate * factor)
            loss = train_on(batch_of(self.data, rows, self.device, widths))
            step += 1
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise RunFailed(
                    f"The loss became {losses[-1]} in epoch {epoch + 1} of {self.recipe.epochs}, at step {step} of "
                    f"{steps}; a learning rate below {self.recipe.learning_rate:g} may help."
                )
            seconds = time.perf_counter() - start
            self.report(Progress("training", step, steps, losses[-1], seconds / step * (steps - step)))
        return sum(losses) / len(losses)


def _optimizer(model: PreTrainedModel, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW; on a GPU with its rate in the GPU's memory, where a graph of kernels reads it anew each time."""
    on_gpu = device.type == "cuda"
    rate = torch.tensor(recipe.learning_rate, device=device) if on_gpu else recipe.learning_rate
    decay = recipe.weight_decay
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True, capturable=on_gpu)


def _set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels, weights)


def class_weights(labels: Sequence[int | float], num_labels: int) -> Tensor:
    """A weight for each class, (num_labels,): the inverse of its frequency, so that a balanced task has weights of 1.

    A class without a train item has the weight 0.
    """
    counts = torch.bincount(torch.tensor(labels, dtype=torch.long), minlength=num_labels)
    present = counts > 0
    weights = torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), 0.0)
    return weights.float()


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
        if not logits.isfinite().all():
            raise RunFailed("The fine-tuned model answers with not-a-number; a lower learning rate may help.")
        found = logits.squeeze(-1) if batch.labels.is_floating_point() else logits.argmax(-1)
        for row, prediction in zip(rows, found.tolist(), strict=True):
            predictions[row] = prediction
    return tuple(predictions)
