"""Two configurations on the same dev sentences: the difference, who is right where, and which sentences flipped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmb.insight.intervals import Interval, seed_interval

RESAMPLES = 1000
QUANTILES = (0.025, 0.975)
MOST_SEEDS = 5  # of so many runs at most the answers are read

Answers = Mapping[int, Sequence[int | float]]  # by seed, in the order of the labels


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of A and one of B: scores, and in how many sentences one alone is right (McNemar, 1947).

    `p`: exact, two-sided, corrected for the number of pairs (Holm, 1979); None of a regression.
    """

    seed_a: int
    seed_b: int
    score_a: float
    score_b: float
    only_a: int | None
    only_b: int | None
    p: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """B minus A in points: `over_sentences` speaks for other sentences, `over_seeds` for other seeds (one: None)."""

    metric: str
    pairs: tuple[Pair, ...]
    difference: float
    over_sentences: Interval
    over_seeds: Interval | None

    @property
    def clear(self) -> bool:
        """Whether every interval leaves out 0."""
        found = [self.over_sentences, *([self.over_seeds] if self.over_seeds else [])]
        return all(interval.low > 0 or interval.high < 0 for interval in found)


def compare(metric: str, labels: Sequence[int | float], a: Answers, b: Answers, classes: bool) -> Compared:
    """Compare two configurations; their runs are paired in the order of their seeds, MOST_SEEDS at most.

    The interval over sentences is the percentiles of a paired bootstrap (Efron and Tibshirani, 1993): both answer the
    same drawn sentences. That over seeds is Student's t of the pairs' differences.
    """
    from pmb.scoring import scores_of  # scikit-learn: most of a second, which no first paint waits for

    seeds = list(zip(sorted(a), sorted(b), strict=False))[:MOST_SEEDS]
    truth = np.asarray(labels, dtype=np.float64)
    left = np.array([a[seed] for seed, _ in seeds], dtype=np.float64)
    right = np.array([b[seed] for _, seed in seeds], dtype=np.float64)
    scores_a, scores_b = scores_of(metric, truth, left), scores_of(metric, truth, right)
    rng = np.random.default_rng(0)
    drawn = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(0, len(truth), len(truth))
        again = scores_of(metric, truth[rows], right[:, rows]) - scores_of(metric, truth[rows], left[:, rows])
        drawn[i] = again.mean()
    low, high = 100 * np.quantile(drawn, QUANTILES)
    differences = 100 * (scores_b - scores_a)
    mean = float(differences.mean())
    alone = [_alone(truth, one, other) for one, other in zip(left, right, strict=True)]
    tests = _holm([_mcnemar(*counts) for counts in alone])
    pairs = tuple(
        Pair(
            seed_a=seeds[i][0],
            seed_b=seeds[i][1],
            score_a=float(scores_a[i]),
            score_b=float(scores_b[i]),
            only_a=only_a if classes else None,
            only_b=only_b if classes else None,
            p=tests[i] if classes else None,
        )
        for i, (only_a, only_b) in enumerate(alone)
    )
    varied = len(set(differences.tolist())) > 1
    over_seeds = seed_interval(differences.tolist()) if varied else None
    return Compared(metric, pairs, mean, Interval(mean, float(low), float(high)), over_seeds)


def _alone(truth: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[int, int]:
    """In how many sentences the one alone, and the other alone, is right."""
    right, other_right = one == truth, other == truth
    return int((right & ~other_right).sum()), int((~right & other_right).sum())


def _mcnemar(only_a: int, only_b: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _holm(p_values: Sequence[float]) -> list[float]:
    """The p-values times the number of those that are not smaller, never falling, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, greatest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = greatest
    return corrected


def majority(answers: Answers) -> NDArray[np.float64]:
    """What most of the runs answer, of equally many the smaller label."""
    votes = np.array([answers[seed] for seed in sorted(answers)[:MOST_SEEDS]], dtype=np.int64)
    counts = np.stack([(votes == label).sum(axis=0) for label in range(int(votes.max()) + 1)])
    return counts.argmax(axis=0).astype(np.float64)


def average(answers: Answers) -> NDArray[np.float64]:
    """The mean of what the runs answer, for numbers."""
    return np.array([answers[seed] for seed in sorted(answers)[:MOST_SEEDS]], dtype=np.float64).mean(axis=0)


def flipped(labels: Sequence[int | float], a: Answers, b: Answers, classes: bool) -> tuple[list[int], list[int]]:
    """The sentences that B gets wrong and A does not, and the other way round; of numbers by how much they change.

    Classes: by the majority of the runs, in the order of dev. Numbers: by the change of the mean answer's error.
    """
    truth = np.asarray(labels, dtype=np.float64)
    if classes:
        right_a, right_b = majority(a) == truth, majority(b) == truth
        return np.flatnonzero(right_a & ~right_b).tolist(), np.flatnonzero(~right_a & right_b).tolist()
    change = np.abs(average(b) - truth) - np.abs(average(a) - truth)
    order = np.argsort(-change, kind="stable")
    return [int(i) for i in order if change[i] > 0], [int(i) for i in order[::-1] if change[i] < 0]


def confusion(labels: Sequence[int | float], answers: Answers, num_labels: int) -> NDArray[np.float64]:
    """(true label, answer): in how many sentences, the mean over runs."""
    truth = np.asarray(labels, dtype=np.int64)
    seeds = sorted(answers)[:MOST_SEEDS]
    cells = np.zeros((num_labels, num_labels))
    for seed in seeds:
        np.add.at(cells, (truth, np.asarray(answers[seed], dtype=np.int64)), 1 / len(seeds))
    return cells


def compare_sentence(found: Compared) -> str:
    """The page's question answered; a difference is called only where every interval leaves out 0."""
    over = f"95 % interval over sentences {found.over_sentences.low:.1f} to {found.over_sentences.high:.1f}"
    if found.over_seeds:
        over += f", over seeds {found.over_seeds.low:.1f} to {found.over_seeds.high:.1f}"
    else:
        over += f"; {'one run' if len(found.pairs) == 1 else 'runs that do not vary'} on each side"
    if not found.clear:
        return f"No clear difference: B minus A is {found.difference:.1f} points ({over})."
    better = "B is better than A" if found.difference > 0 else "A is better than B"
    return f"{better} by {abs(found.difference):.1f} points (B minus A, {over})."


def p_text(p: float | None) -> str:
    """A p-value as it is written."""
    if p is None or math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
