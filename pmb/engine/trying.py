"""Kept models answer what somebody typed: probabilities, how they form from layer to layer, and how long it takes.

On the CPU: a sentence takes milliseconds there, and the GPU belongs to the runs.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.engine import export, readers, run, surgery
from pmb.engine.batches import Encoded, batch_of, encode
from pmb.engine.examples import Example
from pmb.engine.forward import evaluated, plain_forward
from pmb.engine.probe import sentence_tokens
from pmb.engine.readers import Reader
from pmb.spec import Progress, Report, RunSpec, Tried

MOST_OPEN = 4  # models
CPU = torch.device("cpu")

Answers = tuple[tuple[float, ...], ...]  # by text, or by layer: of each label, or one number


@dataclass(frozen=True)
class Kept:
    """A model that has been opened to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    readers: list[Reader]


def keep_for_trying(
    spec: RunSpec, model_row: BaseModel, task: Task, assets_folder: Path, weights: Path, report: Report
) -> None:
    """Keep the run's weights, made again where they are not there, and a classifier on each layer; raises PmbError."""
    if not (weights / export.MADE).is_file():
        export.keep(spec, model_row, task, assets_folder, weights, report)
    base = run.model_folder(model_row, assets_folder)
    train = run.encoded(spec, task, base, assets_folder, report)["train"]
    model = surgery.open_classifier(weights)
    with export.space_told(weights / readers.FILE):
        found = readers.fit_readers(
            model.eval(), train, len(task.labels), CPU, lambda done: report(Progress("reading", done, len(train)))
        )
        readers.write_readers(found, weights)


def answers(
    folders: Sequence[Path], max_lengths: Sequence[int], texts: Sequence[tuple[str, ...]], timings: int
) -> list[Tried]:
    """What each kept model answers to all the texts, in their order; raises PmbError.

    `max_lengths`: to how many tokens each model cuts a text; `timings`: how often the first text is timed.
    """
    kept = [_opened(folder) for folder in folders]
    for folder in folders:
        os.utime(folder / export.MADE)  # the cache deletes what was longest of no use
    coded = [_encoded(one, texts, length) for one, length in zip(kept, max_lengths, strict=True)]
    seconds = _seconds([one.model for one in kept], [data for data, _ in coded], timings)
    return [
        Tried(*_answers(one, data), cut_off, taken)
        for one, (data, cut_off), taken in zip(kept, coded, seconds, strict=True)
    ]


@lru_cache(maxsize=MOST_OPEN)
def _opened(folder: Path) -> Kept:
    return Kept(surgery.open_classifier(folder).eval(), surgery.load_tokenizer(folder), readers.open_readers(folder))


def _encoded(kept: Kept, texts: Sequence[tuple[str, ...]], max_length: int) -> tuple[Encoded, tuple[bool, ...]]:
    """The tokens of the texts, and of each whether it had more of them than the model takes."""
    examples = [Example(parts, 0) for parts in texts]
    longer = encode(kept.tokenizer, examples, max_length + 1)
    return encode(kept.tokenizer, examples, max_length), tuple(len(ids) > max_length for ids in longer.token_ids)


@torch.inference_mode()
def _answers(kept: Kept, data: Encoded) -> tuple[Answers, tuple[Answers, ...]]:
    """By text what the model answers, and what the classifier on each of its layers does."""
    batch = batch_of(data, range(len(data)), CPU)
    logits = evaluated(kept.model, plain_forward(kept.model), batch).float()
    found = logits if logits.shape[1] == 1 else logits.softmax(1)
    states = sentence_tokens(kept.model, data, range(len(data)), CPU)[1:]
    layers = [reader.read(layer.numpy()) for reader, layer in zip(kept.readers, states, strict=True)]
    by_text = np.stack(layers, axis=1)  # (texts, layers, classes)
    return _plain(found.tolist()), tuple(_plain(one.tolist()) for one in by_text)


def _plain(values: list[list[float]]) -> Answers:
    return tuple(map(tuple, values))


@torch.inference_mode()
def _seconds(models: Sequence[PreTrainedModel], data: Sequence[Encoded], timings: int) -> list[float]:
    """The median time of the first text alone; the models take turns, so that a busy moment meets all of them."""
    forwards = [plain_forward(model) for model in models]
    batches = [batch_of(one, [0], CPU) for one in data]
    times: list[list[float]] = [[] for _ in models]
    for turn in range(timings + 1):
        for taken, forward, batch in zip(times, forwards, batches, strict=True):
            start = time.perf_counter()
            forward(batch)
            if turn:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
