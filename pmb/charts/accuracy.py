"""The score against depth and against speed-up, as Altair charts; values a hundredfold, as GLUE writes them."""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt
import pandas as pd

from pmb.charts.line_ends import Box, line_ends
from pmb.charts.predicted import hollow_layers
from pmb.charts.style import (
    FADED,
    MORE_NAMES,
    NAMES,
    OPACITY,
    Look,
    Theme,
    layered,
    legend,
    legend_pixels,
    look_of,
    rows,
)
from pmb.charts.zero_layers import bag_of_words_rule, bag_of_words_words
from pmb.insight.intervals import EXAMPLES, SEEDS
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.insight.summary import SOURCES
from pmb.insight.zero_layers import ZeroLayerScores

HEIGHT = 340
NARROW_PIXELS, LOW_PIXELS = 300, 290  # the plot on a phone, without its axes
WHOLE_PIXELS = 75  # the words "whole model"
LEGEND_COLUMNS = 3
BEHIND = 0.45  # the opacity of what is not chosen
BESIDE = 0.05  # layers between neighbours at one depth, whose intervals would lie on each other
ROOM_FOR_NAMES = 0.34  # of the axis, left of the first depth


def accuracy_by_depth(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    hollow: pd.DataFrame,
    zero: ZeroLayerScores | None,
    strategy: str,
    drop_count: int,
    theme: Theme,
) -> alt.LayerChart:
    """Lines of mean accuracy over the layers kept, named at their ends, each point with its interval.

    The chosen strategy has a band where its intervals are over seeds: a single seed has none. `points`: from
    `insight.summary.curves`, and `selected` where rows are; `baselines`: configurations of other models, with
    `number` and `title`; `hollow`: from `charts.predicted.hollow_points`; `zero`: what a bag of words scores.
    """
    data = _plain(points)
    own, cuts = data["strategy"] == strategy, data["drop_count"] > 0
    lines = data[data["strategy"].isin(data[cuts]["strategy"])].assign(opacity=_line_opacity(data, own))
    data["opacity"] = _opacity(data, own)
    others = _others(baselines)
    total = int(data["num_hidden_layers"].iloc[0])
    foretold = hollow[["mean", "low", "high"]].stack()  # without what is missing
    ends = [*others["low"], *others["high"], *foretold, *_bag_of_words(zero)]
    domain = _padded(data["low"].min(), data["high"].max(), *ends)
    depths = [1 - ROOM_FOR_NAMES * (total - 0.7), total + 0.3]
    x = alt.X("place:Q", title="layers kept", axis=_axis(values=list(range(1, total + 1)), format="d")).scale(
        domain=depths, nice=False, zero=False
    )
    y = alt.Y("mean:Q", title=metric_of(points["metric"].iloc[0]).axis, axis=_axis()).scale(
        domain=domain, nice=False, zero=False
    )
    look = look_of([*data["name"], *hollow["name"]], theme)
    marks = {"color": _colour(look, None), "detail": alt.Detail("strategy:N")}
    per_pixel = ((depths[1] - depths[0]) / NARROW_PIXELS, (domain[1] - domain[0]) / LOW_PIXELS)
    whole = [
        Box(depths[0] / per_pixel[0], depths[0] / per_pixel[0] + WHOLE_PIXELS, score, score + 18)
        for score in data[~cuts]["mean"].head(1) / per_pixel[1]
    ]
    layers = [
        *_bands(data[own], x, marks),
        *_whole_rule(data, theme, "left"),
        *bag_of_words_rule(zero, theme, "right"),
        *_whiskers(data[cuts & (~own | data["selected"])], x, marks),
        alt.Chart(rows(lines))
        .mark_line(strokeWidth=2)
        .encode(x=x, y=y, strokeDash=_dash(look), opacity=OPACITY, **marks),
        alt.Chart(rows(data[cuts]))
        .mark_point(filled=True, size=55, opacity=1)
        .encode(x=x, y=y, shape=_shape(look, None), opacity=OPACITY, tooltip=_tooltip(data), **marks),
        _whole_point(data, x, y, theme),
        *_picked(data[own & (data["drop_count"] == drop_count)], x, theme),
        *(chart.encode(x=x, y=y) for chart in line_ends(data[cuts], whole, per_pixel, theme)),
        *(_beside(others, x, theme) if len(others) else []),
        *hollow_layers(hollow, [*data["name"], *hollow["name"]], strategy, x, y, theme),
    ]
    return layered(*layers, height=HEIGHT)


def accuracy_by_speed(
    points: pd.DataFrame, zero: ZeroLayerScores | None, strategy: str, drop_count: int, theme: Theme
) -> alt.LayerChart:
    """Every measured configuration by speed-up and accuracy; the Pareto front connected, the rest faded.

    Its plot is level with that of the chart of depth beside it.
    `points`: as above with the columns `speedup`, `speedup_low`, `speedup_high`, `front`.
    """
    data = _plain(points)
    data["opacity"] = _opacity(data, data["front"])
    cuts = data["drop_count"] > 0
    x = alt.X("speedup:Q", title="speed-up over the whole model (times)", axis=_axis(format=".1f", tickCount=6)).scale(
        domain=[0.8, float(data["speedup"].max()) * 1.08], nice=False, zero=False
    )
    domain = _padded(data["low"].min(), data["high"].max(), *_bag_of_words(zero))
    y = alt.Y("mean:Q", title=metric_of(points["metric"].iloc[0]).axis, axis=_axis()).scale(
        domain=domain, nice=False, zero=False
    )
    front = data[data["front"]].drop_duplicates("kept").sort_values("speedup")
    line = (
        alt.Chart(rows(front))
        .mark_line(color=theme.muted, strokeWidth=1.5)
        .encode(x=x, y=y, order=alt.Order("speedup:Q"))
    )
    look = look_of(data["name"], theme)
    names = legend(LEGEND_COLUMNS)
    colour = _colour(look, names)
    dots = (
        alt.Chart(rows(data[cuts]))
        .mark_point(filled=True, size=60)
        .encode(x=x, y=y, color=colour, shape=_shape(look, names), opacity=OPACITY, tooltip=_tooltip(data))
    )
    chosen = data[(data["strategy"] == strategy) & (data["drop_count"] == drop_count)]
    return layered(
        *_whole_rule(data, theme, "right"),
        *bag_of_words_rule(zero, theme, "left"),
        line,
        *_whiskers(data[cuts & data["selected"]], x, {"color": colour}),
        dots,
        _whole_point(data, x, y, theme),
        *_picked(chosen, x, theme),
        height=HEIGHT + legend_pixels(math.ceil(len(look.names) / LEGEND_COLUMNS)),
    )


def depth_alt_text(points: pd.DataFrame, baselines: pd.DataFrame, zero: ZeroLayerScores | None) -> str:
    """The chart of `accuracy_by_depth` in a sentence."""
    whole = points[points["drop_count"] == 0]["mean"]
    best = points[points["drop_count"] > 0].sort_values("mean")
    metric = str(points["metric"].iloc[0])
    parts = [
        f"{sentence_case(metric_of(metric).name)} against layers kept for {points['strategy'].nunique()} strategies."
    ]
    if not whole.empty:
        parts.append(f"The whole model has {shown(metric, whole.iloc[0])}.")
    if not best.empty:
        low, high = best.iloc[0], best.iloc[-1]
        parts.append(
            f"Cut models go from {shown(metric, low['mean'])} ({low['depth']} layers, {low['strategy']}) to "
            f"{shown(metric, high['mean'])} ({high['depth']} layers, {high['strategy']})."
        )
    for row in baselines.to_dict("records"):
        parts.append(f"{row['title']} ({row['depth']} layers) has {shown(metric, row['mean'])}.")
    return " ".join([*parts, bag_of_words_words(zero)]).strip()


def speed_alt_text(points: pd.DataFrame, zero: ZeroLayerScores | None) -> str:
    """The chart of `accuracy_by_speed` in a sentence."""
    fastest = points.sort_values("speedup").iloc[-1]
    front = points[points["front"]].drop_duplicates("kept_layers")
    metric = str(points["metric"].iloc[0])
    return (
        f"{sentence_case(metric_of(metric).name)} against speed-up: {len(front)} configurations on the front; the "
        f"fastest answers {fastest['speedup']:.1f} times as fast as the whole model at "
        f"{shown(metric, fastest['mean'])}. {bag_of_words_words(zero)}"
    ).strip()


COLUMNS = (
    "strategy",
    "name",
    "kept",
    "n",
    "over",
    "source",
    "metric",
    "depth",
    "place",
    "drop_count",
    "num_hidden_layers",
    "mean",
    "low",
    "high",
    "selected",
)


def _plain(points: pd.DataFrame) -> pd.DataFrame:
    """What the browser needs, with readable names; `place` is the depth, cuts of one depth beside each other."""
    data = points.assign(selected=points["selected"]) if "selected" in points else points.assign(selected=False)
    data["name"] = data["strategy"].str.replace("-", " ")
    data["kept"] = data["kept_layers"].map(lambda kept: " ".join(map(str, kept)))
    data["n"] = data["seeds"].map(len)
    data["source"] = data["sources"].map(lambda sources: ", ".join(SOURCES[source] for source in sources))
    at = {**{name: len(NAMES) for name in MORE_NAMES}, **{name: place for place, name in enumerate(NAMES)}}
    beside = BESIDE * (data["name"].map(at) - (len(NAMES) - 1) / 2)
    data["place"] = data["depth"] + beside.where(data["drop_count"] > 0, 0.0)
    for name in ("mean", "low", "high"):
        data[name] = 100 * data[name]
    data["metric"] = data["metric"].map(lambda metric: metric_of(metric).label)
    return data[[*COLUMNS, *(c for c in ("speedup", "speedup_low", "speedup_high", "front") if c in data)]]


OTHER_COLUMNS = ("number", "title", "place", "mean", "low", "high", "n", "parameters")


def _others(baselines: pd.DataFrame) -> pd.DataFrame:
    """The other models as points, values a hundredfold."""
    if baselines.empty:
        return pd.DataFrame(columns=list(OTHER_COLUMNS))
    data = baselines.assign(n=baselines["seeds"].map(len), parameters=baselines["parameters"] / 1e6)
    data["place"] = data["depth"]
    for name in ("mean", "low", "high"):
        data[name] = 100 * data[name]
    return data[list(OTHER_COLUMNS)]


def _beside(others: pd.DataFrame, x: alt.X, theme: Theme) -> list[alt.Chart]:
    """A hollow star for each other model, with its interval and its number; neighbours have theirs on either side."""
    base = alt.Chart(rows(others))
    tooltip = [
        alt.Tooltip("title:N", title="model"),
        alt.Tooltip("mean:Q", format=".1f"),
        alt.Tooltip("low:Q", title="interval from", format=".1f"),
        alt.Tooltip("high:Q", title="interval to", format=".1f"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("parameters:Q", title="parameters, M", format=".1f"),
    ]
    star = "M0,-1L.23,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.23,-.32Z"
    return [
        base.mark_rule(color=theme.muted).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high")),
        base.mark_point(shape=star, size=110, strokeWidth=1.5, color=theme.text, filled=False, opacity=1).encode(
            x=x, y=alt.Y("mean:Q"), tooltip=tooltip
        ),
        *(
            alt.Chart(rows(others[others["number"] % 2 == odd]))
            .mark_text(dx=14 if odd else -14, fontSize=12, fontWeight="bold", color=theme.text)
            .encode(x=x, y=alt.Y("mean:Q"), text=alt.Text("number:Q"))
            for odd in (0, 1)
        ),
    ]


def _bag_of_words(zero: ZeroLayerScores | None) -> list[float]:
    return [100 * zero.bag_of_words.mean] if zero else []


def _padded(*ends: float) -> list[float]:
    low, high = float(min(ends)), float(max(ends))
    room = 0.06 * (high - low or 10)
    return [low - room, high + room]


def _axis(**more: Any) -> alt.Axis:
    return alt.Axis(grid=False, labelFontSize=12, titleFontSize=12, titleFontWeight="normal", **more)


def _colour(look: Look, below: alt.Legend | None) -> alt.Color:
    return alt.Color("name:N", scale=alt.Scale(domain=look.names, range=look.colours), legend=below)


def _dash(look: Look) -> alt.StrokeDash:
    return alt.StrokeDash("name:N", scale=alt.Scale(domain=look.names, range=look.dashes), legend=None)


def _shape(look: Look, below: alt.Legend | None) -> alt.Shape:
    return alt.Shape("name:N", scale=alt.Scale(domain=look.names, range=look.shapes), legend=below)


def _behind(stands_out: pd.Series) -> pd.Series:
    return stands_out.map({True: 1.0, False: BEHIND})


def _opacity(data: pd.DataFrame, stands_out: pd.Series) -> pd.Series:
    """The selected points stand out, or where nothing is selected the chosen ones."""
    if not data["selected"].any():
        return _behind(stands_out)
    return data["selected"].map({True: 1.0, False: FADED})


def _line_opacity(data: pd.DataFrame, own: pd.Series) -> pd.Series:
    """A line stands out with any selected point of it, or where nothing is selected as the chosen strategy."""
    if not data["selected"].any():
        return _behind(own)
    return data["strategy"].isin(data[data["selected"]]["strategy"]).map({True: 1.0, False: FADED})


def _bands(own: pd.DataFrame, x: alt.X, marks: dict[str, Any]) -> list[alt.Chart]:
    """The intervals over seeds as a band, broken where there is none."""
    own = own.sort_values("depth")
    over_seeds = own["over"] == SEEDS
    band = own.assign(stretch=(~over_seeds).cumsum())[over_seeds]
    if band.empty:
        return []
    base = alt.Chart(rows(band)).mark_area(opacity=0.18 * band["opacity"].max())
    return [base.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), color=marks["color"], detail=alt.Detail("stretch:N"))]


def _whiskers(data: pd.DataFrame, x: alt.X, marks: dict[str, Any]) -> list[alt.Chart]:
    """Thin intervals, dotted where they are over dev examples; behind the points, but for selected ones."""
    data = data.assign(opacity=0.9 * data["opacity"] if data["selected"].any() else data["opacity"])
    kinds = ((SEEDS, [1, 0]), (EXAMPLES, [2, 2]))
    return [
        alt.Chart(rows(data[data["over"] == over]))
        .mark_rule(strokeWidth=1.2, strokeDash=dash)
        .encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), opacity=OPACITY, **marks)
        for over, dash in kinds
        if (data["over"] == over).any()
    ]


def _whole_point(data: pd.DataFrame, x: alt.X, y: alt.Y, theme: Theme) -> alt.Chart:
    """The whole model, which every strategy starts from, as one point of no strategy's colour."""
    whole = data[data["drop_count"] == 0].head(1).assign(name="whole model")
    return (
        alt.Chart(rows(whole))
        .mark_point(filled=True, size=60, opacity=1, color=theme.text)
        .encode(x=x, y=y, tooltip=_tooltip(data))
    )


def _whole_rule(data: pd.DataFrame, theme: Theme, side: Literal["left", "right"]) -> list[alt.Chart]:
    """The whole model as a line over the whole width, with its name where no points are."""
    whole = data[data["drop_count"] == 0].head(1)
    rule = alt.Chart(rows(whole)).mark_rule(color=theme.muted, strokeDash=[3, 3]).encode(y=alt.Y("mean:Q"))
    label = alt.Chart(rows(whole)).mark_text(
        text="whole model",
        align=side,
        baseline="bottom",
        dx=4 if side == "left" else -4,
        dy=-3,
        color=theme.muted,
        fontSize=12,
    )
    edge = alt.value(0) if side == "left" else alt.value("width")
    return [rule, label.encode(y=alt.Y("mean:Q"), x=edge)]


def _picked(chosen: pd.DataFrame, x: alt.X, theme: Theme) -> list[alt.Chart]:
    """A ring around the chosen point, with the whiskers of its interval."""
    base = alt.Chart(rows(chosen))
    return [
        base.mark_rule(color=theme.text, strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high")),
        base.mark_point(size=190, strokeWidth=2, color=theme.text, filled=False).encode(x=x, y=alt.Y("mean:Q")),
    ]


def _tooltip(data: pd.DataFrame) -> list[alt.Tooltip]:
    fields = [
        alt.Tooltip("name:N", title="strategy"),
        alt.Tooltip("kept:N", title="layers kept"),
        alt.Tooltip("mean:Q", title=str(data["metric"].iloc[0]), format=".1f"),
        alt.Tooltip("low:Q", title="interval from", format=".1f"),
        alt.Tooltip("high:Q", title="interval to", format=".1f"),
        alt.Tooltip("over:N", title="interval over"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("source:N", title="source"),
    ]
    if "speedup" in data:
        fields.append(alt.Tooltip("speedup:Q", title="speed-up (times)", format=".2f"))
    return fields
