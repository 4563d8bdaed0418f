"""Losses by task and on average over tasks, from points whose right answer is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import pytest
from scipy import stats

from pmb.insight.averages import AVERAGE, loss_sentence, losses
from pmb.insight.summary import configurations, curves

Scores = Mapping[int, Sequence[float]]  # by drop count, a score a seed
TITLES = {"sst2": "SST-2", "rte": "RTE"}


def points(scores: Scores, seeds: Sequence[int] = (0, 1, 2)) -> pd.DataFrame:
    """The points of strategy top on a model of four layers."""
    runs = [
        {
            "kept_layers": list(range(4 - drop)),
            "num_hidden_layers": 4,
            "seed": seed,
            "score": score,
            "scores": [{"low": score - 0.03, "high": score + 0.04}],
            "metric": "accuracy",
            "parameters": 1,
            "megabytes": 1.0,
            "train_seconds": 1.0,
            "source": "measured",
            "device": "cpu",
            "finished_at": 1.0,
        }
        for drop, of_seed in scores.items()
        for seed, score in zip(seeds, of_seed, strict=True)
    ]
    table = curves(configurations(runs), 4, None)
    return table[table["strategy"] == "top"]


def at(table: pd.DataFrame, task: str, drop: int) -> pd.Series:
    (row,) = [row for _, row in table.iterrows() if (row["task"], row["drop_count"]) == (task, drop)]
    return row


def test_the_average_is_the_plain_mean_of_the_tasks_seed_by_seed() -> None:
    one = {0: (0.90, 0.91, 0.92), 1: (0.88, 0.90, 0.89)}
    other = {0: (0.60, 0.66, 0.63), 1: (0.61, 0.57, 0.59)}
    table = losses({"sst2": points(one), "rte": points(other)})
    whole = [(a + b) / 2 for a, b in zip(one[0], other[0], strict=True)]
    cut = [(a + b) / 2 for a, b in zip(one[1], other[1], strict=True)]
    test = stats.ttest_ind(whole, cut, equal_var=False)
    interval = test.confidence_interval()
    row = at(table, AVERAGE, 1)
    assert row["loss"] == pytest.approx(100 * (sum(whole) - sum(cut)) / 3)
    assert (row["low"], row["high"]) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert at(table, "sst2", 1)["loss"] == pytest.approx(2.0)
    assert at(table, "rte", 1)["loss"] == pytest.approx(4.0)
    assert at(table, AVERAGE, 0)["loss"] == 0.0


def test_the_average_stands_only_where_every_task_has_been_measured() -> None:
    one = {0: (0.90, 0.91, 0.92), 1: (0.88, 0.90, 0.89), 2: (0.8, 0.8, 0.81)}
    other = {0: (0.60, 0.66, 0.63), 2: (0.5, 0.51, 0.52)}
    table = losses({"sst2": points(one), "rte": points(other)})
    assert list(table[table["task"] == AVERAGE]["drop_count"]) == [0, 2]
    assert AVERAGE not in set(losses({"sst2": points(one)})["task"])
    assert losses({}).empty


def test_seeds_that_a_task_lacks_are_left_out_of_the_average() -> None:
    one = {0: (0.9, 0.8, 0.7), 1: (0.8, 0.7, 0.6)}
    other = {0: (0.6, 0.5), 1: (0.6, 0.5)}
    table = losses({"sst2": points(one), "rte": points(other, seeds=(1, 2))})
    row = at(table, AVERAGE, 1)
    assert row["seeds"] == 2
    assert row["loss"] == pytest.approx(100 * (0.75 - 0.65 + 0.0) / 2)


def test_of_a_single_seed_there_is_a_loss_without_an_interval() -> None:
    table = losses({name: points({0: (0.9,), 1: (0.8,)}, seeds=(0,)) for name in TITLES})
    row = at(table, AVERAGE, 1)
    assert row["loss"] == pytest.approx(10.0)
    assert math.isnan(row["low"])
    assert "10.0 points (1 seed, so no interval) on average over 2 tasks" in loss_sentence(table, TITLES, "top", 1, 4)


def test_the_sentence_names_the_tasks_that_lose_most_and_least() -> None:
    one = {0: (0.90, 0.91, 0.92), 1: (0.88, 0.90, 0.89)}
    other = {0: (0.60, 0.66, 0.63), 1: (0.61, 0.57, 0.59)}
    table = losses({"sst2": points(one), "rte": points(other)})
    said = loss_sentence(table, TITLES, "even-alternate", 1, 4)
    assert said.startswith("Dropping 1 of 4 layers by even alternate costs 3.0 points (95 % interval ")
    assert said.endswith("on average over 2 tasks, no clear loss; by task from 2.0 (SST-2) to 4.0 (RTE).")
    alone = loss_sentence(losses({"sst2": points(one)}), TITLES, "top", 1, 4)
    assert alone.startswith("Dropping 1 of 4 layers by top costs 2.0 points")
    assert "has not been measured" in loss_sentence(table, TITLES, "top", 3, 4)
