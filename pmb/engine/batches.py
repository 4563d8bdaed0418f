"""Sentences to tensors: tokens once, batches of nearly equal lengths, padded to the longest of each batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pmb.engine.examples import Example

CHUNK_BATCHES = 50  # lengths are sorted within so many batches' worth of shuffled sentences


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of each example, ragged, with its label; and how the model wants them filled up.

    `token_type_ids`: which sentence each token is of; None where all are of the first.
    """

    token_ids: tuple[tuple[int, ...], ...]
    labels: tuple[int | float, ...]
    pad_token_id: int
    token_type_ids: tuple[tuple[int, ...], ...] | None = None
    pad_token_type_id: int = 0
    pad_left: bool = False

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Batch:
    """`input_ids`, `attention_mask`, `token_type_ids`: (batch, tokens); `labels`: (batch,), float32 in a regression.

    `rows`: where its examples stand; `is_padded`: whether one is shorter than the longest, so that the mask says
    something.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor | None
    labels: Tensor
    rows: tuple[int, ...]
    is_padded: bool


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int) -> Encoded:
    """Tokenize once, without padding, cut to `max_length` tokens or to what the model reads where that is less.

    Of a pair the longer sentence is cut first. `tokenizer` is one of `surgery.load_tokenizer`.
    """
    max_length = min(max_length, tokenizer.model_max_length)
    columns = [list(column) for column in zip(*(e.texts for e in examples), strict=True)]
    found = tokenizer(*columns, truncation=True, max_length=max_length)
    types = tuple(map(tuple, found.get("token_type_ids", ())))
    pad = tokenizer.pad_token_id
    return Encoded(
        token_ids=tuple(map(tuple, found["input_ids"])),
        labels=tuple(e.label for e in examples),
        pad_token_id=0 if pad is None else int(pad),
        token_type_ids=types if any(any(row) for row in types) else None,
        pad_token_type_id=int(tokenizer.pad_token_type_id),
        pad_left=tokenizer.padding_side == "left",
    )


def batch_of(data: Encoded, rows: Sequence[int], device: torch.device, widths: Sequence[int] = ()) -> Batch:
    """Fill up the given rows to the longest of them, or to the next of these numbers of tokens, the least first."""
    lengths = [len(data.token_ids[row]) for row in rows]
    longest = max(lengths)
    longest = next((width for width in widths if width >= longest), longest)

    def filled(values: Sequence[Sequence[int]], filler: int) -> Tensor:
        tensor = torch.full((len(rows), longest), filler, dtype=torch.long)
        for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            start = longest - length if data.pad_left else 0
            tensor[i, start : start + length] = torch.tensor(values[row])
        return tensor.to(device)

    places = torch.arange(longest)
    length_of = torch.tensor(lengths)[:, None]
    there = places >= longest - length_of if data.pad_left else places < length_of
    types = data.token_type_ids
    return Batch(
        input_ids=filled(data.token_ids, data.pad_token_id),
        attention_mask=there.long().to(device),
        token_type_ids=None if types is None else filled(types, data.pad_token_type_id),
        labels=torch.tensor([data.labels[row] for row in rows]).to(device),
        rows=tuple(rows),
        is_padded=min(lengths) < longest,
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
