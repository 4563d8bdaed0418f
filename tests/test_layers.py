"""What is said of layers, and how they are drawn, from measurements whose answer is known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import pytest

from pmb.charts import layers as charts
from pmb.charts.layers import Shown
from pmb.charts.style import THEMES
from pmb.insight.layers import EMBEDDINGS, answer_sentence, by_layer, whole_model
from tests.layer_results import TUNED, layer_probe, score

CONTRIBUTION = [0.92, 0.991, 0.997, 0.993, 0.987, 0.78]
NOISE = ((0.0, 0.0, 0.0, 0.0, -0.01, 0.006, 0.0), (0.0, 0.0, 0.0, 0.002, 0.01, -0.004, 0.004), (0.0,) * 7)


def rows(count: int = 3, **changes: Any) -> list[dict[str, Any]]:
    """Measurements with that many seeds, whose scores are TUNED with a little noise."""
    return [
        asdict(replace(layer_probe([a + b for a, b in zip(TUNED, NOISE[seed], strict=True)], 0.001 * seed), **changes))
        | {"seed": seed, "source": "measured"}
        for seed in range(count)
    ]


def drawn(count: int = 3, title: str = "One") -> Shown:
    return Shown(title, by_layer(rows(count), CONTRIBUTION, 6), whole_model(rows(count)) if count else None)


def test_a_row_for_the_embeddings_and_each_layer_with_means_and_intervals_over_seeds() -> None:
    table = by_layer(rows(), CONTRIBUTION, 6)
    assert list(table["layer"]) == [EMBEDDINGS, 0, 1, 2, 3, 4, 5]
    assert math.isnan(table["change"][0])
    assert table["change"][6] == pytest.approx(0.22)
    assert (table["tuned"][0], table["tuned_low"][0], table["tuned_high"][0]) == (0.5, 0.48, 0.52)  # over dev
    assert table["tuned"][6] == pytest.approx(0.8 + 0.001 + 0.004 / 3)
    assert table["tuned_high"][6] - table["tuned"][6] == pytest.approx(4.303 * 0.00252 / math.sqrt(3), rel=0.01)
    assert table["similarity"][1] == pytest.approx(0.999)
    assert table["similarity_high"][1] == 1.0  # a cosine is not above 1
    assert set(table["seeds"]) == {3}


def test_one_seed_has_the_interval_over_dev_and_none_of_its_similarity() -> None:
    table = by_layer(rows(1), None, 6)
    assert table["tuned_low"][6] == pytest.approx(table["tuned"][6] - 0.02)
    assert table["similarity_low"].isna().all()
    assert table["change"].isna().all()


def test_the_sentence_names_the_lowest_layer_that_is_not_clearly_worse() -> None:
    assert answer_sentence(by_layer(rows(), CONTRIBUTION, 6)) == (
        "Layer 5 changes the sentence token most, layer 2 least; fine-tuning changes the output of layer 5 most; "
        "from layer 4 up a classifier is not clearly worse than on the last (79.2 ± 1.1 against 80.2 ± 0.6 %, 3 seeds)."
    )


def test_a_layer_below_one_that_is_clearly_worse_is_not_named() -> None:
    tuned = [0.5, 0.6, 0.65, 0.81, 0.76, 0.79, 0.80]
    made = [asdict(layer_probe(tuned, 0.001 * seed)) | {"source": "measured"} for seed in range(3)]
    said = answer_sentence(by_layer(made, None, 6))
    assert "a classifier on the last layer is clearly better than on the one below (80.1 ± 0.2 %, 3 seeds)" in said


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "layer 2 least; what fine-tuning does to the layers has not been measured with this recipe yet."),
        (1, "a classifier on the last layer scores 80.0 ± 2.0 % (1 seed, so layers are not compared)."),
    ],
)
def test_with_few_seeds_no_more_is_said_than_is_known(count: int, words: str) -> None:
    assert answer_sentence(by_layer(rows(count), CONTRIBUTION, 6)).endswith(words)


def test_a_task_that_was_not_learned_says_so_and_seeds_that_disagree_name_no_layer() -> None:
    guess = [asdict(layer_probe((0.5,) * 7, more)) | {"source": "measured"} for more in (0.01, -0.01, 0.0)]
    similar = [(1.0, 0.9, 0.2), (1.0, 0.2, 0.9), (1.0, 0.5, 0.4)]
    for row, similarity in zip(guess, similar, strict=True):
        row["similarity"] = similarity + (0.95,) * 4
    said = answer_sentence(by_layer(guess, None, 6))
    assert said == "A classifier on the last layer (50.0 ± 2.5 %, 3 seeds) is not clearly above guessing."


def test_correlations_carry_no_per_cent() -> None:
    made = rows(metric="pearson")
    assert "against 80.2 ± 0.6, 3 seeds" in answer_sentence(by_layer(made, CONTRIBUTION, 6))


def values_of(chart: Any) -> pd.DataFrame:
    layers = json.loads(chart.to_json())["layer"]
    points = [row for layer in layers for row in layer["data"]["values"] if "series" in row]
    return pd.DataFrame(points).drop_duplicates(["series", "layer"])


def test_one_model_is_drawn_as_before_and_after_with_its_own_score_as_a_rule() -> None:
    chart = charts.score_chart([drawn()], None, THEMES["light"])
    points = values_of(chart)
    assert set(points["series"]) == {"fine-tuned", "pre-trained"}
    assert set(points["layer"]) == {-1, 0, 1, 2, 3, 4, 5}
    text = chart.to_json()
    assert '"whole model"' in text
    assert "accuracy on dev, %" in text


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_two_models_differ_in_colour_dash_and_shape(theme: Any) -> None:
    chart = charts.score_chart([drawn(), drawn(title="Other")], None, theme)
    assert len(set(values_of(chart)["series"])) == 4
    scales = {}
    for layer in json.loads(chart.to_json())["layer"]:
        for channel in ("color", "strokeDash", "shape"):
            if "scale" in layer.get("encoding", {}).get(channel, {}):
                scales[channel] = layer["encoding"][channel]["scale"]
    assert scales["color"]["domain"] == [
        "One, fine-tuned",
        "Other, fine-tuned",
        "One, pre-trained",
        "Other, pre-trained",
    ]
    assert len(set(scales["shape"]["range"])) == len({tuple(dash) for dash in scales["strokeDash"]["range"]}) == 4
    colours = scales["color"]["range"]
    assert colours[:2] == colours[2:]
    assert colours[0] != colours[1]


def test_change_leaves_the_embeddings_out_and_similarity_does_not() -> None:
    assert set(values_of(charts.change_chart([drawn()], THEMES["dark"]))["layer"]) == {0, 1, 2, 3, 4, 5}
    assert len(values_of(charts.similarity_chart([drawn(), drawn(1, "Other")], THEMES["dark"]))) == 14


def test_the_charts_in_words() -> None:
    models = [drawn(), drawn(0, "Other")]
    assert "One, layer 5: 0.220" in charts.change_alt_text(models)
    assert "Other, layer 5: 0.220" in charts.change_alt_text(models)
    assert "One, the embeddings: 1.000" in charts.similarity_alt_text(models)
    assert "One, the embeddings: 50.0 %, 50.0 %" in charts.score_alt_text(models, None)
    assert "Other" not in charts.score_alt_text(models, None)


def test_the_whole_models_own_score_is_a_mean_over_seeds() -> None:
    assert whole_model(rows(1)).high == pytest.approx(score(0.8).high)
    assert whole_model(rows(3)).mean == pytest.approx(0.8 + 0.001 + 0.004 / 3)
