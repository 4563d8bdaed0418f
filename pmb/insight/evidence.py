"""What the runs of one task say of the difference between two cuts, over dev sentences and over seeds together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Cut = tuple[int, ...]
Numbers = NDArray[np.float64]
Answers = tuple[int | float, ...]  # to the dev sentences, in the order of the labels

GROUPS = 40  # of dev sentences, left out in turn


@dataclass(frozen=True, slots=True)
class Difference:
    """A cut less another, in points, with its standard errors over sentences and over seeds."""

    mean: float
    sentence_error: float
    seed_error: float  # NaN where no cut has two seeds
    freedom: float

    @property
    def error(self) -> float:
        """The standard error over both: the variances added, which is on the safe side (Owen, 2007)."""
        return math.hypot(self.sentence_error, self.seed_error)

    def reach(self, level: float) -> float:
        """How far a one-sided bound of that level is from the mean; NaN where the spread over seeds is not known."""
        if math.isnan(self.seed_error):
            return math.nan
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 1 - level)) * self.error


class Evidence:
    """Runs of one model, task and recipe by cut and seed."""

    def __init__(self, metric: str, labels: Answers, answers: Mapping[Cut, Mapping[int, Answers]]) -> None:
        """Score every run, and score it again without each group of sentences."""
        self._one_answer = 100 / max(1, len(labels))  # points
        self._scores = {
            cut: {seed: leave_out(metric, labels, given) for seed, given in by_seed.items()}
            for cut, by_seed in answers.items()
        }
        self._spread = self._spread_over_seeds()

    def seeds(self, cut: Cut) -> list[int]:
        """The seeds that a cut was measured with."""
        return sorted(self._scores.get(cut, {}))

    def mean(self, cut: Cut) -> float:
        """The mean score over seeds, in points."""
        return float(np.mean([scores[0] for scores in self._scores[cut].values()]))

    def difference(self, cut: Cut, other: Cut) -> Difference:
        """The cut less the other, both measured.

        Over sentences they are paired, by a jackknife of GROUPS groups (Efron and Tibshirani, 1993, section 11.5); the
        degrees of freedom are Satterthwaite's (1946).
        """
        left, right = (np.mean(list(self._scores[one].values()), axis=0) for one in (cut, other))
        together = left - right
        without, groups = together[1:], len(together) - 1
        over_sentences = (groups - 1) / groups * float(((without - without.mean()) ** 2).sum())
        (ours, our_freedom), (theirs, their_freedom) = self._seed_variance(cut), self._seed_variance(other)
        parts = ((over_sentences, groups - 1.0), (ours, our_freedom), (theirs, their_freedom))
        below = sum(variance**2 / freedom for variance, freedom in parts if variance)
        freedom = (over_sentences + ours + theirs) ** 2 / below if below else math.inf
        return Difference(float(together[0]), math.sqrt(over_sentences), math.sqrt(ours + theirs), freedom)

    def _seed_variance(self, cut: Cut) -> tuple[float, float]:
        """Of the cut's mean, with its degrees of freedom: its own spread with the others', or alone where greater."""
        scores = [scores[0] for scores in self._scores[cut].values()]
        typical, prior, total = self._spread
        if not total:
            return math.nan, 1.0
        own, freedom = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0, len(scores) - 1
        variance = max(own, (prior * typical + freedom * own) / (prior + freedom))
        return variance / len(scores), min(prior + freedom, float(total))

    def _spread_over_seeds(self) -> tuple[float, float, int]:
        """A cut's variance over seeds as the others have it, its degrees of freedom, and those of all.

        The prior of Smyth's (2004) moderated t-tests: where the cuts vary alike their variances count together; where
        one varies and another does not, they say little of a third.
        """
        groups = [[scores[0] for scores in by_seed.values()] for by_seed in self._scores.values() if len(by_seed) > 1]
        total = sum(len(group) - 1 for group in groups)
        if not groups:
            return math.nan, 0.0, 0
        from scipy.special import digamma, polygamma

        freedom = np.array([len(group) - 1.0 for group in groups])
        # Equal scores are a chance as well: a seed changes half an answer at least.
        variances = np.maximum([np.var(group, ddof=1) for group in groups], (self._one_answer / 2) ** 2)
        logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
        more_than_chance = float(np.var(logs, ddof=1) - polygamma(1, freedom / 2).mean()) if len(groups) > 1 else 0.0
        if more_than_chance <= 0:
            return float((freedom * variances).sum() / total), float(total), total
        prior = 2 * _inverse_trigamma(more_than_chance)
        typical = math.exp(float(logs.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
        return typical, min(prior, float(total)), total


@lru_cache(maxsize=1024)
def leave_out(metric: str, labels: Answers, answers: Answers) -> Numbers:
    """The score of a run in points, and after it the score without each of GROUPS groups of sentences."""
    from pmb.scoring import scores_of  # scikit-learn: most of a second, which no first paint waits for

    truth, given = np.asarray(labels, dtype=np.float64), np.asarray([answers], dtype=np.float64)
    order = np.random.default_rng(0).permutation(len(truth))
    groups = np.arange(len(truth)) % min(GROUPS, len(truth))
    found = [scores_of(metric, truth, given)[0]]
    for group in range(int(groups.max()) + 1):
        rows = order[groups != group]
        found.append(scores_of(metric, truth[rows], given[:, rows])[0])
    return 100 * np.array(found)


def points_of(metric: str, labels: Answers, runs: Sequence[Answers]) -> float:
    """The mean score of runs, in points."""
    return float(np.mean([leave_out(metric, labels, answers)[0] for answers in runs]))


def _inverse_trigamma(value: float) -> float:
    """By Newton's method, from Smyth's (2004, appendix) starting point."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(polygamma(1, x))
        x += trigamma * (1 - trigamma / value) / float(polygamma(2, x))
    return x
