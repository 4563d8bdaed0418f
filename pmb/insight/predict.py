"""What a cut would score after fine-tuning, by what a classifier reads off it before: a value with a band, or nothing.

The prediction is a least-squares plane over the layers kept and the score of the frozen features, fitted to what has
been measured of the same model on the same task with the same recipe; the band is its 95 % prediction interval. How
often the bands hold is counted by leaving out one configuration at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmb.insight.intervals import COVERAGE, Interval, seed_interval, student
from pmb.insight.metrics import metric_of, shown

MIN_CONFIGURATIONS = 8  # with fewer, three coefficients follow the noise
ENOUGH_CONFIGURATIONS = 16  # more are not read for the calibration's sake: each takes time
COLUMNS = ("kept_layers", "depth", "drop_count", "frozen", "predicted", "low", "high", "measured")
LEAST_SCORE = {"accuracy": 0.0, "f1": 0.0, "macro f1": 0.0}  # of correlations it is -1

Cut = tuple[int, ...]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A plane over layers kept and frozen score, and how well it foretells configurations that it has not seen."""

    coefficients: Numbers  # (3,): constant, a layer kept, frozen score
    inverse: Numbers  # (3, 3), of the products of the predictors
    variance: float  # of a measured score about the plane
    configurations: int
    covered: int  # of so many, left out in turn, whose score lay within the band
    left_out: int
    error: float  # root of the mean squared error of those
    depth_error: float  # the same by the layers kept alone

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance."""
        return self.configurations - len(self.coefficients)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of a model's cuts before training."""

    metric: str
    table: pd.DataFrame  # of `predictions`
    curves: pd.DataFrame  # of `curves`
    calibration: Calibration | None
    sentence: str  # what the predictions are worth; empty where nothing was read


def preview(
    frozen: Mapping[Cut, float],
    measured: Mapping[Cut, float],
    by_strategy: Mapping[str, Sequence[Cut]],
    num_hidden_layers: int,
    metric: str,
) -> Preview:
    """All that follows from the scores of the frozen features and the mean scores that are measured, by kept layers."""
    calibration = calibrate(frozen, measured)
    table = predictions(frozen, measured, calibration, num_hidden_layers, metric)
    sentence = calibration_sentence(calibration, metric, len(frozen.keys() & measured.keys())) if frozen else ""
    return Preview(metric, table, curves(table, by_strategy), calibration, sentence)


def cuts_beside(
    measured: Collection[Cut], by_strategy: Mapping[str, Sequence[Cut]], others: Mapping[str, Sequence[Cut]]
) -> list[Cut]:
    """What is to be read beside the cuts of the strategies: all of the others, and what calibrates."""
    wanted, known = (list(itertools.chain.from_iterable(cuts.values())) for cuts in (others, by_strategy))
    return [*wanted, *calibrating(measured, [*wanted, *known])]


def calibrating(measured: Collection[Cut], cuts: Collection[Cut]) -> list[Cut]:
    """The measured cuts that are to be read beside these, so that enough is measured of what is read."""
    missing = ENOUGH_CONFIGURATIONS - sum(cut in measured for cut in set(cuts))
    return [cut for cut in measured if cut not in cuts][: max(0, missing)]


def calibrate(frozen: Mapping[Cut, float], measured: Mapping[Cut, float]) -> Calibration | None:
    """Fit what is measured by what was read off before; None where too little, or too much alike, is measured.

    `measured`: mean scores over the seeds. Leaving one out takes no second fit: its error and the variance without it
    follow from its leverage (Cook and Weisberg, 1982, section 2.2).
    """
    both = [kept for kept in frozen if kept in measured]
    if len(both) < MIN_CONFIGURATIONS:
        return None
    predictors = np.array([_predictors(kept, frozen[kept]) for kept in both])
    scores = np.array([measured[kept] for kept in both])
    if np.linalg.matrix_rank(predictors) < predictors.shape[1]:
        return None
    inverse = np.linalg.inv(predictors.T @ predictors)
    coefficients = inverse @ predictors.T @ scores
    errors, halves = _left_out(predictors, scores)
    told = np.isfinite(halves)
    return Calibration(
        coefficients=coefficients,
        inverse=inverse,
        variance=float(((scores - predictors @ coefficients) ** 2).sum() / (len(both) - predictors.shape[1])),
        configurations=len(both),
        covered=int((np.abs(errors[told]) <= halves[told]).sum()),
        left_out=int(told.sum()),
        error=float(np.sqrt(np.mean(errors[told] ** 2))),
        depth_error=float(np.sqrt(np.mean(_left_out(predictors[:, :2], scores)[0] ** 2))),
    )


def predictions(
    frozen: Mapping[Cut, float],
    measured: Mapping[Cut, float],
    calibration: Calibration | None,
    num_hidden_layers: int,
    metric: str,
) -> pd.DataFrame:
    """A row for each cut that was read, by drop count: COLUMNS.

    `predicted`, `low`, `high`: of a measured cut as if it had not been measured; NaN without a calibration.
    """
    rows = []
    for kept, score in frozen.items():
        low = mean = high = math.nan
        if calibration is not None:
            mean, half = _foretold(calibration, _predictors(kept, score), measured.get(kept))
            least = LEAST_SCORE.get(metric, -1.0)
            mean, low, high = (min(1.0, max(least, value)) for value in (mean, mean - half, mean + half))
        depth = len(kept)
        rows.append((kept, depth, num_hidden_layers - depth, score, mean, low, high, measured.get(kept, math.nan)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["drop_count", "kept_layers"]).reset_index(drop=True)


def curves(table: pd.DataFrame, by_strategy: Mapping[str, Sequence[Cut]]) -> pd.DataFrame:
    """The predictions as points of the strategies that lead to them: `strategy`, then COLUMNS."""
    by_kept = {row["kept_layers"]: row for row in table.to_dict("records")}
    points = [
        {"strategy": strategy} | by_kept[kept]
        for strategy, cuts in by_strategy.items()
        for kept in cuts
        if kept in by_kept
    ]
    return pd.DataFrame(points, columns=["strategy", *COLUMNS])


def over_draws(curves: pd.DataFrame) -> pd.DataFrame:
    """What random choice does: by drop count the mean over the draws with its t-interval, of distinct cuts alone.

    `value` is what is predicted, or without a calibration the score of the frozen features; NaN ends for a single cut.
    """
    rows = []
    for drop_count, draws in curves.drop_duplicates("kept_layers").groupby("drop_count"):
        values = draws["predicted"].where(draws["predicted"].notna(), draws["frozen"]).tolist()
        found = seed_interval(values) if len(set(values)) > 1 else Interval(values[0], math.nan, math.nan)
        rows.append((drop_count, len(values), found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["drop_count", "cuts", "value", "low", "high"])


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON has them: None for what is not known."""
    return [
        {str(name): None if value != value else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def calibration_values(calibration: Calibration | None) -> dict[str, Any] | None:
    """What the predictions are worth, as JSON has it."""
    if calibration is None:
        return None
    names = ("configurations", "covered", "left_out", "error", "depth_error")
    return {name: getattr(calibration, name) for name in names}


def as_good_as_the_best(table: pd.DataFrame, calibration: Calibration, drop_count: int) -> list[Cut]:
    """The cuts of a drop count that the predictions do not put below the best predicted of them, that one first.

    One is below where the 95 % interval of the difference of two new measurements, widened to the number of
    comparisons (Bonferroni), says so.
    """
    same = table[table["drop_count"] == drop_count].sort_values("predicted", ascending=False, kind="stable")
    points = [
        (kept, _predictors(kept, frozen)) for kept, frozen in zip(same["kept_layers"], same["frozen"], strict=True)
    ]
    if not points:
        return []
    (best, at_best), *others = points
    reach = student(calibration.freedom, 1 - (1 - COVERAGE) / max(1, len(others)))
    found = [best]
    for kept, at in others:
        apart = at_best - at
        error = math.sqrt(calibration.variance * (2 + apart @ calibration.inverse @ apart))
        if apart @ calibration.coefficients <= reach * error:
            found.append(kept)
    return found


def calibration_sentence(calibration: Calibration | None, metric: str, configurations: int) -> str:
    """How far the predictions can be trusted; `configurations`: how many were measured and read."""
    if calibration is None:
        return (
            f"Uncalibrated: {configurations} of these cuts {'is' if configurations == 1 else 'are'} measured with this "
            f"recipe, and {MIN_CONFIGURATIONS} that differ are needed. What is shown is the "
            f"{metric_of(metric).name} of a classifier on the frozen model, which fine-tuning changes."
        )
    return (
        f"Of {calibration.left_out} measured cuts, each predicted from the others, {calibration.covered} lay within the"
        f" band; predictions were {100 * calibration.error:.1f} points off (root mean square), those by the number of "
        f"layers alone {100 * calibration.depth_error:.1f}."
    )


def answer_sentence(preview: Preview, kept: Cut) -> str:
    """What is predicted of a cut, and whether any cut of its depth is predicted to be better; nothing uncalibrated."""
    table, calibration, metric = preview.table, preview.calibration, preview.metric
    row = next((row for row in table.to_dict("records") if row["kept_layers"] == kept), None)
    if row is None or calibration is None:
        return ""
    unit = metric_of(metric).unit
    said = f"Predicted: {shown(metric, row['predicted'])} ({100 * row['low']:.1f} to {100 * row['high']:.1f}{unit})."
    same = table[table["drop_count"] == row["drop_count"]]
    if len(same) == 1:
        return said
    good = as_good_as_the_best(table, calibration, row["drop_count"])
    if len(good) == len(same):
        return f"{said} The predictions do not tell the {len(same)} cuts of this depth apart."
    if kept not in good:
        return f"{said} Another cut of this depth is predicted to be better: kept {' '.join(map(str, good[0]))}."
    return f"{said} {len(same) - len(good)} of {len(same)} cuts of this depth are predicted to be worse."


def _predictors(kept: Cut, frozen: float) -> Numbers:
    return np.array([1.0, len(kept), frozen])


def _foretold(calibration: Calibration, at: Numbers, seen: float | None) -> tuple[float, float]:
    """The prediction and half of its band; where the calibration has seen the score, those without it."""
    mean = float(at @ calibration.coefficients)
    leverage = float(at @ calibration.inverse @ at)
    if seen is None:
        return mean, student(calibration.freedom) * math.sqrt(calibration.variance * (1 + leverage))
    error, half = _without(seen - mean, leverage, calibration.variance, calibration.freedom)
    return seen - error, half


def _left_out(predictors: Numbers, scores: Numbers) -> tuple[Numbers, Numbers]:
    """For each configuration left out the error of its prediction, and half of its band; infinite without freedom."""
    inverse = np.linalg.inv(predictors.T @ predictors)
    residuals = scores - predictors @ inverse @ predictors.T @ scores
    freedom = len(scores) - predictors.shape[1]
    variance = float(residuals @ residuals) / freedom
    pairs = [
        _without(float(residual), float(at @ inverse @ at), variance, freedom)
        for residual, at in zip(residuals, predictors, strict=True)
    ]
    errors, halves = np.array(pairs).T
    return errors, halves


def _without(residual: float, leverage: float, variance: float, freedom: int) -> tuple[float, float]:
    """The error of a prediction that has not seen its point, and half of its band, by the fit that has."""
    rest = 1 - leverage
    if rest < 1e-9:  # the others say nothing of it
        return residual, math.inf
    others = max(0.0, variance * freedom - residual**2 / rest) / (freedom - 1)
    return residual / rest, student(freedom - 1) * math.sqrt(others / rest)
