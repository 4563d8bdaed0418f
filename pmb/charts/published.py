"""Points lost by strategy and layers dropped: the same form for published numbers and for measured ones."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import DASHES, NAMES, SHAPES, Theme, layered, legend, rows

HEIGHT = 320
COLUMNS = ("strategy", "drop_count", "lost")


def lost_by_strategy(losses: pd.DataFrame, num_hidden_layers: int, theme: Theme) -> alt.LayerChart:
    """A line a strategy from 0, the whole model. `losses`: COLUMNS, of ONE source; points lost are positive."""
    data = losses.assign(name=losses["strategy"].str.replace("-", " "))
    start = data.drop_duplicates("name").assign(drop_count=0, lost=0.0)
    names = [name for name in NAMES if name in set(data["name"])]
    at = [NAMES.index(name) for name in names]
    below = legend(3)
    axis: dict[str, Any] = {"grid": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    x = alt.X("drop_count:Q", title=f"layers dropped, of {num_hidden_layers}", axis=alt.Axis(**axis, format="d"))
    y = alt.Y("lost:Q", title="points lost", axis=alt.Axis(**axis))
    colours = alt.Scale(domain=names, range=[theme.colours[i] for i in at])
    marks: dict[str, Any] = {
        "x": x.scale(domain=[0, num_hidden_layers - 1], nice=False),
        "y": y,
        "color": alt.Color("name:N", scale=colours, legend=below),
        "tooltip": [
            alt.Tooltip("name:N", title="strategy"),
            alt.Tooltip("drop_count:Q", title="layers dropped"),
            alt.Tooltip("lost:Q", title="points lost", format=".1f"),
        ],
    }
    dash = alt.StrokeDash("name:N", scale=alt.Scale(domain=names, range=[DASHES[i] for i in at]), legend=below)
    shape = alt.Shape("name:N", scale=alt.Scale(domain=names, range=[SHAPES[i] for i in at]), legend=below)
    both = pd.concat([start, data])
    return layered(
        alt.Chart(rows(both)).mark_line(strokeWidth=2).encode(strokeDash=dash, **marks),
        alt.Chart(rows(data)).mark_point(filled=True, size=55, opacity=1).encode(shape=shape, **marks),
        height=HEIGHT,
    )


def lost_alt_text(losses: pd.DataFrame, source: str) -> str:
    """The chart in a sentence: what each strategy loses at the most layers that all of them drop."""
    common = set.intersection(*(set(rows["drop_count"]) for _, rows in losses.groupby("strategy")))
    if not common:
        return f"{source}: points lost by strategy and layers dropped."
    most = max(common)
    here = losses[losses["drop_count"] == most].sort_values("lost")
    parts = [f"{row['strategy']} {row['lost']:.1f}" for row in here.to_dict("records")]
    return f"{source}: points lost with {most} layers dropped: {', '.join(parts)}."
