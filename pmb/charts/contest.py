"""The strategies side by side at one drop count, each with its interval, and a band over the best group."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import NAMES, OPACITY, SHAPES, Theme, layered, opacity_of, rows
from pmb.insight.zero_layers import BAG_OF_WORDS
from pmb.strategies import STRATEGIES

ROW_PIXELS = 30
AROUND_PIXELS = 50
LABEL_PIXELS = 92
BESIDE_MARKS_PIXELS = 24
NAME_GAP_PIXELS = 6  # between a line and a word beside it
LINE_DASHES = ([3, 3], [8, 3], [1, 3])


def contest_chart(
    table: pd.DataFrame, lines: dict[str, float], possible: Collection[str], title: str, theme: Theme
) -> alt.LayerChart:
    """A row a strategy, in their usual order, of those too that have no score: panels stay level, at each drop count.

    `table`: from `insight.contest`, with `opacity` where rows are selected; `lines`: scores of whole models by their
    names, and that of a bag of words, which has its name at the line; `possible`: the strategies that can drop so many
    layers.
    """
    data = table.assign(
        name=table["strategy"].str.replace("-", " "),
        kept=table["kept_layers"].map(lambda kept: " ".join(map(str, kept))),
        score=100 * table["mean"],
        from_=100 * table["low"],
        to=100 * table["high"],
        opacity=opacity_of(table),
    )
    without = [strategy for strategy in STRATEGIES if strategy not in set(table["strategy"])]
    empty = pd.DataFrame(
        {
            "name": [strategy.replace("-", " ") for strategy in without],
            "why": ["not measured" if strategy in possible else "not possible" for strategy in without],
        }
    )
    group = data[data["in_best_group"]]
    several = group["seeds"].min() > 1 and group["kept_layers"].nunique() > 1
    band = pd.DataFrame({"score": [group["score"].min()], "end": [group["score"].max()]}).head(int(several))
    whole = pd.DataFrame({"score": [100 * score for score in lines.values()], "line": list(lines)})
    whole["dash"] = whole.index % len(LINE_DASHES)

    plain: dict[str, Any] = {"grid": False, "tickCount": 5, "titleFontWeight": "normal"}
    scale = alt.Scale(zero=False, nice=False, padding=BESIDE_MARKS_PIXELS)
    x = alt.X("score:Q", title=title, axis=alt.Axis(**plain), scale=scale)
    y = alt.Y(
        "name:N",
        title=None,
        scale=alt.Scale(domain=NAMES),
        axis=alt.Axis(domain=False, ticks=False, labelLimit=LABEL_PIXELS, minExtent=LABEL_PIXELS),
    )
    tooltip = [
        alt.Tooltip("name:N", title="strategy"),
        alt.Tooltip("kept:N", title="layers kept"),
        alt.Tooltip("score:Q", title="score × 100", format=".1f"),
        alt.Tooltip("from_:Q", title="interval from", format=".1f"),
        alt.Tooltip("to:Q", title="interval to", format=".1f"),
        alt.Tooltip("behind:Q", title="points behind the best", format=".1f"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    colour = alt.Color("name:N", legend=None).scale(domain=NAMES, range=theme.colours)
    shape = alt.Shape("name:N", legend=None).scale(domain=NAMES, range=SHAPES)
    dash = alt.StrokeDash("dash:N", legend=None).scale(domain=range(len(LINE_DASHES)), range=LINE_DASHES)
    base = alt.Chart(rows(data))
    return layered(
        alt.Chart(rows(band)).mark_rect(color=theme.accent, opacity=0.12).encode(x=x, x2=alt.X2("end")),
        alt.Chart(rows(whole))
        .mark_rule(color=theme.muted)
        .encode(
            x=x, strokeDash=dash, tooltip=[alt.Tooltip("line:N", title="model"), alt.Tooltip("score:Q", format=".1f")]
        ),
        *_name_of_bag(whole[whole["line"] == BAG_OF_WORDS], data, x, theme),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("from_:Q", title=title), x2=alt.X2("to"), y=y, color=colour, opacity=OPACITY
        ),
        base.mark_point(filled=True, size=90).encode(
            x=x, y=y, color=colour, shape=shape, opacity=OPACITY, tooltip=tooltip
        ),
        alt.Chart(rows(empty))
        .mark_text(align="left", color=theme.muted)
        .encode(x=alt.value(BESIDE_MARKS_PIXELS + NAME_GAP_PIXELS), y=y, text=alt.Text("why:N")),
        height=ROW_PIXELS * len(NAMES) + AROUND_PIXELS,
    )


def _name_of_bag(bag: pd.DataFrame, data: pd.DataFrame, x: alt.X, theme: Theme) -> list[alt.Chart]:
    """The name of the bag of words above the plot, right of its line, or left of it where the line is at the right."""
    middle = (data["score"].min() + data["score"].max()) / 2
    at_left = bag["score"] < middle
    how: dict[str, Any] = {"baseline": "bottom", "dy": -2, "color": theme.muted}
    charts = (
        alt.Chart(rows(bag[at_left])).mark_text(align="left", **how),
        alt.Chart(rows(bag[~at_left])).mark_text(align="right", **how),
    )
    return [chart.encode(x=x, y=alt.value(0), text=alt.Text("line:N")) for chart in charts]


def contest_alt_text(table: pd.DataFrame, where: str) -> str:
    """The chart in a sentence, the highest first."""
    ranked = table.sort_values("mean", ascending=False)
    parts = [f"{row['strategy'].replace('-', ' ')} {100 * row['mean']:.1f}" for row in ranked.to_dict("records")]
    return f"Score × 100 {where}: {', '.join(parts)}."
