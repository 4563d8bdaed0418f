"""The mean over several tasks, as GLUE's average is made, and what a strategy loses on each of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.insight.intervals import Interval, difference_interval

AVERAGE = "average"
LOSS_COLUMNS = ("task", "drop_count", "loss", "low", "high", "mean", "seeds")


def losses(points: Mapping[str, pd.DataFrame], left_out: Collection[str] = ()) -> pd.DataFrame:
    """Points lost against the whole model, by task and drop count, and on average over the tasks but those `left_out`.

    `points`: by task the rows of ONE strategy from `summary.curves`. `loss`, `low` and `high` (a 95 % interval, NaN
    with a single seed) are in points, a loss positive; `mean` is the score. The average stands at the drop counts that
    every task has, over the seeds that every task has.
    """
    of_task: dict[str, Sequence[Mapping[Any, Any]]] = {task: table.to_dict("records") for task, table in points.items()}
    counted = {task: table for task, table in points.items() if task not in left_out}
    of_task |= {AVERAGE: _averages(counted)} if len(counted) > 1 else {}
    rows = [row for task, found in of_task.items() for row in _losses(task, found)]
    return pd.DataFrame(rows, columns=list(LOSS_COLUMNS))


def _losses(task: str, rows: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """Differences in scores turned into points lost; the whole model has lost nothing."""
    whole = next((row["mean"] for row in rows if row["drop_count"] == 0), math.nan)
    return [
        {
            "task": task,
            "drop_count": int(row["drop_count"]),
            "loss": 100 * (whole - row["mean"]),
            "low": -100 * row["difference_high"] if row["drop_count"] else 0.0,
            "high": -100 * row["difference_low"] if row["drop_count"] else 0.0,
            "mean": row["mean"],
            "seeds": len(row["seeds"]),
        }
        for row in rows
    ]


def _averages(points: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The mean over the tasks at each drop count that all of them have, as points of a strategy."""
    by_drop = [{int(row["drop_count"]): row for row in table.to_dict("records")} for table in points.values()]
    common = sorted(set.intersection(*(set(rows) for rows in by_drop)))
    whole = _mean_scores([rows[0] for rows in by_drop])[1] if 0 in common else ()
    averages = []
    for drop_count in common:
        of_tasks = [rows[drop_count] for rows in by_drop]
        seeds, scores = _mean_scores(of_tasks)
        if not seeds:
            continue
        several = min(len(scores), len(whole)) > 1
        difference = difference_interval(scores, whole) if several else Interval(math.nan, math.nan, math.nan)
        averages.append(
            {
                "drop_count": drop_count,
                "seeds": seeds,
                "mean": math.fsum(scores) / len(scores),
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        )
    return averages


def _mean_scores(of_tasks: Sequence[Mapping[Any, Any]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The seeds that every task has, and for each the mean of the tasks' scores."""
    by_seed = [dict(zip(row["seeds"], row["scores"], strict=True)) for row in of_tasks]
    seeds = tuple(sorted(set.intersection(*(set(scores) for scores in by_seed))))
    return seeds, tuple(math.fsum(scores[seed] for scores in by_seed) / len(by_seed) for seed in seeds)


def loss_sentence(
    table: pd.DataFrame,
    titles: Mapping[str, str],
    strategy: str,
    drop_count: int,
    total: int,
    left_out: Collection[str] = (),
) -> str:
    """The page's question answered at one drop count: the average, and the tasks that lose most and least.

    Those `left_out` are undertrained.
    """
    here = table[(table["drop_count"] == drop_count) & table["loss"].notna()]
    tasks = here[~here["task"].isin([AVERAGE, *left_out])].sort_values("loss")
    average = here[here["task"] == AVERAGE]
    what = f"Dropping {drop_count} of {total} layers by {strategy.replace('-', ' ')}"
    if tasks.empty and len(here):
        return f"What {what[0].lower()}{what[1:]} costs cannot be said: every task measured here is undertrained."
    if tasks.empty:
        return f"{what} has not been measured on these tasks with this recipe."
    most, least = tasks.iloc[-1], tasks.iloc[0]
    if average.empty:
        return f"{what} costs {_points(most)} on {titles[most['task']]}{_unclear(most)}."
    span = f"{least['loss']:.1f} ({titles[least['task']]}) to {most['loss']:.1f} ({titles[most['task']]})"
    mean = average.iloc[0]
    return f"{what} costs {_points(mean)} on average over {len(tasks)} tasks{_unclear(mean)}; by task from {span}."


def _unclear(row: pd.Series) -> str:
    return ", no clear loss" if row["low"] <= 0 <= row["high"] else ""


def _points(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return f"{row['loss']:.1f} points (1 seed, so no interval)"
    return f"{row['loss']:.1f} points (95 % interval {row['low']:.1f} to {row['high']:.1f})"
