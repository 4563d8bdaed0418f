"""What is scored by one answer given to every sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def guessing_score(metric: str, labels: Sequence[int | float]) -> float:
    """What the commonest answer, given to every dev example, scores.

    A correlation is 0 then. F1 is that of label 1, so its commonest answer is label 1.
    """
    if metric == "accuracy":
        return max(Counter(labels).values()) / len(labels)
    if metric == "f1":
        share = sum(label == 1 for label in labels) / len(labels)
        return 2 * share / (1 + share)
    if metric == "macro f1":
        share = max(Counter(labels).values()) / len(labels)
        return 2 * share / (1 + share) / len(set(labels))
    return 0.0
