"""How many layers may go at a loss of so many points: chosen on one half of dev, its loss reported on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

POINTS = (1, 2, 3)
SPLITS = 20
COLUMNS = ("points", "dropped", "dropped_low", "dropped_high", "loss", "loss_low", "loss_high")

Predictions = Mapping[int, Sequence[Sequence[int | float]]]  # by drop count, a row a seed


def layers_within(predictions: Predictions, labels: Sequence[int | float], metric: str) -> pd.DataFrame:
    """By greatest allowed loss (POINTS) the layers that go, and the points that are lost on sentences not chosen by.

    Sajjad et al. (2023) halve dev once; which half is chance, so here it is halved SPLITS times. `dropped` and `loss`
    are the medians over the halvings, `…_low` and `…_high` their least and greatest. A loss is the whole model's
    score less that of the cut, means over seeds. `predictions` needs the drop count 0.
    """
    truth = np.asarray(labels, dtype=np.float64)
    given = {count: np.asarray(rows, dtype=np.float64) for count, rows in sorted(predictions.items())}
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(SPLITS):
        order = rng.permutation(len(truth))
        chosen_on, reported_on = (_losses(given, truth, metric, half) for half in np.array_split(order, 2))
        for points in POINTS:
            dropped = max(count for count in given if chosen_on[count] <= points)
            rows.append((points, dropped, reported_on[dropped]))
    found = pd.DataFrame(rows, columns=["points", "dropped", "loss"])
    table = [
        {
            "points": points,
            "dropped": int(group["dropped"].median()),
            "dropped_low": int(group["dropped"].min()),
            "dropped_high": int(group["dropped"].max()),
            "loss": float(group["loss"].median()),
            "loss_low": float(group["loss"].min()),
            "loss_high": float(group["loss"].max()),
        }
        for points, group in found.groupby("points")
    ]
    return pd.DataFrame(table, columns=list(COLUMNS))


def _losses(
    predictions: Mapping[int, NDArray[np.float64]], truth: NDArray[np.float64], metric: str, rows: NDArray[np.int64]
) -> dict[int, float]:
    """Points lost on these dev examples, by drop count; rounded, since 0.87 - 0.86 is a little more than a point."""
    from pmb.scoring import scores_of  # scikit-learn: most of a second, which no first paint waits for

    means = {
        count: float(scores_of(metric, truth[rows], by_seed[:, rows]).mean()) for count, by_seed in predictions.items()
    }
    return {count: round(100 * (means[0] - mean), 9) for count, mean in means.items()}


def threshold_sentence(tables: Mapping[str, pd.DataFrame], titles: Mapping[str, str], points: int, total: int) -> str:
    """How many layers go at a loss of at most so many points, by task, in a sentence."""
    rows = {task: table[table["points"] == points].iloc[0] for task, table in tables.items()}
    parts = [f"{titles[task]} {_span(row)}" for task, row in rows.items()]
    unit = "point" if points == 1 else "points"
    return f"At a loss of at most {points} {unit}, of {total} layers go: {', '.join(parts)}."


def _span(row: pd.Series) -> str:
    if row["dropped_low"] == row["dropped_high"]:
        return f"{row['dropped']:.0f}"
    return f"{row['dropped']:.0f} ({row['dropped_low']:.0f} to {row['dropped_high']:.0f})"
