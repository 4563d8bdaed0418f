"""The score against the number of train items, on a log axis: a line for each cut, and the bag of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import NAMES, SHAPES, Theme, layered, legend, rows
from pmb.insight.data_sizes import WHOLE
from pmb.insight.metrics import metric_of
from pmb.insight.zero_layers import BAG_OF_WORDS, ZeroLayerScores

HEIGHT = 380
LEGEND_COLUMNS = 2
BESIDE = 0.015  # of a number of items, between neighbours, whose intervals would lie on each other
ROOM = 1.25  # times the fewest and the most items
HALF_DASH = [6, 3]  # of the deeper of a strategy's two cuts
BAG_DASH = [1, 3]


def train_items_chart(table: pd.DataFrame, zero: Mapping[int, ZeroLayerScores], theme: Theme) -> alt.LayerChart:
    """Means with their intervals. `table`: from `insight.data_sizes`; `zero`: by number of train items."""
    names = list(dict.fromkeys(table["cut"]))
    place = {name: BESIDE * (number - (len(names) - 1) / 2) for number, name in enumerate(names)}
    data = pd.DataFrame(
        {
            "cut": table["cut"],
            "items": table["train_items"],
            "place": [size * (1 + place[cut]) for cut, size in zip(table["cut"], table["train_items"], strict=True)],
            "mean": 100 * table["mean"],
            "low": 100 * table["low"],
            "high": 100 * table["high"],
            "n": table["seeds"].map(len),
        }
    )
    bag = _bag_of_words(zero)
    sizes = sorted({*data["items"], *bag["items"]})
    axis: dict[str, Any] = {"grid": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    x = alt.X(
        "place:Q",
        title="train items (log scale)",
        axis=alt.Axis(values=sizes, format=",d", **axis),
        scale=alt.Scale(type="log", domain=[min(sizes) / ROOM, max(sizes) * ROOM], nice=False),
    )
    title = metric_of(table["metric"].iloc[0]).axis
    y = alt.Y("mean:Q", title=title, axis=alt.Axis(**axis), scale=alt.Scale(zero=False, nice=False, padding=16))
    styles = [_style(name, names, theme) for name in names] + [(theme.muted, BAG_DASH, "circle")] * int(len(bag) > 0)
    domain = [*names, *([BAG_OF_WORDS] if len(bag) else [])]
    below = legend(LEGEND_COLUMNS, labelLimit=220)

    def scale(part: int) -> dict[str, Any]:
        return {"scale": alt.Scale(domain=domain, range=[style[part] for style in styles]), "legend": below}

    colour, dash, shape = (
        alt.Color("cut:N", **scale(0)),
        alt.StrokeDash("cut:N", **scale(1)),
        alt.Shape("cut:N", **scale(2)),
    )
    tooltip = [
        alt.Tooltip("cut:N", title="what"),
        alt.Tooltip("items:Q", title="train items", format=","),
        alt.Tooltip("mean:Q", title="score × 100", format=".1f"),
        alt.Tooltip("low:Q", title="interval from", format=".1f"),
        alt.Tooltip("high:Q", title="interval to", format=".1f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    every = rows(pd.DataFrame([*data.to_dict("records"), *bag.to_dict("records")], columns=data.columns))
    base = alt.Chart(every)
    return layered(
        base.mark_rule(strokeWidth=1.2, opacity=0.6).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), color=colour),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
        base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
        height=HEIGHT,
    )


def _bag_of_words(zero: Mapping[int, ZeroLayerScores]) -> pd.DataFrame:
    marks = {size: zero[size].bag_of_words for size in sorted(zero)}
    return pd.DataFrame(
        {
            "cut": BAG_OF_WORDS,
            "items": list(marks),
            "place": list(marks),
            "mean": [100 * mark.mean for mark in marks.values()],
            "low": [100 * mark.low for mark in marks.values()],
            "high": [100 * mark.high for mark in marks.values()],
            "n": [len(mark.scores) for mark in marks.values()],
        }
    )


def _style(name: str, names: Sequence[str], theme: Theme) -> tuple[str, list[int], str]:
    """Colour, dash and shape: the colour is the strategy's on every page; the deeper of its two cuts is dashed."""
    if name == WHOLE:
        return theme.text, [1, 0], "cross"
    strategy = name.partition(",")[0]
    place = NAMES.index(strategy)
    first = next(other for other in names if other.partition(",")[0] == strategy)
    dash, shape = ([1, 0], SHAPES[place]) if name == first else (HALF_DASH, SHAPES[place + 2])
    return theme.colours[place], dash, shape
