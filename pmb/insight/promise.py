"""What is expected of cuts that are not measured, or not often enough, and which of them is worth a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pmb.insight.evidence import Cut

LOSS_POINTS = 10.0  # what dropping all layers would cost, before anything is known; it counts as LOSS_WEIGHT runs
LOSS_WEIGHT = 0.25
SPREAD_POINTS = 3.0  # how far a cut may be from what is expected of it, before anything is known
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Expected:
    """A cut's difference from the whole model, in points, and how far off that may be (a standard deviation)."""

    mean: float
    error: float

    def chance(self, least: float) -> float:
        """The probability that the difference is at least so great."""
        return NORMAL.cdf((self.mean - least) / max(self.error, 1e-9))

    def gain(self, over: float) -> float:
        """The expected improvement over a difference (Jones, Schonlau and Welch, 1998)."""
        error = max(self.error, 1e-9)
        z = (self.mean - over) / error
        return error * (z * NORMAL.cdf(z) + NORMAL.pdf(z))


def expectations(
    cuts: Sequence[Cut],
    num_hidden_layers: int,
    measured: Mapping[Cut, Expected],
    foretold: Mapping[Cut, Expected],
) -> dict[Cut, Expected]:
    """A Gaussian process over the cuts (Rasmussen and Williams, 2006, section 2.2): those with like layers are alike.

    Its mean before any measurement is what was foretold, else a loss in proportion to the layers dropped. `measured`:
    differences with their standard errors.
    """
    if not cuts:
        return {}
    known = [i for i, cut in enumerate(cuts) if cut in measured]
    dropped = np.array([1 - len(cut) / num_hidden_layers for cut in cuts])
    seen = np.array([measured[cuts[i]].mean for i in known])
    slope = (LOSS_WEIGHT * LOSS_POINTS - float(dropped[known] @ seen)) / (
        LOSS_WEIGHT + float((dropped[known] ** 2).sum())
    )
    prior, spread = -slope * dropped, np.full(len(cuts), SPREAD_POINTS)
    for i, cut in enumerate(cuts):
        if cut in foretold:
            prior[i], spread[i] = foretold[cut].mean, foretold[cut].error
    if known:
        spread = np.maximum(spread, math.sqrt(float(np.mean((seen - prior[known]) ** 2))))
    layers = np.array([[layer in cut for layer in range(num_hidden_layers)] for cut in cuts], dtype=np.float64)
    apart = np.abs(layers[:, None] - layers[None]).sum(axis=2)  # layers that one has and the other has not
    covariance = spread[:, None] * spread[None] * np.exp(-apart / (num_hidden_layers / 3))
    noise = np.diag([max(measured[cuts[i]].error, 1e-3) ** 2 for i in known])
    gain = np.linalg.solve(covariance[np.ix_(known, known)] + noise, covariance[known]).T
    mean = prior + gain @ (seen - prior[known])
    variance = np.diag(covariance) - (gain * covariance[:, known]).sum(axis=1)
    errors = np.sqrt(np.maximum(variance, 0.0))
    return {cut: Expected(float(mean[i]), float(errors[i])) for i, cut in enumerate(cuts)}
