"""Undertrained: which whole models count as such and why, and that their tasks do not count."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.insight import averages, contest, published
from pmb.insight.metrics import METRICS
from pmb.insight.undertrained import undertrained, undertrained_words
from pmb.insight.zero_layers import ZeroLayerScores, zero_layer_scores
from tests.test_zero_layers import configurations
from tests.zero_layers import measured

LABELS = [0] * 40 + [1] * 60


def whole_and_cut(*scores: float, metric: str = "accuracy") -> pd.DataFrame:
    """A whole model with these scores by seed, and a cut that is worse."""
    return pd.DataFrame(configurations({6: scores, 3: tuple(score - 0.2 for score in scores)})).assign(metric=metric)


def zero(bag: float, constant: float = 0.5, metric: str = "accuracy") -> ZeroLayerScores | None:
    return zero_layer_scores([asdict(measured(bag, constant, (metric,)))], metric)


@pytest.mark.parametrize(
    ("model", "task", "scores", "reason"),
    [
        ("minilm-l6", "mrpc", (0.76, 0.78), "whole model 77.0, published 88.9"),
        ("minilm-l6", "mrpc", (0.84, 0.84), ""),  # less than 5 points below
        ("all-mpnet-base-v2", "mrpc", (0.84, 0.84), "whole model 84.0, published 91.8"),
        ("minilm-l6", "rotten-tomatoes", (0.76, 0.78), ""),  # nothing is published
        ("some folder", "mrpc", (0.76, 0.78), ""),
    ],
)
def test_a_whole_model_far_below_its_published_score(
    model: str, task: str, scores: tuple[float, ...], reason: str
) -> None:
    assert undertrained(model, task, whole_and_cut(*scores), None, None) == reason


def test_scores_of_another_metric_are_not_compared() -> None:
    assert published.whole_model_score("minilm-l6", "mrpc", "f1") is None
    assert undertrained("minilm-l6", "mrpc", whole_and_cut(0.7, 0.71, metric="f1"), None, None) == ""
    assert published.whole_model_score("minilm-l6", "cola", "matthews") == 47.5


def test_a_whole_model_not_clearly_better_than_a_bag_of_words_or_one_answer() -> None:
    near = whole_and_cut(0.70, 0.72, 0.74)
    assert undertrained("m", "t", near, zero(0.71), LABELS) == (
        "whole model 72.0, not clearly better than a bag of words with 71.0"
    )
    assert undertrained("m", "t", near, zero(0.5, 0.69), LABELS) == (
        "whole model 72.0, not clearly better than one answer to all with 69.0"
    )
    assert undertrained("m", "t", near, zero(0.6, 0.6), LABELS) == ""
    # Without these measurements the true labels tell what one answer scores.
    assert undertrained("m", "t", whole_and_cut(0.6, 0.62), None, LABELS) == (
        "whole model 61.0, not clearly better than one answer to all with 60.0"
    )
    assert undertrained("m", "t", whole_and_cut(0.8, 0.82), None, LABELS) == ""
    assert undertrained("m", "t", whole_and_cut(0.5, 0.51), None, None) == ""


def test_nothing_is_said_where_the_whole_model_is_not_measured() -> None:
    cut_alone = whole_and_cut(0.4, 0.41)
    assert undertrained("minilm-l6", "mrpc", cut_alone[cut_alone["drop_count"] > 0], zero(0.9), LABELS) == ""


def test_the_published_scores_name_what_the_catalog_has_and_agree_with_the_papers_table() -> None:
    table = published.whole_models()
    assert set(table["model"]) <= set(MODELS)
    assert not table.duplicated(["model", "task", "metric"]).any()
    for row in table.to_dict("records"):
        assert row["metric"] in METRICS
        assert row["metric"] == TASKS[row["task"]].metric  # else it would never be compared
        assert 0 < row["score"] < 100
    of_paper = published.task_scores()
    whole = of_paper[of_paper["drop_count"] == 0]
    ids = {"BERT": "bert-base-cased", "XLNet": "xlnet-base-cased", "DistilBERT": "distilbert-base-uncased"}
    for row in whole[whole["model"].isin(ids)].to_dict("records"):
        assert published.whole_model_score(ids[row["model"]], row["task"], TASKS[row["task"]].metric) == row["score"]


def test_an_undertrained_task_is_shown_and_does_not_count_in_the_average() -> None:
    of_task = {
        task: whole_and_cut(*scores).assign(strategy="top")
        for task, scores in {"a": (0.8, 0.82), "b": (0.9, 0.9), "c": (0.5, 0.52)}.items()
    }
    every, counted = averages.losses(of_task), averages.losses(of_task, {"c"})
    assert set(counted["task"]) == {"a", "b", "c", averages.AVERAGE}

    def mean(table: pd.DataFrame) -> float:
        return float(table[(table["task"] == averages.AVERAGE) & (table["drop_count"] == 0)]["mean"].iloc[0])

    assert mean(counted) == pytest.approx((0.81 + 0.9) / 2)
    assert mean(every) == pytest.approx((0.81 + 0.9 + 0.51) / 3)
    alone = averages.losses(of_task, {"b", "c"})
    assert averages.AVERAGE not in set(alone["task"])
    titles = {"a": "A", "b": "B", "c": "C"}
    assert "over 2 tasks" in averages.loss_sentence(counted, titles, "top", 3, 6, {"c"})
    assert "(C)" not in averages.loss_sentence(counted, titles, "top", 3, 6, {"c"})
    none_left = averages.losses(of_task, set(titles))
    assert averages.loss_sentence(none_left, titles, "top", 3, 6, set(titles)) == (
        "What dropping 3 of 6 layers by top costs cannot be said: every task measured here is undertrained."
    )


def test_nothing_is_best_on_an_undertrained_task() -> None:
    table = contest.contest({"top": (0.8, 0.81), "bottom": (0.7, 0.72)}, {"top": (0,), "bottom": (1,)})
    found = contest.without_best(table)
    assert not found["in_best_group"].any()
    assert found["behind"].isna().all()
    assert found["mean"].equals(table["mean"])


def test_the_reasons_are_told_by_task() -> None:
    said = undertrained_words({"MRPC": "whole model 77.0, published 88.9"})
    assert said.startswith("Undertrained: MRPC (whole model 77.0, published 88.9). Undertrained tasks do not count")
    assert undertrained_words({}) == ""
