"""The strategies side by side at one drop count, each with its interval, and a band over the best group."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pmb.charts.style import NAMES, OPACITY, SHAPES, Theme, layered, opacity_of, rows

ROW_PIXELS = 30
AROUND_PIXELS = 50
LABEL_PIXELS = 92


def contest_chart(table: pd.DataFrame, lines: dict[str, float], title: str, theme: Theme) -> alt.LayerChart:
    """A row a strategy, in their usual order.

    `table`: from `insight.contest`, with `opacity` where rows are selected; `lines`: scores of whole
    models by their names.
    """
    data = table.assign(
        name=table["strategy"].str.replace("-", " "),
        kept=table["kept_layers"].map(lambda kept: " ".join(map(str, kept))),
        score=100 * table["mean"],
        from_=100 * table["low"],
        to=100 * table["high"],
        opacity=opacity_of(table),
    )
    names = [name for name in NAMES if name in set(data["name"])]
    at = [NAMES.index(name) for name in names]
    ends = pd.concat([data["score"], data["from_"], data["to"], pd.Series([100 * s for s in lines.values()])]).dropna()
    room = 0.08 * (ends.max() - ends.min() or 10)
    x = alt.X("score:Q", title=title, axis=alt.Axis(grid=False, tickCount=5, titleFontWeight="normal")).scale(
        domain=[ends.min() - room, ends.max() + room], nice=False
    )
    y = alt.Y(
        "name:N",
        title=None,
        sort=names,
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
    colour = alt.Color("name:N", legend=None).scale(domain=names, range=[theme.colours[i] for i in at])
    shape = alt.Shape("name:N", legend=None).scale(domain=names, range=[SHAPES[i] for i in at])
    base = alt.Chart(rows(data))
    layers: list[alt.Chart] = []
    group = data[data["in_best_group"]]
    if group["seeds"].min() > 1 and group["kept_layers"].nunique() > 1:
        band = pd.DataFrame({"score": [group["score"].min()], "end": [group["score"].max()]})
        layers.append(alt.Chart(rows(band)).mark_rect(color=theme.accent, opacity=0.12).encode(x=x, x2=alt.X2("end")))
    whole = pd.DataFrame({"score": [100 * score for score in lines.values()], "line": list(lines)})
    dash = alt.StrokeDash("line:N", legend=None).scale(domain=list(lines), range=[[3, 3], [8, 3], [1, 3]][: len(lines)])
    layers += [
        alt.Chart(rows(whole))
        .mark_rule(color=theme.muted)
        .encode(
            x=x, strokeDash=dash, tooltip=[alt.Tooltip("line:N", title="model"), alt.Tooltip("score:Q", format=".1f")]
        ),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("from_:Q", title=title), x2=alt.X2("to"), y=y, color=colour, opacity=OPACITY
        ),
        base.mark_point(filled=True, size=90).encode(
            x=x, y=y, color=colour, shape=shape, opacity=OPACITY, tooltip=tooltip
        ),
    ]
    return layered(*layers, height=ROW_PIXELS * len(names) + AROUND_PIXELS)


def contest_alt_text(table: pd.DataFrame, where: str) -> str:
    """The chart in a sentence, the highest first."""
    ranked = table.sort_values("mean", ascending=False)
    parts = [f"{row['strategy'].replace('-', ' ')} {100 * row['mean']:.1f}" for row in ranked.to_dict("records")]
    return f"Score × 100 {where}: {', '.join(parts)}."
