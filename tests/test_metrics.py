"""GLUE's metrics against scikit-learn and scipy, and their intervals against what they should cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, matthews_corrcoef

from pmb.insight.metrics import metric_of, shown
from pmb.scoring import METRICS, score, scores_of


def guesses(count: int = 400, right: float = 0.8, labels: int = 2, seed: int = 0) -> tuple[list[int], list[int]]:
    """Labels, and guesses of which a share is right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, count)
    wrong = (truth + rng.integers(1, labels, count)) % labels
    return truth.tolist(), np.where(rng.random(count) < right, truth, wrong).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("metric", ["macro f1", "matthews"])
def test_a_bootstrap_of_the_confusion_matrix_is_one_of_the_examples(metric: str, labels: int) -> None:
    truth, guessed = guesses(labels=labels)
    found = score(metric, truth, guessed)
    exact = {"macro f1": lambda y, p: f1_score(y, p, average="macro"), "matthews": matthews_corrcoef}[metric]
    assert found.value == pytest.approx(exact(truth, guessed))
    rng, y, p = np.random.default_rng(1), np.array(truth), np.array(guessed)
    again = [exact(y[rows], p[rows]) for rows in rng.integers(0, len(y), (400, len(y)))]
    assert (found.low, found.high) == pytest.approx(np.quantile(again, (0.025, 0.975)), abs=0.02)


def test_f1_is_that_of_label_one_as_in_glue() -> None:
    truth, guessed = [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]
    assert score("f1", truth, guessed).value == pytest.approx(f1_score(truth, guessed)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", METRICS)
def test_an_interval_covers_what_many_samples_of_the_same_kind_give(metric: str) -> None:
    truth, guessed = guesses(seed=3)
    found = score(metric, truth, guessed)
    many = METRICS[metric](*map(np.array, guesses(count=100_000, seed=4)))
    assert found.low < many < found.high
    assert found.low < found.value < found.high
    assert found == score(metric, truth, guessed)


def test_pearson_has_nearly_fishers_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=500)
    guessed = truth + rng.normal(size=500)
    found = score("pearson", truth.tolist(), guessed.tolist())
    fisher = pearsonr(truth, guessed).confidence_interval()
    assert (found.low, found.high) == pytest.approx((fisher.low, fisher.high), abs=0.01)


@pytest.mark.parametrize("metric", ["pearson", "spearman", "matthews", "f1"])
def test_a_model_that_always_says_the_same_has_nothing(metric: str) -> None:
    assert score(metric, [0, 1, 1, 0], [0, 0, 0, 0]).value == 0.0


def test_values_are_written_as_glue_writes_them() -> None:
    assert {metric_of(metric).unit for metric in METRICS} == {" %", ""}
    assert shown("accuracy", 0.7534) == "75.3 %"
    assert shown("accuracy, mismatched", 0.7534) == "75.3 %"
    assert shown("pearson", 0.8879) == "88.8"


@pytest.mark.parametrize("metric", METRICS)
def test_many_predictions_at_once_score_as_one_by_one(metric: str) -> None:
    rng = np.random.default_rng(0)
    numbers = metric in ("pearson", "spearman")
    labels = rng.normal(size=300) if numbers else rng.integers(0, 2 if metric == "f1" else 3, 300).astype(float)
    noise = rng.normal(size=(5, 300)) if numbers else rng.integers(0, 2, (5, 300))
    predictions = np.where(rng.random((5, 300)) < 0.5, labels, noise)
    predictions[4] = 1.0  # the same for all
    expected = [METRICS[metric](labels, row) for row in predictions]
    assert scores_of(metric, labels, predictions) == pytest.approx(expected)
