"""Whether a whole model has learned a task with a recipe; where it has not, what its cuts lose there says little.

This is the one place that decides it. A task that is undertrained for a model and a recipe is marked on every page and
left out of averages, claims and "best" sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.insight.chance import guessing_score
from pmb.insight.published import whole_model_score
from pmb.insight.zero_layers import ZeroLayerScores, beats

UNDERTRAINED = "undertrained"
MOST_POINTS_BELOW = 5.0  # the published figure of the whole model
MEANING = "Undertrained tasks do not count in averages, claims and sentences about what is best."


def undertrained(
    model: str,
    task: str,
    configurations: pd.DataFrame,
    zero: ZeroLayerScores | None,
    labels: Sequence[int | float] | None,
) -> str:
    """Why the whole model is undertrained, such as "whole model 77.0, published 88.9"; empty where it is not.

    `configurations`: from `insight.summary`, of this model and task with one recipe. `zero`: fitted on the train items
    of that recipe. `labels`: of dev, which tell what one answer to all scores where `zero` is not measured. Nothing is
    said where the whole model is not measured.
    """
    whole = configurations[configurations["drop_count"] == 0]
    if whole.empty:
        return ""
    row: Mapping[Any, Any] = whole.iloc[0].to_dict()
    said = f"whole model {100 * row['mean']:.1f}"
    published = whole_model_score(model, task, row["metric"])
    if published is not None and 100 * row["mean"] < published - MOST_POINTS_BELOW:
        return f"{said}, published {published:.1f}"
    for mark in zero.marks if zero else ():
        if not beats(row, mark):
            return f"{said}, not clearly better than {_with_article(mark.name)} with {100 * mark.mean:.1f}"
    if zero is None and labels and row["low"] <= (guess := guessing_score(row["metric"], labels)):
        return f"{said}, not clearly better than one answer to all with {100 * guess:.1f}"
    return ""


def undertrained_words(reasons: Mapping[str, str]) -> str:
    """Which tasks are undertrained and why, in a sentence; empty where none is. `reasons`: by the tasks' titles."""
    if not reasons:
        return ""
    return f"Undertrained: {'; '.join(f'{title} ({reason})' for title, reason in reasons.items())}. {MEANING}"


def _with_article(name: str) -> str:
    return f"a {name}" if name.startswith("bag") else name
