"""Sentences to tensors: tokens once, batches of nearly equal lengths, padded to the longest of each batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pmb.engine.data import Example

CHUNK_BATCHES = 50  # lengths are sorted within so many batches' worth of shuffled sentences


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of each sentence, ragged, and its label."""

    token_ids: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    pad_token_id: int

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Batch:
    """`input_ids` and `attention_mask`: (batch, tokens); `labels`: (batch,); `rows`: where its sentences stand.

    `is_padded`: whether some sentence is shorter than the longest, so that the mask says something.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    rows: tuple[int, ...]
    is_padded: bool


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int) -> Encoded:
    """Tokenize once, cut to `max_length` tokens, without padding."""
    ids = tokenizer([e.text for e in examples], truncation=True, max_length=max_length)["input_ids"]
    pad = tokenizer.pad_token_id
    return Encoded(tuple(map(tuple, ids)), tuple(e.label for e in examples), 0 if pad is None else int(pad))


def batch_of(data: Encoded, rows: Sequence[int], device: torch.device) -> Batch:
    """Pad the given rows to the longest of them."""
    lengths = [len(data.token_ids[row]) for row in rows]
    input_ids = torch.full((len(rows), max(lengths)), data.pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        input_ids[i, :length] = torch.tensor(data.token_ids[row])
        attention_mask[i, :length] = 1
    labels = torch.tensor([data.labels[row] for row in rows])
    return Batch(
        input_ids.to(device), attention_mask.to(device), labels.to(device), tuple(rows), min(lengths) < max(lengths)
    )


def shuffled_rows(data: Encoded, batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    """One epoch: rows of each training batch, shuffled, of similar lengths within a batch."""
    order = list(range(len(data)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    chunk = batch_size * CHUNK_BATCHES
    for start in range(0, len(order), chunk):
        rows = sorted(order[start : start + chunk], key=lambda row: len(data.token_ids[row]))
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    rng.shuffle(batches)
    yield from batches


def sorted_rows(data: Encoded, batch_size: int) -> Iterator[list[int]]:
    """Every row once, shortest first: the least padding, for evaluation."""
    rows = sorted(range(len(data)), key=lambda row: len(data.token_ids[row]))
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]
