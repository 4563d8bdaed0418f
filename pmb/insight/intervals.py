"""95 % intervals. scipy.special where it is needed only: it takes a third of a second to import, scipy.stats more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

COVERAGE = 0.95
SEEDS, EXAMPLES = "seeds", "dev examples"  # what an interval is over
TAIL = 1 - (1 - COVERAGE) / 2


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval."""

    mean: float
    low: float
    high: float


def binomial_interval(share: float, count: int) -> Interval:
    """Wilson's score interval of a share of `count` sentences (Wilson, 1927)."""
    z = NormalDist().inv_cdf(TAIL)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, centre - spread, centre + spread)


def run_interval(run: Mapping[Any, Any]) -> Interval:
    """A finished run's score with its interval over the dev examples.

    A run of schema 0001 has no interval with it, and its score is an accuracy.
    """
    value = float(run["score"])
    if isinstance(run["scores"], list):
        return Interval(value, run["scores"][0]["low"], run["scores"][0]["high"])
    return binomial_interval(value, int(run["num_dev"]))


def seed_interval(values: Sequence[float]) -> Interval:
    """Student's t-interval of the mean over seeds; needs at least 2 values."""
    mean, variance = _moments(values)
    half = student(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half)


def difference_interval(values: Sequence[float], others: Sequence[float], coverage: float = COVERAGE) -> Interval:
    """Welch's t-interval of mean(values) - mean(others); needs at least 2 values of each (Welch, 1947).

    NaN ends where both sides do not vary at all: such seeds say nothing about other seeds.
    """
    (mean, variance), (other_mean, other_variance) = _moments(values), _moments(others)
    share, other_share = variance / len(values), other_variance / len(others)
    squared_error = share + other_share
    if squared_error == 0:
        return Interval(mean - other_mean, math.nan, math.nan)
    freedom = squared_error**2 / (share**2 / (len(values) - 1) + other_share**2 / (len(others) - 1))
    half = student(freedom, coverage) * math.sqrt(squared_error)
    return Interval(mean - other_mean, mean - other_mean - half, mean - other_mean + half)


def student(freedom: float, coverage: float = COVERAGE) -> float:
    """How many standard errors a Student's t-interval reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - (1 - coverage) / 2))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        raise ValueError(f"An interval over seeds needs at least 2 values, not {len(values)}.")
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
