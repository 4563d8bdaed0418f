"""Guessing as the floor below which a score says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pmb.insight.chance import guessing_score
from pmb.scoring import METRICS

LABELS = [0] * 30 + [1] * 60 + [2] * 10


@pytest.mark.parametrize("metric", ["accuracy", "macro f1", "matthews"])
def test_guessing_is_what_the_commonest_answer_scores(metric: str) -> None:
    assert guessing_score(metric, LABELS) == pytest.approx(METRICS[metric](np.array(LABELS), np.ones(100)))


def test_guessing_by_f1_is_to_answer_yes() -> None:
    labels = [0] * 70 + [1] * 30
    assert guessing_score("f1", labels) == pytest.approx(METRICS["f1"](np.array(labels), np.ones(100)))
