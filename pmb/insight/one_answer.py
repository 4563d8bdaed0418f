"""Runs that tell no two items apart: whatever their score, their model has learned nothing of the task."""

from __future__ import annotations

from collections.abc import Sequence

SAME = 1e-3  # numbers that lie within this of each other are one answer


def one_answer(predictions: Sequence[int | float] | None, labels: Sequence[str] = ()) -> str:
    """A sentence on a run that gave every dev item the same answer; empty where it did not.

    `labels`: the names of the classes, where they are known; without them the answer is not named.
    """
    if not predictions or max(predictions) - min(predictions) > SAME:
        return ""
    first = predictions[0]
    named = f", {labels[int(first)]!r}" if int(first) == first and 0 <= first < len(labels) else ""
    return (
        f"It gives each of the {len(predictions):,} dev items the same answer{named}: its score is that of a constant, "
        "and more layers, sentences or epochs are needed."
    )
