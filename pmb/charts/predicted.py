"""What is predicted before any training: hollow, with bands of their own, and never joined with what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import OPACITY, Theme, layered, look_of, rows
from pmb.charts.zero_layers import bag_of_words_rule
from pmb.insight.metrics import metric_of, shown
from pmb.insight.zero_layers import ZeroLayerScores
from pmb.strategies import CHOICES, STRATEGIES

PREDICTED, FROZEN = "predicted", "frozen features"
HEIGHT = 340
BESIDE, STEP = 0.2, 0.04  # layers right of the measured cuts of a depth, and from one strategy to the next
BEHIND = 0.45  # the opacity of what is not chosen


def hollow_points(predicted: pd.DataFrame, strategy: str, measured: set[tuple[int, ...]]) -> pd.DataFrame:
    """What is to be drawn, values a hundredfold: the chosen strategy's cuts, and of others those not `measured`.

    `predicted`: from `insight.predict.curves`. Without a calibration the score of the frozen features, with no band.
    """
    cuts = predicted[predicted["drop_count"] > 0]
    data = cuts[(cuts["strategy"] == strategy) | ~cuts["kept_layers"].isin(measured)]
    calibrated = data["predicted"].notna()
    at = {name: min(place, len(STRATEGIES)) for place, name in enumerate(CHOICES)}  # of the further ones, one is drawn
    return pd.DataFrame(
        {
            "kind": calibrated.map({True: PREDICTED, False: FROZEN}),
            "strategy": data["strategy"],
            "name": data["strategy"].str.replace("-", " "),
            "kept": data["kept_layers"].map(lambda kept: " ".join(map(str, kept))),
            "place": data["depth"] + BESIDE + STEP * data["strategy"].map(at),
            "mean": 100 * data["predicted"].where(calibrated, data["frozen"]),
            "low": 100 * data["low"],
            "high": 100 * data["high"],
            "frozen": 100 * data["frozen"],
            "opacity": (data["strategy"] == strategy).map({True: 1.0, False: BEHIND}),
        }
    )


def hollow_layers(
    hollow: pd.DataFrame, names: Iterable[str], strategy: str, x: alt.X, y: alt.Y, theme: Theme
) -> list[alt.Chart]:
    """The points as layers of a chart of `place` and `mean`, the chosen strategy's with bands, named in a legend.

    `names`: of all strategies that the chart draws.
    """
    if hollow.empty:
        return []
    kinds = list(dict.fromkeys(hollow["kind"]))
    look = look_of(names, theme)
    colour = alt.Color("name:N", scale=alt.Scale(domain=look.names, range=look.colours), legend=None)
    shape = alt.Shape("name:N", scale=alt.Scale(domain=look.names, range=look.shapes), legend=None)
    named = alt.Size(
        "kind:N",
        scale=alt.Scale(type="ordinal", domain=kinds, range=[70] * len(kinds)),
        legend=alt.Legend(
            title=None,
            orient="top-left",
            symbolType="circle",
            symbolFillColor="transparent",
            symbolStrokeColor=theme.text,
            labelFontSize=12,
        ),
    )
    tooltip = [
        alt.Tooltip("kind:N", title="what"),
        alt.Tooltip("name:N", title="strategy"),
        alt.Tooltip("kept:N", title="layers kept"),
        alt.Tooltip("mean:Q", title="value", format=".1f"),
        alt.Tooltip("low:Q", title="band from", format=".1f"),
        alt.Tooltip("high:Q", title="band to", format=".1f"),
        alt.Tooltip("frozen:Q", title="frozen features", format=".1f"),
    ]
    points = (
        alt.Chart(rows(hollow))
        .mark_point(filled=False, strokeWidth=1.6)
        .encode(x=x, y=y, color=colour, shape=shape, size=named, opacity=OPACITY, tooltip=tooltip)
    )
    banded = hollow[(hollow["strategy"] == strategy) & hollow["low"].notna()]
    if banded.empty:
        return [points]
    bands = alt.Chart(rows(banded)).mark_bar(width=7, filled=False, strokeWidth=1, strokeDash=[2, 2])
    return [bands.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), color=colour), points]


def predicted_by_depth(
    hollow: pd.DataFrame, zero: ZeroLayerScores | None, strategy: str, total: int, metric: str, theme: Theme
) -> alt.LayerChart:
    """The hollow points alone, where nothing is measured yet, and what a bag of words scores."""
    ends = [*hollow["mean"], *hollow["low"].dropna(), *hollow["high"].dropna()]
    ends += [100 * zero.bag_of_words.mean] if zero else []
    room = 0.06 * (max(ends) - min(ends) or 10)
    axis: dict[str, Any] = {"grid": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    words = metric_of(metric)
    layers_kept = alt.Axis(values=list(range(1, total + 1)), format="d", **axis)
    x = alt.X("place:Q", title="layers kept", axis=layers_kept).scale(domain=[0.7, total + 0.3], nice=False, zero=False)
    y = alt.Y("mean:Q", title=words.axis, axis=alt.Axis(**axis)).scale(
        domain=[min(ends) - room, max(ends) + room], nice=False, zero=False
    )
    points = hollow_layers(hollow, hollow["name"], strategy, x, y, theme)
    return layered(*bag_of_words_rule(zero, theme, "right"), *points, height=HEIGHT)


def hollow_alt_text(hollow: pd.DataFrame, metric: str) -> str:
    """The hollow points in a sentence; nothing where there are none."""
    if hollow.empty:
        return ""
    low, high = shown(metric, hollow["mean"].min() / 100), shown(metric, hollow["mean"].max() / 100)
    return f"Hollow: {hollow['kind'].iloc[0]}, {len(hollow)} cuts, from {low} to {high}."
