"""What metrics are called and how their values are written: as GLUE does, a hundredfold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for people, spelled as in the middle of a sentence; `unit` follows a value."""

    name: str
    unit: str

    @property
    def label(self) -> str:
        """What stands over a bare number."""
        return self.name if self.unit else f"{self.name} × 100"

    @property
    def axis(self) -> str:
        """What stands along an axis, such as "accuracy on dev, %"."""
        return f"{self.name} on dev,{self.unit}" if self.unit else f"{self.name} on dev × 100"


METRICS = {
    "accuracy": Metric("accuracy", " %"),
    "f1": Metric("F1", " %"),
    "macro f1": Metric("macro F1", " %"),
    "matthews": Metric("Matthews' correlation", ""),
    "pearson": Metric("Pearson's correlation", ""),
    "spearman": Metric("Spearman's correlation", ""),
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
