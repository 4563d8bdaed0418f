"""How many layers go at a loss of 1, 2 or 3 points, by task."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from pmb.charts.style import OPACITY, Theme, layered, opacity_of, rows
from pmb.insight.threshold import POINTS
from pmb.wording import counted

ROW_PIXELS = 54
AROUND_PIXELS = 110  # axis and legend
LABEL_PIXELS = 110
SHAPES = ("circle", "square", "triangle-up")


def threshold_chart(
    tables: Mapping[str, pd.DataFrame], titles: Mapping[str, str], total: int, theme: Theme
) -> alt.LayerChart:
    """A row a task with a mark for each allowed loss; a line over what other halves of dev would have chosen.

    `tables`: by task from `insight.threshold.layers_within`, with `opacity` where a task is selected.
    """
    data = pd.concat([table.assign(name=titles[task]) for task, table in tables.items()])
    data["opacity"] = opacity_of(data)
    data["allowed"] = [counted(points, "point") for points in data["points"]]
    order = [titles[task] for task in tables]
    x = alt.X(
        "dropped:Q",
        title="layers that go",
        axis=alt.Axis(grid=False, values=list(range(total)), format="d", titleFontWeight="normal"),
    ).scale(domain=[-0.3, total - 0.7], nice=False)
    y = alt.Y(
        "name:N",
        title=None,
        sort=order,
        axis=alt.Axis(domain=False, ticks=False, labelFontSize=13, labelLimit=LABEL_PIXELS, minExtent=LABEL_PIXELS),
    )
    allowed = [counted(points, "point") for points in POINTS]
    lane = alt.YOffset("allowed:N", scale=alt.Scale(domain=allowed, paddingOuter=0.4))
    legend = alt.Legend(title="loss of at most", orient="bottom", titleFontWeight="normal", symbolOpacity=1)
    shape = alt.Shape("allowed:N", scale=alt.Scale(domain=allowed, range=list(SHAPES)), legend=legend)
    tooltip = [
        alt.Tooltip("name:N", title="task"),
        alt.Tooltip("allowed:N", title="loss of at most"),
        alt.Tooltip("dropped:Q", title="layers that go"),
        alt.Tooltip("dropped_low:Q", title="fewest"),
        alt.Tooltip("dropped_high:Q", title="most"),
        alt.Tooltip("loss:Q", title="points lost on the other half", format=".1f"),
        alt.Tooltip("loss_low:Q", title="least", format=".1f"),
        alt.Tooltip("loss_high:Q", title="greatest", format=".1f"),
    ]
    base = alt.Chart(rows(data)).encode(y=y, yOffset=lane)
    rules = base.mark_rule(color=theme.muted).encode(
        x=alt.X("dropped_low:Q", title="layers that go"), x2=alt.X2("dropped_high"), opacity=OPACITY
    )
    marks = base.mark_point(filled=True, size=70, color=theme.accent).encode(
        x=x, shape=shape, opacity=OPACITY, tooltip=tooltip
    )
    return layered(rules, marks, height=ROW_PIXELS * len(order) + AROUND_PIXELS)
