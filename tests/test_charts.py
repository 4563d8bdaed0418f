"""Every chart is what its library's schema allows, with which pages do not check it; what browsers are sent of it."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt
import numpy as np
import pandas as pd
import pytest

from pmb.charts import (
    accuracy,
    contest,
    cost,
    data_sizes,
    layers,
    losses,
    paired,
    predicted,
    preview,
    published,
    strip,
    thresholds,
)
from pmb.charts.specification import specification
from pmb.charts.style import THEMES, Theme, rows
from pmb.insight import averages, predict, summary, threshold
from pmb.insight.contest import contest as contest_of
from pmb.insight.contest import without_best
from pmb.insight.cost import costs
from pmb.insight.intervals import Interval
from pmb.insight.layers import by_layer
from pmb.insight.published import losses as published_losses
from pmb.insight.zero_layers import BAG_OF_WORDS, ZeroLayerScores, zero_layer_scores
from pmb.spec import Histogram
from pmb.strategies import Scores
from tests.app import with_rows
from tests.layer_results import layer_probe
from tests.test_cost import PEAKS as COST_PEAKS
from tests.test_cost import RUNS as COST_RUNS
from tests.test_cost import TIMINGS as COST_TIMINGS
from tests.test_data_sizes import curve
from tests.zero_layers import measured

TITLES = {"a": "A", "b": "B"}


def points() -> pd.DataFrame:
    """Top and bottom dropping at two drop counts, with speed, one value missing."""
    runs = [
        {"kept_layers": kept, "num_hidden_layers": 6, "seed": seed, "score": 0.8 - 0.03 * (6 - len(kept)) + seed / 100}
        | {"metric": "accuracy", "scores": None, "num_dev": 1000, "parameters": 10**6, "megabytes": 4.0}
        | {"train_seconds": 1.0, "source": "measured", "device": "d", "finished_at": 0.0}
        for kept in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3], [2, 3, 4, 5], [0, 1, 2])
        for seed in range(3)
    ]
    found = summary.curves(summary.configurations(runs), 6, None)
    found["speedup"] = 6 / found["depth"]
    found["speedup_low"] = found["speedup_high"] = float("nan")
    found["front"] = found["strategy"] == "top"
    return found


def zero_layers_of(bag: float) -> ZeroLayerScores:
    """What a bag of words scores, of a single sample."""
    found = zero_layer_scores([asdict(measured(bag))], "accuracy")
    assert found is not None
    return found


def test_the_bag_of_words_is_a_line_with_its_name_within_the_chart() -> None:
    table, zero, theme = points(), zero_layers_of(0.51), THEMES["light"]
    hollow = predicted.hollow_points(foretold(), "top", set())
    drawn = [
        accuracy.accuracy_by_depth(table, pd.DataFrame(), hollow.head(0), zero, "top", 2, theme),
        accuracy.accuracy_by_speed(table, zero, "top", 2, theme),
        predicted.predicted_by_depth(hollow, zero, "top", 6, "accuracy", theme),
    ]
    for chart in drawn:
        layers = chart.to_dict()["layer"]
        named = [layer for layer in layers if layer["data"]["values"][:1] and "value" in layer["data"]["values"][0]]
        assert [layer["mark"]["type"] for layer in named] == ["rule", "text", "text"]
        assert {layer["data"]["values"][0]["value"] for layer in named} == {51.0}
        assert {layer["data"]["values"][0]["name"] for layer in named} == {BAG_OF_WORDS}
        domains = [
            layer["encoding"]["y"].get("scale", {}).get("domain") for layer in layers if "y" in layer["encoding"]
        ]
        (low, _) = next(domain for domain in domains if domain)
        assert low < 51
    assert "Dotted: a bag of words has 51.0 %." in accuracy.depth_alt_text(table, pd.DataFrame(), zero)
    contested = contest_of({"top": (0.8, 0.81)}, {"top": (0,)})
    lines = contest.contest_chart(contested, {BAG_OF_WORDS: 0.51}, ("top",), "score", theme).to_dict()["layer"]
    texts = [one for one in lines if one["mark"]["type"] == "text" and "x" in one["encoding"]]
    assert texts[0]["data"]["values"][0]["line"] == BAG_OF_WORDS


def foretold() -> pd.DataFrame:
    """Predictions of two cuts, of which one is measured."""
    cuts = [
        ("top", (0, 1), 2, 4, 0.6, 0.7, 0.6, 0.8, 0.7),
        ("bottom", (4, 5), 2, 4, 0.6, 0.7, 0.6, 0.8, float("nan")),
    ]
    return pd.DataFrame(cuts, columns=["strategy", *predict.COLUMNS])


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_charts_are_valid(theme: Theme) -> None:
    table = points()
    baselines = table.head(1).assign(title="Other", number=1)
    by_task = {"a": table[table["strategy"] == "top"], "b": table[table["strategy"] == "top"]}
    lost = averages.losses(by_task)
    within = threshold.layers_within({0: [[0, 1] * 50], 2: [[0, 0] * 50]}, [0, 1] * 50, "accuracy")
    costly = costs(COST_RUNS, COST_TIMINGS, COST_PEAKS, 6)
    contested = contest_of({"top": (0.8, 0.81), "bottom": (0.7, 0.72)}, {"top": (0,), "bottom": (1,)})
    zero = zero_layers_of(0.6)
    probed = by_layer([asdict(layer_probe()) | {"seed": 0, "source": "measured"}], None, 6)
    axis, possible = "accuracy on dev, %", ("top", "bottom")
    hollow = predicted.hollow_points(foretold(), "top", {(0, 1)})
    raw = predicted.hollow_points(foretold().assign(predicted=np.nan, low=np.nan, high=np.nan), "top", set())
    charts = [
        accuracy.accuracy_by_depth(table, baselines, hollow, zero, "top", 2, theme),
        accuracy.accuracy_by_depth(table, pd.DataFrame(), hollow.head(0), None, "symmetric", 5, theme),
        predicted.predicted_by_depth(hollow, zero, "top", 6, "accuracy", theme),
        predicted.predicted_by_depth(raw, None, "bottom", 24, "pearson", theme),
        accuracy.accuracy_by_speed(table, zero, "top", 2, theme),
        strip.layer_strip([0, 1, 2], 6, strip.shading("top", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), theme),
        strip.layer_strip(range(24), 24, None, theme),
        losses.loss_map(lost, TITLES, theme),
        thresholds.threshold_chart({"a": within, "b": within}, TITLES, 6, theme),
        published.lost_by_strategy(published_losses("BERT"), 12, theme),
        cost.speedup_chart(costly, "batch 32", 6, theme),
        cost.size_chart(costly, "parameters", "parameters, millions", 4e6, 6, theme),
        cost.size_chart(costly, "megabytes", "megabytes", None, 24, theme),
        cost.size_chart(costly, "memory", "megabytes at the peak", 500.0, 6, theme),
        paired.confusion_chart(np.array([[5.0, 1.0], [0.0, 0.0]]), ["no", "<b>yes</b>"], theme),
        paired.answers_chart([0.0, 1.0], np.array([0.5, 0.7]), theme),
        paired.loss_chart({"A": [[0.7, 0.4]], "B": [[0.6, 0.5], [0.6, 0.5]]}, theme),
        contest.contest_chart(contested, {"whole model": 0.9, "Distilled": 0.8}, possible, axis, theme),
        contest.contest_chart(contested.assign(seeds=1, low=None, high=None), {}, possible, axis, theme),
        contest.contest_chart(without_best(contested), {BAG_OF_WORDS: 0.6}, possible, axis, theme),
        preview.class_balance({"a": 3, "<b>": 2}, theme),
        preview.histogram(Histogram(0.0, 2.0, (0.0, 1.0, 2.0), (5, 3)), "words", theme),
        published.lost_by_strategy(summary.points_lost(table), 6, theme),
        data_sizes.train_items_chart(curve(), {500: zero, 4738: zero}, theme),
        data_sizes.train_items_chart(curve().head(1), {}, theme),
        layers.score_chart([layers.Shown("Model", probed, Interval(0.8, 0.79, 0.81))], zero, theme),
    ]
    for chart in charts:
        whole = chart.to_dict()  # with the check against the schema
        assert whole["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
        apart = specification(chart, "What it shows.")
        read = with_rows(apart, apart.pop("datasets"))
        assert read["layer"].pop(0)["data"] == {"values": [{"words": "What it shows."}]}
        assert read == whole
        alt.Chart.from_dict(apart)  # with the check of what is read aloud too


def test_of_another_cut_the_rows_are_others_and_the_chart_is_the_same() -> None:
    theme, table, none = THEMES["light"], points(), pd.DataFrame()
    hollow, zero = predicted.hollow_points(foretold(), "top", set()), zero_layers_of(0.6)
    contested = {
        2: contest_of({"top": (0.8, 0.81), "bottom": (0.7, 0.72)}, {"top": (0,), "bottom": (1,)}),
        3: contest_of({"symmetric": (0.8,)}, {"symmetric": (0,)}),  # no interval, no band
    }
    lines = {2: {"whole model": 0.9, "Distilled": 0.8}, 3: {"whole model": 0.9}}
    drawn = [
        (
            accuracy.accuracy_by_depth(table, none, hollow, zero, "top", dropped, theme),
            accuracy.accuracy_by_speed(table, zero, "top", dropped, theme),
            strip.layer_strip(range(6 - dropped), 6, None, theme),
            contest.contest_chart(contested[dropped], lines[dropped], contested[dropped]["strategy"], "score", theme),
        )
        for dropped in (2, 3)
    ]
    for pair in zip(*drawn, strict=True):
        one, other = (
            specification(chart, words) for chart, words in zip(pair, ("Some words.", "Others."), strict=True)
        )
        assert one.pop("datasets") != other.pop("datasets")
        assert one == other


def test_rows_have_null_where_nothing_is_known() -> None:
    assert rows(pd.DataFrame({"a": [1.0, float("nan")]})).to_dict()["values"] == [{"a": 1.0}, {"a": None}]


@pytest.mark.parametrize(
    ("strategy", "scores", "values", "words"),
    [
        ("top", [0.9, 0.4], (0.1, 0.6), "changes the sentence token more"),
        ("block-influence", [0.9, 0.4], (0.1, 0.6), "changes every token more"),
        ("angular", [[0.2, 0.3]], (0.2, 0.3), "turns the sentence token more"),
        ("variance", [0.004, 0.003], (0.004, 0.003), "has weights of greater variance"),
        ("greedy", [2, 1], (2, 1), "goes later"),
    ],
)
def test_the_strip_is_shaded_by_what_its_strategy_chooses_by(
    strategy: str, scores: Scores, values: tuple[float, ...], words: str
) -> None:
    shading = strip.shading(strategy, scores)
    assert shading is not None
    assert shading.values == pytest.approx(values)
    assert shading.words == words
    drawn = strip.layer_strip([0], 2, shading, THEMES["light"]).to_dict()
    titles = [
        tip["title"] for layer in drawn["layer"] for tip in layer["encoding"].get("tooltip", []) if "title" in tip
    ]
    assert shading.title in titles
    assert strip.shading(strategy, None) is None
