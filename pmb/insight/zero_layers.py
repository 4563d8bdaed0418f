"""The score of zero layers: a bag of words and a constant answer, and whether a cut clearly beats the bag of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pmb.insight.intervals import EXAMPLES, SEEDS, difference_interval, seed_interval
from pmb.insight.metrics import metric_of
from pmb.wording import counted

Row = Mapping[str, Any]

BAG_OF_WORDS, CONSTANT = "bag of words", "one answer to all"
MOST_NAMED = 6  # cuts in a sentence


@dataclass(frozen=True, slots=True)
class Mark:
    """A score with its 95 % interval, over seeds or over the dev examples."""

    name: str
    metric: str
    scores: tuple[float, ...]  # by train sample
    mean: float
    low: float
    high: float
    over: str


@dataclass(frozen=True, slots=True)
class ZeroLayerScores:
    """What zero layers score on a task, fitted on the train items of a recipe."""

    bag_of_words: Mark
    constant: Mark

    @property
    def marks(self) -> tuple[Mark, Mark]:
        """Both, the bag of words first."""
        return self.bag_of_words, self.constant


def zero_layer_scores(rows: Sequence[Row], metric: str) -> ZeroLayerScores | None:
    """The mean over the rows, one for each train sample, of a metric; None where none is measured.

    The interval is over the samples where their scores differ, else over the dev examples.
    """
    samples = [row for row in rows if _score(row["bag_of_words"], metric) and _score(row["constant"], metric)]
    if not samples:
        return None
    return ZeroLayerScores(_mark(BAG_OF_WORDS, samples, metric), _mark(CONSTANT, samples, metric))


def beats(row: Row, mark: Mark) -> bool:
    """Whether a configuration of `insight.summary` is clearly better than the bag of words or the constant answer.

    By Welch's interval of the difference where the scores of both vary over seeds; else by the lower end of the
    configuration's own interval.
    """
    if row["over"] == SEEDS and mark.over == SEEDS:
        return difference_interval(row["scores"], mark.scores).low > 0
    return bool(row["low"] > mark.mean)


def cuts_that_show_nothing(rows: Sequence[Row], zero: ZeroLayerScores) -> list[Row]:
    """The cuts that do not clearly beat the bag of words, each once, the deepest first."""
    cuts = {row["kept_layers"]: row for row in rows if row["drop_count"] > 0 and not beats(row, zero.bag_of_words)}
    return sorted(cuts.values(), key=lambda row: (row["drop_count"], row["kept_layers"]))


def nothing_shown_sentence(rows: Sequence[Row], zero: ZeroLayerScores | None) -> str:
    """Which of the measured cuts do not clearly beat the bag of words; empty where none are measured or all do."""
    if zero is None:
        return ""
    cuts = cuts_that_show_nothing(rows, zero)
    if not cuts:
        return ""
    named = [f"{' '.join(map(str, row['kept_layers']))} ({100 * row['mean']:.1f})" for row in cuts]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    verb = "does" if len(cuts) == 1 else "do"
    return (
        f"{counted(len(cuts), 'cut')} {verb} not clearly beat the bag of words ({100 * zero.bag_of_words.mean:.1f}) "
        f"and so {'has' if len(cuts) == 1 else 'have'} shown nothing: kept {', '.join(named[:MOST_NAMED])}{more}."
    )


def zero_layer_sentence(zero: ZeroLayerScores | None) -> str:
    """What zero layers score, in a sentence; empty where nothing is measured."""
    if zero is None:
        return ""
    bag, constant = zero.marks
    unit = metric_of(bag.metric).unit
    return (
        f"Zero layers: a bag of words scores {_plus_minus(bag)}{unit}, one answer to all "
        f"{100 * constant.mean:.1f}{unit}."
    )


def _plus_minus(mark: Mark) -> str:
    return f"{100 * mark.mean:.1f} ± {50 * (mark.high - mark.low):.1f}"


def _mark(name: str, samples: Sequence[Row], metric: str) -> Mark:
    column = "bag_of_words" if name == BAG_OF_WORDS else "constant"
    found = [_score(row[column], metric) for row in samples]
    scores = tuple(float(one["value"]) for one in found if one)
    if len(set(scores)) > 1:
        interval = seed_interval(scores)
        return Mark(name, metric, scores, interval.mean, interval.low, interval.high, SEEDS)
    first = found[0]
    assert first is not None  # `zero_layer_scores` leaves the others out
    return Mark(name, metric, scores, scores[0], float(first["low"]), float(first["high"]), EXAMPLES)


def _score(scores: Sequence[Row], metric: str) -> Row | None:
    return next((one for one in scores if one["metric"] == metric), None)
