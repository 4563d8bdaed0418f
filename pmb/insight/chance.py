"""Whether a model has learned a task at all: is it better than one answer given to every sentence?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd


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


def hardly_learned(configurations: pd.DataFrame, labels: Sequence[int | float] | None) -> bool:
    """Whether the whole model's interval reaches down to guessing; False where it or the labels are not known.

    `configurations`: from `insight.summary`, of one model, task and recipe.
    """
    whole = configurations[configurations["drop_count"] == 0]
    if whole.empty or not labels:
        return False
    row = whole.iloc[0]
    return bool(row["low"] <= guessing_score(row["metric"], labels))
