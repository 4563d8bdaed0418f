"""The score against depth and against speed-up, as Altair charts; values a hundredfold, as GLUE writes them."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import pandas as pd

from pmb.charts.style import DASHES, NAMES, SHAPES, Theme, rows
from pmb.insight.metrics import metric_of, sentence_case, shown

HEIGHT = 340
FADED = 0.45
OPACITY = alt.Opacity("opacity:Q", scale=None, legend=None)


def accuracy_by_depth(
    points: pd.DataFrame, baselines: pd.DataFrame, strategy: str, drop_count: int, theme: Theme
) -> alt.LayerChart:
    """Lines of mean accuracy over the layers kept; band for the chosen strategy, whiskers of its chosen point.

    `points`: from `insight.summary.curves`; `baselines`: configurations of other models, with `number` and `title`.
    """
    data = _plain(points)
    data["opacity"] = _faded(data["strategy"] == strategy)
    others = _others(baselines)
    total = int(data["num_hidden_layers"].iloc[0])
    chosen = data["strategy"] == strategy
    span = (
        float(min([data["low"].min(), *others["low"]])),
        float(max([data["high"].max(), *others["high"]])),
    )
    x = alt.X("depth:Q", title="layers kept", axis=_axis(values=list(range(1, total + 1)), format="d")).scale(
        domain=[0.5, total + 0.3], nice=False, zero=False
    )
    y = alt.Y("mean:Q", title=_score_title(points), axis=_axis()).scale(domain=_padded(span), nice=False, zero=False)
    marks = {"color": _colour(theme), "detail": alt.Detail("strategy:N")}
    lines = (
        alt.Chart(rows(data)).mark_line(strokeWidth=2).encode(x=x, y=y, strokeDash=_dash(), opacity=OPACITY, **marks)
    )
    dots = (
        alt.Chart(rows(data))
        .mark_point(filled=True, size=55, opacity=1)
        .encode(x=x, y=y, shape=_shape(), opacity=OPACITY, tooltip=_tooltip(data), **marks)
    )
    band = (
        alt.Chart(rows(data[chosen])).mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), **marks)
    )
    layers = [
        band,
        _whole_rule(data, theme, "left"),
        lines,
        dots,
        *_picked(data[chosen & (data["drop_count"] == drop_count)], x, theme),
        *(_beside(others, x, theme) if len(others) else []),
    ]
    return _finished(_layered(*layers))


def accuracy_by_speed(points: pd.DataFrame, strategy: str, drop_count: int, theme: Theme) -> alt.LayerChart:
    """Every measured configuration by speed-up and accuracy; the Pareto front connected, the rest faded.

    `points`: as above with the columns `speedup`, `speedup_low`, `speedup_high`, `front`.
    """
    data = _plain(points)
    data["opacity"] = _faded(data["front"])
    unique = data.drop_duplicates("kept")
    x = alt.X("speedup:Q", title="speed-up over the whole model (times)", axis=_axis(format=".1f", tickCount=6)).scale(
        domain=[0.8, float(data["speedup"].max()) * 1.08], nice=False, zero=False
    )
    span = (float(data["low"].min()), float(data["high"].max()))
    y = alt.Y("mean:Q", title=_score_title(points), axis=_axis()).scale(domain=_padded(span), nice=False, zero=False)
    front = unique[unique["front"]].sort_values("speedup")
    line = (
        alt.Chart(rows(front))
        .mark_line(color=theme.muted, strokeWidth=1.5)
        .encode(x=x, y=y, order=alt.Order("speedup:Q"))
    )
    dots = (
        alt.Chart(rows(data))
        .mark_point(filled=True, size=60)
        .encode(
            x=x,
            y=y,
            color=_colour(theme),
            shape=_shape(),
            opacity=OPACITY,
            tooltip=_tooltip(data),
        )
    )
    chosen = data[(data["strategy"] == strategy) & (data["drop_count"] == drop_count)]
    return _finished(_layered(_whole_rule(data, theme, "right"), line, dots, *_picked(chosen, x, theme)))


def _score_title(points: pd.DataFrame) -> str:
    """Such as "accuracy on dev, %"."""
    metric = metric_of(points["metric"].iloc[0])
    return f"{metric.name} on dev{',' if metric.unit else ' × 100'}{metric.unit}"


def depth_alt_text(points: pd.DataFrame, baselines: pd.DataFrame) -> str:
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
    return " ".join(parts)


def speed_alt_text(points: pd.DataFrame) -> str:
    """The chart of `accuracy_by_speed` in a sentence."""
    fastest = points.sort_values("speedup").iloc[-1]
    front = points[points["front"]].drop_duplicates("kept_layers")
    metric = str(points["metric"].iloc[0])
    return (
        f"{sentence_case(metric_of(metric).name)} against speed-up: {len(front)} configurations on the front; the "
        f"fastest answers {fastest['speedup']:.1f} times as fast as the whole model at "
        f"{shown(metric, fastest['mean'])}."
    )


def _plain(points: pd.DataFrame) -> pd.DataFrame:
    """What the browser needs, with readable names."""
    data = points.copy()
    data["name"] = data["strategy"].str.replace("-", " ")
    data["kept"] = data["kept_layers"].map(lambda kept: " ".join(map(str, kept)))
    data["n"] = data["seeds"].map(len)
    for name in ("mean", "low", "high"):
        data[name] = 100 * data[name]
    data["metric"] = data["metric"].map(lambda metric: metric_of(metric).label)
    columns = [
        "strategy",
        "name",
        "kept",
        "n",
        "metric",
        "depth",
        "drop_count",
        "num_hidden_layers",
        "mean",
        "low",
        "high",
    ]
    more = [c for c in ("speedup", "speedup_low", "speedup_high", "front") if c in data]
    return data[columns + more]


OTHER_COLUMNS = ("number", "title", "depth", "mean", "low", "high", "n", "parameters")


def _others(baselines: pd.DataFrame) -> pd.DataFrame:
    """The other models as points, values a hundredfold."""
    if baselines.empty:
        return pd.DataFrame(columns=list(OTHER_COLUMNS))
    data = baselines.assign(n=baselines["seeds"].map(len), parameters=baselines["parameters"] / 1e6)
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


def _padded(span: tuple[float, float]) -> list[float]:
    room = 0.06 * (span[1] - span[0] or 10)
    return [span[0] - room, span[1] + room]


def _axis(**more: Any) -> alt.Axis:
    return alt.Axis(grid=False, labelFontSize=12, titleFontSize=12, titleFontWeight="normal", **more)


def _colour(theme: Theme) -> alt.Color:
    scale = alt.Scale(domain=list(NAMES), range=list(theme.colours))
    return alt.Color("name:N", scale=scale, legend=_legend())


def _dash() -> alt.StrokeDash:
    return alt.StrokeDash("name:N", scale=alt.Scale(domain=list(NAMES), range=list(DASHES)), legend=_legend())


def _shape() -> alt.Shape:
    return alt.Shape("name:N", scale=alt.Scale(domain=list(NAMES), range=list(SHAPES)), legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=3, symbolSize=80, symbolOpacity=1, labelFontSize=12)


def _faded(stands_out: pd.Series) -> pd.Series:
    return stands_out.map({True: 1.0, False: FADED})


def _whole_rule(data: pd.DataFrame, theme: Theme, label_at: Literal["left", "right"]) -> alt.LayerChart:
    """The whole model as a line over the whole width, with its name where no points are."""
    whole = data[data["drop_count"] == 0].head(1)
    rule = alt.Chart(rows(whole)).mark_rule(color=theme.muted, strokeDash=[3, 3]).encode(y=alt.Y("mean:Q"))
    label = alt.Chart(rows(whole)).mark_text(
        text="whole model",
        align=label_at,
        baseline="bottom",
        dx=4 if label_at == "left" else -4,
        dy=-3,
        color=theme.muted,
        fontSize=12,
    )
    edge = alt.value(0) if label_at == "left" else alt.value("width")
    return _layered(rule, label.encode(y=alt.Y("mean:Q"), x=edge))


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
        alt.Tooltip("n:Q", title="seeds"),
    ]
    if "speedup" in data:
        fields.append(alt.Tooltip("speedup:Q", title="speed-up (times)", format=".2f"))
    return fields


def _layered(*charts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """`alt.layer` for charts without facets."""
    layered = alt.layer(*charts)
    assert isinstance(layered, alt.LayerChart)
    return layered


def _finished(chart: alt.LayerChart) -> alt.LayerChart:
    return chart.properties(height=HEIGHT).configure_view(strokeWidth=0)
