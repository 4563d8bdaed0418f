"""What every task is in the end: train and dev examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence or a pair of them, and the index of its label; of a regression the number itself."""

    texts: tuple[str, ...]
    label: int | float


@dataclass(frozen=True, slots=True)
class TaskData:
    """The train examples in a fixed order, of which a recipe takes the first so many, and the dev examples.

    `more_dev`: other dev sets, by name; `notes`: what was left out or is odd, each a sentence.
    """

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    more_dev: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def in_hash_order(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples in an order that has nothing to do with what they say, the same everywhere and for ever."""
    return tuple(sorted(examples, key=lambda e: hashlib.sha256("\x00".join(e.texts).encode()).digest()))


def revision_of(found: TaskData) -> str:
    """A digest of all examples: the same sentences with the same labels are the same data, wherever they came from."""
    digest = hashlib.sha256()
    for part, examples in (("train", found.train), ("dev", found.dev), *sorted(found.more_dev.items())):
        digest.update(part.encode())
        for example in examples:
            digest.update(json.dumps([*example.texts, example.label]).encode())
    return digest.hexdigest()[:16]
