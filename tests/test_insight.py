"""Intervals against scipy.stats, configurations, curves, the Pareto front and the sentence, on made-up runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pmb.insight import summary
from pmb.insight.intervals import binomial_interval, difference_interval, seed_interval
from pmb.screen import ui

several = st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda values: max(values) - min(values) > 1e-6)


def run(kept: tuple[int, ...], seed: int, score: float) -> dict[str, Any]:
    return {
        "kept_layers": list(kept),
        "num_hidden_layers": 6,
        "seed": seed,
        "metric": "accuracy",
        "score": score,
        "scores": None,
        "num_dev": 2000,
        "parameters": 1_000_000 * len(kept),
        "megabytes": 4.0 * len(kept),
        "train_seconds": 10.0,
        "source": "measured",
        "device": "cpu",
        "finished_at": 1.0,
    }


WHOLE = tuple(range(6))


@given(several)
def test_the_seed_interval_is_scipys(values: list[float]) -> None:
    ours = seed_interval(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=ours.mean, scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(expected)


@given(st.integers(1, 3000), st.data())
def test_the_binomial_interval_is_scipys(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    ours = binomial_interval(hits / count, count)
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(several, several)
def test_the_difference_interval_is_scipys(values: list[float], others: list[float]) -> None:
    ours = difference_interval(values, others)
    expected = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_seed_has_no_seed_interval() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        seed_interval([0.8])


def test_seeds_are_one_row_with_their_interval_and_the_difference_from_the_whole_model() -> None:
    runs = [run(WHOLE, s, score) for s, score in enumerate((0.80, 0.81, 0.82))]
    runs += [run((0, 1, 2), s, score) for s, score in enumerate((0.70, 0.71, 0.72))]
    table = summary.configurations(runs)
    assert list(table["drop_count"]) == [0, 3]
    cut = table.iloc[1]
    assert cut["seeds"] == (0, 1, 2)
    assert cut["mean"] == pytest.approx(0.71)
    assert cut["difference"] == pytest.approx(-0.10)
    assert cut["difference_high"] < 0
    assert pd.isna(table.iloc[0]["difference"])


def test_one_seed_gets_the_binomial_interval_and_no_difference() -> None:
    table = summary.configurations([run(WHOLE, 0, 0.8), run((0,), 0, 0.7)])
    cut = table.iloc[1]
    assert (cut["low"], cut["high"]) == pytest.approx((0.6796, 0.7196), abs=1e-3)
    assert pd.isna(cut["difference_low"])


def test_a_shared_cut_stands_once_for_each_of_its_strategies() -> None:
    points = summary.curves(summary.configurations([run((0, 1, 2, 3, 4), 0, 0.8)]), 6, None)
    assert list(points["strategy"]) == ["top", "even-alternate"]


def test_contribution_is_drawn_once_its_scores_are_known() -> None:
    table = summary.configurations([run((0, 1, 2, 3, 4), 0, 0.8)])
    points = summary.curves(table, 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert "contribution" in set(points["strategy"])


def test_an_empty_store_gives_empty_tables() -> None:
    table = summary.configurations([])
    assert table.empty
    assert summary.curves(table, 6, None).empty
    assert summary.speed_by_depth([], 6, 32, 32).empty


def latency(depth: int, device: str, when: float) -> dict[str, Any]:
    values = {"ratio": 6 / depth, "low": 1.0, "high": 9.0, "batch": 32, "length": 32}
    return values | {"depth": depth, "device": device, "measured_at": when}


def test_speed_comes_from_one_device_the_most_measured_then_the_latest() -> None:
    rows = [latency(3, "old", 1), latency(2, "old", 1), latency(3, "new", 2)]
    assert set(summary.speed_by_depth(rows, 6, 32, 32)["speed_device"]) == {"old"}
    rows.append(latency(2, "new", 2))
    speed = summary.speed_by_depth(rows, 6, 32, 32)
    assert set(speed["speed_device"]) == {"new"}
    assert list(speed["depth"]) == [2, 3, 6]
    assert speed.iloc[-1]["speedup"] == 1.0


def test_the_front_holds_what_nothing_beats() -> None:
    table = pd.DataFrame({"speedup": [1.0, 2.0, 2.0, 3.0, 1.5], "mean": [0.8, 0.8, 0.7, 0.6, 0.75]})
    assert list(summary.pareto_front(table)) == [False, True, False, True, False]


def sentence(whole_scores: list[float], cut_scores: list[float], speedup: float | None = 2.0) -> str:
    runs = [run(WHOLE, i, s) for i, s in enumerate(whole_scores)]
    runs += [run((0, 1, 2), i, s) for i, s in enumerate(cut_scores)]
    table = summary.configurations(runs)
    rows: dict[int, Any] = {row["drop_count"]: row for row in table.to_dict("records")}
    return summary.answer_sentence(rows[3], rows.get(0), "top", speedup)


def test_a_clear_loss_is_called_with_its_interval() -> None:
    said = sentence([0.80, 0.81, 0.82], [0.70, 0.71, 0.72])
    assert said.startswith(
        "Dropping 3 of 6 layers by top keeps 87.7 % of the accuracy (71.0 ± 2.5 of 81.0 ± 2.5 %, 3 seeds)"
    )
    assert "answers 2.00 times as fast" in said
    assert "The loss is 10.0 points (95 % interval 7.7 to 12.3)" in said


def test_a_difference_inside_the_noise_is_not_called() -> None:
    assert "No clear difference" in sentence([0.80, 0.81, 0.82], [0.79, 0.82, 0.80])


def test_a_clear_gain_is_called_a_gain() -> None:
    assert "The gain is 10.0 points" in sentence([0.70, 0.71, 0.72], [0.80, 0.81, 0.82])


def test_one_seed_says_that_it_cannot_be_said() -> None:
    assert "cannot be said with 1 seed" in sentence([0.8], [0.7])


def test_without_the_whole_model_nothing_is_compared() -> None:
    said = sentence([], [0.7], None)
    assert "has not been measured" in said
    assert "times as fast" not in said


def test_the_whole_model_is_named_as_such() -> None:
    table = summary.configurations([run(WHOLE, 0, 0.8)])
    row: Any = table.to_dict("records")[0]
    assert summary.answer_sentence(row, row, "top", 1.0).startswith("The whole model of 6 layers scores 80.0")


def test_one_seed_has_the_interval_that_was_measured_with_it() -> None:
    scores = [{"metric": "pearson", "value": 0.8, "low": 0.7, "high": 0.88}]
    row = summary.configurations([run(WHOLE, 0, 0.8) | {"metric": "pearson", "scores": scores}]).iloc[0]
    assert (row["low"], row["high"], row["metric"]) == (0.7, 0.88, "pearson")


def test_correlations_are_written_a_hundredfold_and_without_a_per_cent_sign() -> None:
    runs = [run(WHOLE, s, 0.80 + s / 100) | {"metric": "pearson"} for s in range(3)]
    runs += [run((0, 1, 2), s, 0.60 + s / 100) | {"metric": "pearson"} for s in range(3)]
    whole, cut = ui.records(summary.configurations(runs))
    sentence = summary.answer_sentence(cut, whole, "top", 2.0)
    assert "keeps 75.3 % of Pearson's correlation (61.0 ± 2.5 of 81.0 ± 2.5, 3 seeds)" in sentence


def test_nothing_is_a_share_of_a_whole_model_that_has_learned_nothing() -> None:
    runs = [run(kept, s, s / 100) | {"metric": "matthews"} for kept in (WHOLE, (0, 1)) for s in (-1, 0, 1)]
    whole, cut = ui.records(summary.configurations(runs))
    assert "scores 0.0 ± 2.5 of 0.0 ± 2.5, 3 seeds" in summary.answer_sentence(cut, whole, "top", None)
