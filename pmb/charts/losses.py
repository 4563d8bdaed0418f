"""What a strategy loses on each task, as a map of cells."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from pmb.charts.style import Theme, layered, opacity_of, rows
from pmb.insight.averages import AVERAGE

ROW_PIXELS = 40
LABEL_PIXELS = 110
PALE, DARK = 0.06, 0.75  # the opacity of a cell
CLEAR_POINTS = 10.0  # from here on a cell is as dark as it gets


def loss_map(losses: pd.DataFrame, titles: Mapping[str, str], theme: Theme) -> alt.LayerChart:
    """A cell for each task and drop count with the points lost; bold where the interval leaves out 0.

    `losses`: from `insight.averages.losses`, with `opacity` where rows are selected, which get a frame, and `note`,
    which is told on hover; the whole model's column is left out, since it loses nothing.
    """
    data = losses[(losses["drop_count"] > 0) & losses["loss"].notna()].copy()
    data["name"] = data["task"].map(lambda task: "average" if task == AVERAGE else titles[task])
    data["clear"] = (data["low"] > 0) | (data["high"] < 0)
    share = data["loss"].clip(0, CLEAR_POINTS) / CLEAR_POINTS * data["clear"]
    data["opacity"] = opacity_of(data)
    data["read"] = data["opacity"] ** 0.5  # a number is to be read where its cell has faded
    data["fill"] = data["opacity"] * (PALE + (DARK - PALE) * share)
    data["text"] = data["loss"].map(lambda loss: f"{loss:.1f}")
    data["score"] = 100 * data["mean"]
    order = [titles[task] for task in dict.fromkeys(data["task"]) if task != AVERAGE] + ["average"]
    x = alt.X(
        "drop_count:O",
        title="layers dropped",
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, titleFontWeight="normal"),
    )
    y = alt.Y(
        "name:N",
        title=None,
        sort=order,
        axis=alt.Axis(domain=False, ticks=False, labelFontSize=13, labelLimit=LABEL_PIXELS, minExtent=LABEL_PIXELS),
    )
    tooltip = [
        alt.Tooltip("name:N", title="task"),
        alt.Tooltip("drop_count:O", title="layers dropped"),
        alt.Tooltip("loss:Q", title="points lost", format=".1f"),
        alt.Tooltip("low:Q", title="interval from", format=".1f"),
        alt.Tooltip("high:Q", title="interval to", format=".1f"),
        alt.Tooltip("score:Q", title="score × 100", format=".1f"),
        alt.Tooltip("seeds:Q", title="seeds"),
        *([alt.Tooltip("note:N", title="note")] if "note" in data else []),
    ]
    cells = (
        alt.Chart(rows(data))
        .mark_rect(color=theme.accent, cornerRadius=4)
        .encode(
            x=x,
            y=y,
            opacity=alt.Opacity("fill:Q", scale=None, legend=None),
            tooltip=tooltip,
        )
    )
    texts = [
        alt.Chart(rows(data[data["clear"] == clear]))
        .mark_text(fontSize=13, fontWeight="bold" if clear else "normal", color=theme.text if clear else theme.muted)
        .encode(
            x=x, y=y, text=alt.Text("text:N"), opacity=alt.Opacity("read:Q", scale=None, legend=None), tooltip=tooltip
        )
        for clear in (True, False)
    ]
    selected = data[data["opacity"] == 1] if (data["opacity"] < 1).any() else data.head(0)
    frames = alt.Chart(rows(selected)).mark_rect(stroke=theme.text, strokeWidth=2, filled=False, cornerRadius=4)
    height = ROW_PIXELS * data["name"].nunique() + ROW_PIXELS
    return layered(cells, *texts, frames.encode(x=x, y=y), height=height).configure_scale(bandPaddingInner=0.06)


def loss_alt_text(losses: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """The map in a sentence: the greatest drop count of each row."""
    data = losses[(losses["drop_count"] > 0) & losses["loss"].notna()]
    parts = []
    for task, own in data.groupby("task", sort=False):
        last = own.sort_values("drop_count").iloc[-1]
        name = "the average" if task == AVERAGE else titles[str(task)]
        parts.append(f"{name} loses {last['loss']:.1f} points with {last['drop_count']} layers dropped")
    return f"Points lost by task and layers dropped: {'; '.join(parts)}."
