"""What the layers of one or two models do, over the layer: three charts of the same form."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import FADED, OPACITY, Theme, layered, legend, legend_pixels, opacity_of, rows
from pmb.charts.zero_layers import bag_of_words_rule, bag_of_words_words
from pmb.insight.intervals import Interval
from pmb.insight.layers import EMBEDDINGS
from pmb.insight.metrics import metric_of, shown
from pmb.insight.zero_layers import ZeroLayerScores

HEIGHT = 300
PLOT_PIXELS = 300  # about the width of a plot, on a phone too
MOST_LABELS = 13  # of layers below a chart
ROOM = 0.4  # layers at either side
ROOM_PIXELS = 16  # above and below

# A series is a model, and where classifiers are compared a model before or after fine-tuning: colour by model.
SHAPES = ("circle", "square", "triangle-up", "diamond")
DASHES = ([1, 0], [8, 3], [2, 2], [8, 3, 2, 3])


@dataclass(frozen=True, slots=True)
class Shown:
    """A model whose layers are drawn.

    `table`: from `insight.layers.by_layer`, with `opacity` where layers are selected; `whole`: its own score, where
    measured.
    """

    title: str
    table: pd.DataFrame
    whole: Interval | None


def change_chart(models: Sequence[Shown], theme: Theme) -> alt.LayerChart:
    """1 - cosine of each layer's output and input; of each model that it is known of."""
    series = {
        shown.title: _points(shown.table, "change").assign(low=math.nan, high=math.nan, series=shown.title)
        for shown in models
    }
    return _chart(models, series, "1 - cosine of output and input", theme, ".3f", from_zero=True)


def similarity_chart(models: Sequence[Shown], theme: Theme) -> alt.LayerChart:
    """Cosine of the sentence token in the pre-trained and the fine-tuned model, with the interval over seeds."""
    series = {shown.title: _points(shown.table, "similarity").assign(series=shown.title) for shown in models}
    return _chart(models, series, "cosine, pre-trained and fine-tuned", theme, ".3f")


def score_chart(models: Sequence[Shown], zero: ZeroLayerScores | None, theme: Theme) -> alt.LayerChart:
    """Score of a classifier on each layer after and before fine-tuning; the whole model and a bag of words as rules."""
    kinds = (("tuned", "fine-tuned"), ("pretrained", "pre-trained"))
    series = {
        name: _points(shown.table, column, 100).assign(series=name)
        for column, words in kinds
        for shown in models
        for name in [_series_name(models, shown, words)]
    }
    measured = [shown for shown in models if shown.whole is not None]
    rules = [*_rules(models, theme), *bag_of_words_rule(zero, theme, "right")]
    metric = metric_of(next(shown.table["metric"].iloc[0] for shown in measured))
    return _chart(models, series, metric.axis, theme, ".1f", rules=rules)


def change_alt_text(models: Sequence[Shown]) -> str:
    """The chart in a sentence."""
    parts = (f"{name}: {row['change']:.3f}" for name, row in _named(models) if not math.isnan(row["change"]))
    return f"1 - cosine of each layer's output and input. {'; '.join(parts)}."


def similarity_alt_text(models: Sequence[Shown]) -> str:
    """The chart in a sentence."""
    parts = (f"{name}: {row['similarity']:.3f}" for name, row in _named(models) if row["seeds"])
    return f"Cosine of the pre-trained and the fine-tuned model by layer. {'; '.join(parts)}."


def score_alt_text(models: Sequence[Shown], zero: ZeroLayerScores | None) -> str:
    """The chart in a sentence."""
    parts = (
        f"{name}: {shown(row['metric'], row['tuned'])}, {shown(row['metric'], row['pretrained'])}"
        for name, row in _named(models)
        if row["seeds"]
    )
    said = f"Classifier on each layer, fine-tuned and pre-trained. {'; '.join(parts)}."
    return f"{said} {bag_of_words_words(zero)}".strip()


def _named(models: Sequence[Shown]) -> Iterator[tuple[str, Mapping[Hashable, Any]]]:
    """Such as "MiniLM-L6, layer 3" with its row."""
    for model in models:
        for row in model.table.to_dict("records"):
            name = "the embeddings" if row["layer"] == EMBEDDINGS else f"layer {row['layer']}"
            yield f"{model.title}, {name}", row


def _series_name(models: Sequence[Shown], shown: Shown, words: str) -> str:
    return words if len(models) == 1 else f"{shown.title}, {words}"


def _colours(theme: Theme) -> tuple[str, str]:
    return theme.accent, theme.colours[1]


def _points(table: pd.DataFrame, column: str, factor: float = 1) -> pd.DataFrame:
    """Layer, value, ends of the interval and seeds, where there is a value."""
    data = table[table[column].notna()]
    ends = {end: factor * data[f"{column}_{end}"] for end in ("low", "high") if f"{column}_{end}" in data}
    values = {"layer": data["layer"], "value": factor * data[column], **ends, "seeds": data["seeds"]}
    names = {"name": data["layer"].map(lambda layer: "embeddings" if layer == EMBEDDINGS else str(layer))}
    return pd.DataFrame(values | names | {"opacity": opacity_of(data)}).astype({"value": float})


def _chart(
    models: Sequence[Shown],
    series: dict[str, pd.DataFrame],
    title: str,
    theme: Theme,
    number: str,
    from_zero: bool = False,
    rules: Sequence[alt.Chart] = (),
) -> alt.LayerChart:
    """A line with points for each series, and a band where it has an interval; `rules` lie below."""
    data = pd.concat(series.values(), ignore_index=True)
    top = max(int(shown.table["layer"].max()) for shown in models)
    step = math.ceil((top + 1) / MOST_LABELS)
    x = alt.X(
        "layer:Q",
        title="layer",
        axis=_axis(values=[EMBEDDINGS, *range(0, top + 1, step)], labelExpr="datum.value < 0 ? 'emb.' : datum.label"),
    ).scale(domain=[EMBEDDINGS - ROOM, top + ROOM], nice=False, zero=False)
    lowest: dict[str, Any] = {"domainMin": 0} if from_zero else {}
    scale_y = alt.Scale(nice=False, zero=False, padding=ROOM_PIXELS, **lowest)
    y = alt.Y("value:Q", title=title, axis=_axis(), scale=scale_y)
    names = list(series)
    count = len(names)
    below = _legend(count) if count > 1 else None
    places = [2 * (i // len(models)) + i % len(models) for i in range(count)]  # before training comes after

    def scale(values: Sequence[Any]) -> dict[str, Any]:
        return {"scale": alt.Scale(domain=names, range=list(values)), "legend": below}

    colours = [_colours(theme)[i % len(models)] for i in range(count)]
    colour = alt.Color("series:N", **scale(colours))
    shape = alt.Shape("series:N", **scale([SHAPES[place] for place in places]))
    dash = alt.StrokeDash("series:N", **scale([DASHES[place] for place in places]))
    tooltip = [
        alt.Tooltip("series:N", title="of"),
        alt.Tooltip("name:N", title="layer"),
        alt.Tooltip("value:Q", title=title, format=number),
        alt.Tooltip("low:Q", title="interval from", format=number),
        alt.Tooltip("high:Q", title="interval to", format=number),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    if not data["low"].notna().any():
        tooltip = tooltip[:3]
    line = FADED if data["opacity"].min() < 1 else 1.0
    bands = [  # of a colour of their own: the legend would show them pale
        alt.Chart(rows(points[points["low"].notna()]))
        .mark_area(opacity=0.15 * line, color=own)
        .encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
        for points, own in zip(series.values(), colours, strict=True)
    ]
    shared = rows(data)
    lines = count // _legend_columns(count) if count > 1 else 0
    return layered(
        *rules,
        *bands,
        alt.Chart(shared).mark_line(strokeWidth=2, opacity=line).encode(x=x, y=y, color=colour, strokeDash=dash),
        alt.Chart(shared)
        .mark_point(filled=True, size=60)
        .encode(x=x, y=y, color=colour, shape=shape, opacity=OPACITY, tooltip=tooltip),
        height=HEIGHT + legend_pixels(lines),  # charts beside each other have equal plots
    )


def _legend(series: int) -> alt.Legend:
    columns = _legend_columns(series)
    limit = PLOT_PIXELS // columns - 30
    return legend(columns, labelLimit=limit)


def _legend_columns(series: int) -> int:
    """Two names fit beside each other; the longer ones of four series do not."""
    return 2 if series == 2 else 1


def _rules(models: Sequence[Shown], theme: Theme) -> list[alt.Chart]:
    """Each model's own score over the whole width, named once, above the better."""
    scores = [100 * shown.whole.mean for shown in models if shown.whole]
    colours = _colours(theme) if len(scores) > 1 else (theme.muted,)
    charts = [
        alt.Chart(rows(pd.DataFrame({"value": [score]})))
        .mark_rule(color=colour, strokeDash=[3, 3])
        .encode(y=alt.Y("value:Q"))
        for score, colour in zip(scores, colours, strict=True)
    ]
    label = alt.Chart(rows(pd.DataFrame({"value": [max(scores)]}))).mark_text(
        text="whole model" if len(scores) == 1 else "whole models",
        align="left",
        baseline="bottom",
        dx=4,
        dy=-3,
        color=theme.muted,
        fontSize=12,
    )
    return [*charts, label.encode(y=alt.Y("value:Q"), x=alt.value(0))]


def _axis(**more: Any) -> alt.Axis:
    return alt.Axis(grid=False, labelFontSize=12, titleFontSize=12, titleFontWeight="normal", **more)
