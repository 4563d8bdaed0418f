"""What is said of a run that tells no two items apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pmb.insight.one_answer import one_answer
from pmb.lab import queue
from pmb.lab.answer import answer
from pmb.lab.store import Store
from tests.app import finish
from tests.conftest import result, spec


@pytest.mark.parametrize(
    ("predictions", "labels", "said"),
    [
        ([1] * 2000, ("rotten", "fresh"), "each of the 2,000 dev items the same answer, 'fresh': its score"),
        ([0] * 20, (), "each of the 20 dev items the same answer: its score"),
        ([2.5, 2.5001, 2.4999], (), "each of the 3 dev items the same answer: its score"),
        ([0, 1] * 10, ("rotten", "fresh"), ""),
        ([2.5, 2.6], (), ""),
        ([], ("rotten", "fresh"), ""),
        (None, (), ""),
    ],
)
def test_one_answer_for_all_items_is_a_sentence(
    predictions: Sequence[int | float] | None, labels: tuple[str, ...], said: str
) -> None:
    found = one_answer(predictions, labels)
    assert said in found
    assert bool(said) == bool(found)


def test_a_run_with_one_answer_says_so_with_the_name_of_the_label(store: Store) -> None:
    same, other = spec((0,)), spec((0, 1))
    finish(store, other, 0.8)
    queue.submit(store, [same])
    assert queue.claim(store, "worker")
    queue.finish(store, same.key, "worker", replace(result(0.5), predictions=(1,) * 2000))
    assert "each of the 2,000 dev items the same answer, 'fresh'" in answer(store, same.key, cached=False)["note"]
    assert answer(store, other.key, cached=False)["note"] is None
