"""What metrics are called and how their values are written: as GLUE does, a hundredfold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for people: `unit` follows a value, "accuracy" is spelled in the middle of a sentence."""

    name: str
    unit: str


METRICS = {
    "accuracy": Metric("accuracy", " %"),
    "f1": Metric("F1", " %"),
    "macro f1": Metric("macro F1", " %"),
    "matthews": Metric("Matthews' correlation × 100", ""),
    "pearson": Metric("Pearson's correlation × 100", ""),
    "spearman": Metric("Spearman's correlation × 100", ""),
}


def metric_of(metric: str) -> Metric:
    """How a metric is written; that of a second dev set, "accuracy, mismatched", as the metric itself."""
    return METRICS[metric.partition(",")[0]]


def shown(metric: str, value: float) -> str:
    """A value of the metric, such as "75.3 %"."""
    return f"{100 * value:.1f}{metric_of(metric).unit}"


def sentence_case(text: str) -> str:
    """With a capital at the beginning."""
    return text[:1].upper() + text[1:]
