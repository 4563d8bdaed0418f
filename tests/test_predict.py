"""Predictions on made-up stores in which the truth is known: a plane with noise, too little, nothing that differs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from pmb.insight import predict
from pmb.insight.predict import (
    ENOUGH_CONFIGURATIONS,
    MIN_CONFIGURATIONS,
    Cut,
    as_good_as_the_best,
    calibrate,
    calibrating,
    predictions,
)
from pmb.scoring import METRICS

DEPTH = 6
TIMES = 200
CUTS: list[Cut] = [kept for depth in range(1, DEPTH + 1) for kept in combinations(range(DEPTH), depth)]


def made_up(seed: int = 0, noise: float = 0.01) -> tuple[dict[Cut, float], dict[Cut, float]]:
    """Frozen scores that vary, and fine-tuned ones on a plane over them and the depth, with noise."""
    rng = np.random.default_rng(seed)
    frozen = {kept: 0.6 + 0.01 * len(kept) + float(rng.normal(0, 0.03)) for kept in CUTS}
    truth = {kept: 0.4 + 0.02 * len(kept) + 0.4 * frozen[kept] + float(rng.normal(0, noise)) for kept in CUTS}
    return frozen, truth


def some(scores: dict[Cut, float], count: int, seed: int = 0) -> dict[Cut, float]:
    chosen = np.random.default_rng(seed).permutation(len(CUTS))[:count]
    return {CUTS[i]: scores[CUTS[i]] for i in chosen}


def test_what_is_measured_later_lies_within_95_of_100_bands() -> None:
    inside = total = covered = left_out = 0
    for seed in range(TIMES):
        frozen, truth = made_up(seed)
        measured = some(truth, 12, seed)
        found = calibrate(frozen, measured)
        assert found is not None
        table = predictions(frozen, measured, found, DEPTH, "accuracy")
        later = table[table["measured"].isna()]
        scores = later["kept_layers"].map(truth)
        inside += int(((later["low"] <= scores) & (scores <= later["high"])).sum())
        total += len(later)
        covered, left_out = covered + found.covered, left_out + found.left_out
    assert total == TIMES * (len(CUTS) - 12)
    assert inside / total == pytest.approx(0.95, abs=0.012)
    assert covered / left_out == pytest.approx(0.95, abs=0.012)  # the coverage that is shown is the real one


def test_a_measured_cut_is_predicted_as_if_it_had_not_been_measured() -> None:
    frozen, truth = made_up(noise=0.003)
    measured = some(truth, 10)
    found = calibrate(frozen, measured)
    table = predictions(frozen, measured, found, DEPTH, "accuracy").set_index("kept_layers")
    errors = []
    for kept in measured:
        others = {other: score for other, score in measured.items() if other != kept}
        alone = predictions({kept: frozen[kept]}, {}, calibrate(frozen, others), DEPTH, "accuracy").iloc[0]
        row = table.loc[[kept]].iloc[0]
        assert [row["predicted"], row["low"], row["high"]] == pytest.approx(
            [alone["predicted"], alone["low"], alone["high"]]
        )
        errors.append(row["predicted"] - measured[kept])
    assert found is not None
    assert found.error == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert found.error < found.depth_error


def test_too_few_or_too_much_alike_is_uncalibrated_and_says_so() -> None:
    frozen, truth = made_up()
    few = some(truth, MIN_CONFIGURATIONS - 1)
    found = predict.preview(frozen, few, {"top": CUTS[:3]}, DEPTH, "accuracy")
    assert found.calibration is None
    assert found.table[["predicted", "low", "high"]].isna().all(axis=None)
    assert found.sentence.startswith(f"Uncalibrated: {MIN_CONFIGURATIONS - 1} of these cuts are measured")
    assert predict.answer_sentence(found, CUTS[0]) == ""
    one_depth: dict[Cut, float] = {kept: score for kept, score in truth.items() if len(kept) == 3}
    assert len(one_depth) > MIN_CONFIGURATIONS
    assert calibrate(frozen, one_depth) is None
    assert calibrate({}, truth) is None
    assert predict.preview({}, truth, {}, DEPTH, "accuracy").sentence == ""


def test_a_tie_inside_the_noise_is_no_ranking() -> None:
    frozen, truth = made_up(noise=0.03)
    measured = some(truth, 20)
    found = predict.preview(frozen, measured, {}, DEPTH, "accuracy")
    assert found.calibration is not None
    same = [kept for kept in CUTS if len(kept) == 4]
    assert sorted(as_good_as_the_best(found.table, found.calibration, 2)) == sorted(same)
    assert predict.answer_sentence(found, same[0]).endswith(
        f"The predictions do not tell the {len(same)} cuts of this depth apart."
    )


def test_a_clear_winner_is_named_and_the_others_are_told_of_it() -> None:
    frozen, truth = made_up(noise=0.001)
    best = (0, 1, 2, 3)
    frozen[best], truth[best] = 0.95, 0.4 + 0.08 + 0.4 * 0.95
    found = predict.preview(frozen, some(truth, 20), {}, DEPTH, "accuracy")
    assert found.calibration is not None
    assert as_good_as_the_best(found.table, found.calibration, 2) == [best]
    assert predict.answer_sentence(found, best).endswith("14 of 15 cuts of this depth are predicted to be worse.")
    assert predict.answer_sentence(found, (2, 3, 4, 5)).endswith(
        "Another cut of this depth is predicted to be better: kept 0 1 2 3."
    )
    assert as_good_as_the_best(found.table, found.calibration, 9) == []


def test_the_only_cut_of_a_depth_is_compared_with_nothing() -> None:
    frozen, truth = made_up(noise=0.001)
    found = predict.preview(frozen, some(truth, 20), {}, DEPTH, "matthews")
    said = predict.answer_sentence(found, tuple(range(DEPTH)))
    assert said.startswith("Predicted: 80.")
    assert said.count(".") == 4  # three numbers and one end


def test_random_draws_have_an_interval_of_their_own_over_distinct_cuts() -> None:
    frozen, truth = made_up()
    draws = {"random-0": [(0, 1), (0, 1, 2)], "random-1": [(2, 3), (0, 1, 2)], "random-2": [(0, 1), (0, 1, 3)]}
    found = predict.over_draws(predict.preview(frozen, some(truth, 20), draws, DEPTH, "accuracy").curves)
    assert list(found["drop_count"]) == [3, 4]
    assert list(found["cuts"]) == [2, 2]
    assert (found["low"] < found["value"]).all()
    raw = predict.over_draws(predict.preview(frozen, {}, {"random-0": [(0, 1)]}, DEPTH, "accuracy").curves)
    assert raw["value"].tolist() == [frozen[0, 1]]
    assert raw["low"].isna().all()


def test_bands_end_where_scores_do() -> None:
    frozen = {kept: 0.9 + 0.01 * len(kept) for kept in CUTS} | {(0,): 0.2}
    measured = {kept: 0.95 + 0.01 * (i % 3) for i, kept in enumerate(CUTS)} | {(1,): 0.0}
    for metric, least in (("accuracy", 0.0), ("spearman", -1.0)):
        table = predictions(frozen, some(measured, 12) | {(1,): 0.0}, calibrate(frozen, measured), DEPTH, metric)
        assert table["high"].max() == 1.0
        assert table["low"].min() >= least
    assert {metric for metric in METRICS if metric not in predict.LEAST_SCORE} == {"matthews", "pearson", "spearman"}


def test_a_shared_cut_stands_once_for_each_of_its_strategies_and_nothing_unknown_is_nan_in_json() -> None:
    frozen, truth = made_up()
    found = predict.preview(frozen, some(truth, 3), {"top": [(0, 1)], "bottom": [(4, 5), (0, 1), (9,)]}, DEPTH, "f1")
    assert list(zip(found.curves["strategy"], found.curves["kept_layers"], strict=True)) == [
        ("top", (0, 1)),
        ("bottom", (4, 5)),
        ("bottom", (0, 1)),
    ]
    rows = predict.plain_rows(found.curves)
    assert {row["predicted"] for row in rows} == {None}
    assert rows[0]["frozen"] == frozen[0, 1]
    assert predict.plain_rows(pd.DataFrame(columns=["a"])) == []
    assert predict.calibration_values(None) is None


def test_more_measured_cuts_are_read_only_where_too_few_of_the_others_are_measured() -> None:
    cuts = [(layer,) for layer in range(ENOUGH_CONFIGURATIONS)]
    more = [(0, 1), (0, 2), (0, 3)]
    assert calibrating(dict.fromkeys([*cuts, *more], 0.7), cuts) == []
    assert calibrating(dict.fromkeys([*cuts[2:], *more], 0.7), [*cuts, cuts[2]]) == more[:2]
    assert calibrating({}, cuts) == []
