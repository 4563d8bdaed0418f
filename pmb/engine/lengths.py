"""How many tokens the items of a task have with a model's tokenizer, before anything is cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pmb.engine.examples import Example
from pmb.spec import LengthCounts, Progress, Report

CHUNK_ITEMS = 1000


def count_lengths(
    tokenizer: PreTrainedTokenizerBase, train: Sequence[Example], dev: Sequence[Example], report: Report
) -> LengthCounts:
    """How many train and dev items there are of each length; special tokens count, as they do against a limit."""
    total, done = len(train) + len(dev), 0
    counts: list[tuple[tuple[int, int], ...]] = []
    for examples in (train, dev):
        found: Counter[int] = Counter()
        for start in range(0, len(examples), CHUNK_ITEMS):
            some = examples[start : start + CHUNK_ITEMS]
            report(Progress("counting tokens", done, total))
            columns = [list(column) for column in zip(*(example.texts for example in some), strict=True)]
            found.update(map(len, tokenizer(*columns, truncation=False)["input_ids"]))
            done += len(some)
        counts.append(tuple(sorted(found.items())))
    return LengthCounts(*counts)
