"""A user's table before anything runs: how many rows each class has, and how long the texts are."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from pmb.charts.style import Theme, rows
from pmb.spec import Histogram

ROW_PIXELS = 26
AROUND_PIXELS = 40
HEIGHT = 180
MOST_BARS = 12
ROOM = 1.15  # at the right of the longest bar, for its number
_AXIS = alt.Axis(grid=False, tickMinStep=1, titleFontWeight="normal")


def class_balance(classes: Mapping[str, int], theme: Theme) -> alt.LayerChart:
    """A bar a class, the commonest first, with its number of rows; those beyond MOST_BARS are left out."""
    data = pd.DataFrame({"label": list(classes), "count": list(classes.values())}).head(MOST_BARS)
    base = alt.Chart(rows(data)).encode(
        x=alt.X("count:Q", title="rows", axis=None).scale(domain=[0, ROOM * int(data["count"].max())], nice=False),
        y=alt.Y(
            "label:N", title=None, sort=list(data["label"]), axis=alt.Axis(domain=False, ticks=False, labelLimit=110)
        ),
        tooltip=[alt.Tooltip("label:N", title="label"), alt.Tooltip("count:Q", title="rows", format=",")],
    )
    text = base.mark_text(align="left", dx=4, color=theme.muted).encode(text=alt.Text("count:Q", format=","))
    chart = alt.layer(base.mark_bar(color=theme.accent, cornerRadiusEnd=3), text)
    assert isinstance(chart, alt.LayerChart)
    return chart.properties(height=ROW_PIXELS * len(data) + AROUND_PIXELS).configure_view(strokeWidth=0)


def histogram(found: Histogram, title: str, theme: Theme) -> alt.LayerChart:
    """How many rows lie between each two edges."""
    data = pd.DataFrame({"low": found.edges[:-1], "high": found.edges[1:], "count": found.counts})
    bars = (
        alt.Chart(rows(data))
        .mark_bar(color=theme.accent, binSpacing=1)
        .encode(
            x=alt.X(
                "low:Q", title=title, bin="binned", axis=alt.Axis(grid=False, titleFontWeight="normal", tickCount=6)
            ),
            x2=alt.X2("high"),
            y=alt.Y("count:Q", title="rows", axis=_AXIS),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".3~f"),
                alt.Tooltip("high:Q", title="to below", format=".3~f"),
                alt.Tooltip("count:Q", title="rows", format=","),
            ],
        )
    )
    chart = alt.layer(bars)
    assert isinstance(chart, alt.LayerChart)
    return chart.properties(height=HEIGHT).configure_view(strokeWidth=0)


def balance_alt_text(classes: Mapping[str, int]) -> str:
    """The bars in a sentence."""
    return (
        "Rows by label: " + ", ".join(f"{label} {count:,}" for label, count in list(classes.items())[:MOST_BARS]) + "."
    )


def histogram_alt_text(found: Histogram, title: str) -> str:
    """The histogram in a sentence: its ends and where most rows lie."""
    most = max(range(len(found.counts)), key=lambda i: found.counts[i])
    return (
        f"Rows by {title}, {found.low:g} to {found.high:g}; most, {found.counts[most]:,}, from "
        f"{found.edges[most]:g} to below {found.edges[most + 1]:g}."
    )
