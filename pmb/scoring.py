"""GLUE's metrics, each with a 95 % interval over the dev examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, pearsonr, rankdata, spearmanr
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from pmb.spec import Score

Numbers = NDArray[np.float64]

RESAMPLES = 1000
QUANTILES = (0.025, 0.975)


def score(metric: str, labels: Sequence[int | float], predictions: Sequence[int | float]) -> Score:
    """The metric with its interval: Wilson's for accuracy, else the percentiles of a bootstrap over the examples.

    Efron and Tibshirani (1993). "f1" is that of label 1, as in GLUE. A correlation with numbers that do not vary is
    0 and not undefined: a model that gives every pair the same has learned nothing. The resamples follow from a fixed
    seed, so that equal predictions have equal intervals.
    """
    truth, guesses = np.asarray(labels, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    found = METRICS[metric](truth, guesses)
    if metric == "accuracy":
        interval = binomtest(round(found * len(truth)), len(truth)).proportion_ci(method="wilson")
        return Score(metric, found, float(interval.low), float(interval.high))
    rng = np.random.default_rng(0)
    if metric in _OF_CONFUSION:
        # To draw examples again is to draw the cells of the confusion matrix again.
        cells = confusion_matrix(truth, guesses).astype(np.float64)
        drawn = rng.multinomial(len(truth), cells.ravel() / len(truth), RESAMPLES)
        again = _OF_CONFUSION[metric](drawn.reshape(RESAMPLES, *cells.shape).astype(np.float64))
    else:
        rows = rng.integers(0, len(truth), (RESAMPLES, len(truth)))
        again = np.array([METRICS[metric](truth[drawn], guesses[drawn]) for drawn in rows])
    low, high = np.quantile(again, QUANTILES)
    return Score(metric, found, float(low), float(high))


def _pearson(truth: Numbers, guesses: Numbers) -> float:
    return 0.0 if _constant(truth, guesses) else float(pearsonr(truth, guesses).statistic)


def _spearman(truth: Numbers, guesses: Numbers) -> float:
    return 0.0 if _constant(truth, guesses) else float(spearmanr(truth, guesses).statistic)


def _constant(truth: Numbers, guesses: Numbers) -> bool:
    return bool(np.ptp(truth) == 0 or np.ptp(guesses) == 0)


METRICS: dict[str, Callable[[Numbers, Numbers], float]] = {
    "accuracy": lambda truth, guesses: float(accuracy_score(truth, guesses)),
    "f1": lambda truth, guesses: float(f1_score(truth, guesses, zero_division=0.0)),
    "macro f1": lambda truth, guesses: float(f1_score(truth, guesses, average="macro", zero_division=0.0)),
    "matthews": lambda truth, guesses: float(matthews_corrcoef(truth, guesses)),
    "pearson": _pearson,
    "spearman": _spearman,
}


def _f1_of(cells: Numbers) -> Numbers:
    """F1 of each label, (matrices, labels), from confusion matrices, (matrices, true label, predicted label)."""
    right = np.diagonal(cells, axis1=1, axis2=2)
    found = cells.sum(1) + cells.sum(2)
    return np.divide(2 * right, found, out=np.zeros_like(right), where=found > 0)


def _matthews_of(cells: Numbers) -> Numbers:
    """Gorodkin's (2004) correlation of several labels; Matthews' for two."""
    total, right = cells.sum((1, 2)), np.trace(cells, axis1=1, axis2=2)
    true, predicted = cells.sum(2), cells.sum(1)
    above = right * total - (true * predicted).sum(1)
    below = np.sqrt((total**2 - (predicted**2).sum(1)) * (total**2 - (true**2).sum(1)))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def scores_of(metric: str, labels: Numbers, predictions: Numbers) -> Numbers:
    """The metric of many predictions at once, (rows, examples) against (examples): a value a row."""
    if metric == "accuracy":
        return (predictions == labels).mean(axis=1)
    if metric in _OF_CONFUSION:
        classes, codes = np.unique(np.concatenate([labels[None], predictions]), return_inverse=True)
        count = len(classes)
        codes = codes.reshape(len(predictions) + 1, -1)
        row = np.arange(len(predictions))[:, None]
        cells = np.bincount(((row * count + codes[0]) * count + codes[1:]).ravel(), minlength=len(row) * count**2)
        return _OF_CONFUSION[metric](cells.reshape(-1, count, count).astype(np.float64))
    if metric == "spearman":
        labels, predictions = rankdata(labels), rankdata(predictions, axis=1)
    left, right = labels - labels.mean(), predictions - predictions.mean(axis=1, keepdims=True)
    below = np.sqrt((left**2).sum() * (right**2).sum(axis=1))
    return np.divide(right @ left, below, out=np.zeros(len(predictions)), where=below > 0)


_OF_CONFUSION: dict[str, Callable[[Numbers], Numbers]] = {
    "f1": lambda cells: _f1_of(cells)[:, -1],
    "macro f1": lambda cells: _f1_of(cells).mean(1),
    "matthews": _matthews_of,
}
