"""How long runs will take, judged by those that have ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

WORDS = 30_000  # of a usual vocabulary


def layer_parameters(parameters: int, num_hidden_layers: int) -> float:
    """About how many of an encoder's parameters are in its layers.

    A layer of width h has about 12 h² and the word vectors about 30,000 h; their sum gives h.
    """
    squares = 12 * num_hidden_layers
    width = (math.sqrt(WORDS**2 + 4 * squares * parameters) - WORDS) / (2 * squares)
    return squares * width**2


def seconds_per_work(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of finished runs by work: examples times parameters of the layers that stayed; None without any."""
    rates = [
        run["total_seconds"]
        / work(run["recipe_values"], run["whole_model_parameters"], run["num_hidden_layers"], len(run["kept_layers"]))
        for run in runs
    ]
    return median(rates) if rates else None


def work(recipe: Mapping[str, Any], parameters: int, num_hidden_layers: int, depth: int) -> float:
    """What a fine-tuning costs, in examples times parameters."""
    share = depth / num_hidden_layers
    return recipe["train_sentences"] * recipe["epochs"] * share * layer_parameters(parameters, num_hidden_layers)


def duration(seconds: float) -> str:
    """About how long, such as "50 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{round(seconds / 3600)} h"
