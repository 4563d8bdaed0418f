"""Two configurations on the same sentences: differences, McNemar's test, flips and confusion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from pmb.insight import paired

LABELS = [i % 2 for i in range(1000)]


def wrong_at(*rows: int) -> list[int]:
    return [label ^ (i in rows) for i, label in enumerate(LABELS)]


def test_equal_answers_are_no_difference() -> None:
    found = paired.compare("accuracy", LABELS, {0: LABELS}, {7: LABELS}, True)
    assert (found.difference, found.over_sentences.low, found.over_sentences.high) == (0, 0, 0)
    assert found.over_seeds is None
    assert not found.clear
    assert found.pairs == (paired.Pair(0, 7, 1.0, 1.0, 0, 0, 1.0),)


def test_a_great_difference_is_called_and_has_its_test() -> None:
    a = {seed: wrong_at(*range(seed)) for seed in range(3)}
    b = {seed: wrong_at(*range(500, 800 + seed)) for seed in range(3)}
    found = paired.compare("accuracy", LABELS, a, b, True)
    assert found.clear
    assert found.difference == pytest.approx(-30.0)
    assert found.over_sentences.low < -30 < found.over_sentences.high
    assert (found.pairs[2].only_a, found.pairs[2].only_b) == (302, 2)
    assert "A is better than B by 30.0 points" in paired.compare_sentence(found)


def test_mcnemar_is_scipys_corrected_by_holm() -> None:
    a = {0: wrong_at(1, 2, 3), 1: wrong_at(), 2: wrong_at(4)}
    b = {0: wrong_at(*range(100, 115)), 1: wrong_at(5, 6, 7, 8), 2: wrong_at(4)}
    found = paired.compare("accuracy", LABELS, a, b, True)
    p = [binomtest(15, 18).pvalue, binomtest(4, 4).pvalue, 1.0]
    assert [pair.p for pair in found.pairs] == pytest.approx([3 * p[0], 2 * p[1], 1.0])


def test_the_interval_over_sentences_is_that_of_the_difference() -> None:
    """Of 40 sentences in 1,000 that B alone gets wrong the interval is about that of a share of 4 %."""
    found = paired.compare("accuracy", LABELS, {0: LABELS}, {0: wrong_at(*range(40))}, True)
    assert found.over_sentences.low == pytest.approx(-5.2, abs=0.3)
    assert found.over_sentences.high == pytest.approx(-2.8, abs=0.3)
    assert "one run on each side" in paired.compare_sentence(found)


def test_noise_is_not_called() -> None:
    found = paired.compare("accuracy", LABELS, {0: wrong_at(1, 2)}, {0: wrong_at(3, 4, 5)}, True)
    assert paired.compare_sentence(found).startswith("No clear difference: B minus A is -0.1 points")


def test_at_most_so_many_seeds_are_read() -> None:
    many = dict.fromkeys(range(20), LABELS)
    assert len(paired.compare("accuracy", LABELS, many, many, True).pairs) == paired.MOST_SEEDS


def test_numbers_have_no_mcnemar_and_flip_by_their_error() -> None:
    truth = [0.0, 1.0, 2.0, 3.0, 4.0]
    a, b = {0: [0.1, 1.1, 2.1, 3.1, 4.1]}, {0: [0.0, 3.0, 2.1, 3.5, 4.0]}
    found = paired.compare("pearson", truth, a, b, False)
    assert found.pairs[0].p is None
    assert paired.p_text(None) == "–"
    assert paired.flipped(truth, a, b, False) == ([1, 3], [0, 4])


def test_flips_are_by_the_majority() -> None:
    a = {0: wrong_at(1), 1: wrong_at(1), 2: wrong_at(2)}
    b = {0: wrong_at(3), 1: wrong_at(3), 2: wrong_at(1)}
    assert paired.flipped(LABELS, a, b, True) == ([3], [1])


def test_confusion_counts_the_mean_over_runs() -> None:
    cells = paired.confusion(LABELS, {0: wrong_at(0, 2), 1: LABELS}, 2)
    assert cells.tolist() == [[499.0, 1.0], [0.0, 500.0]]
    assert np.isclose(cells.sum(), len(LABELS))
