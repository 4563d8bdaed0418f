"""What models answer to a sentence, and how the answer forms from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import Theme, layered, legend, rows

SIDES = ("A", "B", "C")
DASHES = ([1, 0], [5, 3], [2, 2])
SHAPES = ("circle", "square", "triangle-up")
BAR_PIXELS = 22
AROUND_PIXELS = 70
HEIGHT = 260


def probability_chart(data: pd.DataFrame, theme: Theme) -> alt.LayerChart:
    """A bar a label and model. `data`: from `insight.tried.probabilities`, of a task with labels."""
    sides, labels = list(dict.fromkeys(data["side"])), list(dict.fromkeys(data["label"]))
    data = data.assign(text=data["side"] + "  " + (100 * data["value"]).map("{:.0f} %".format))
    base = alt.Chart(rows(data)).encode(
        x=alt.X(
            "value:Q",
            title="probability",
            scale=alt.Scale(domain=[0, 1.25], nice=False),
            axis=alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], grid=False, titleFontWeight="normal"),
        ),
        y=alt.Y("label:N", title=None, sort=labels, axis=alt.Axis(domain=False, ticks=False, labelLimit=110)),
        yOffset=alt.YOffset("side:N", sort=sides),
        tooltip=[
            alt.Tooltip("side:N", title="model"),
            alt.Tooltip("label:N"),
            alt.Tooltip("value:Q", title="probability", format=".1%"),
        ],
    )
    colour = alt.Color("side:N", scale=_scale(sides, _colours(theme)), legend=None)
    return layered(
        base.mark_bar(cornerRadius=3).encode(color=colour),
        base.mark_text(align="left", dx=5, color=theme.text).encode(text=alt.Text("text:N")),
        height=BAR_PIXELS * len(data) + AROUND_PIXELS,
    )


def forming_chart(data: pd.DataFrame, axis_title: str, is_share: bool, theme: Theme) -> alt.LayerChart:
    """A line a model over the layers passed; the ring is what it answers itself. `data`: `insight.tried.forming`."""
    below = legend(3)
    inner, last = data[data["layer"] != ""], data[data["layer"] == ""]
    scale = alt.Scale(domain=[0, 1]) if is_share else alt.Scale(zero=False)
    x = alt.X(
        "step:Q",
        title="layers passed",
        scale=alt.Scale(domain=[0.5, float(data["step"].max()) + 0.5], nice=False),
        axis=alt.Axis(grid=False, titleFontWeight="normal", format="d", values=list(range(1, data["step"].max() + 1))),
    )
    number = alt.Axis(grid=False, titleFontWeight="normal", format=".0%" if is_share else ".1f")
    y = alt.Y("value:Q", title=axis_title, scale=scale, axis=number)
    sides = list(dict.fromkeys(data["side"]))
    colour = alt.Color("side:N", scale=_scale(sides, _colours(theme)), legend=below)
    tooltip = [
        alt.Tooltip("side:N", title="model"),
        alt.Tooltip("layer:N", title="layer"),
        alt.Tooltip("value:Q", title=axis_title, format=".1%" if is_share else ".2f"),
    ]
    base = alt.Chart(rows(inner)).encode(x=x, y=y, color=colour, tooltip=tooltip)
    dash = alt.StrokeDash("side:N", legend=below, scale=_scale(sides, DASHES))
    shape = alt.Shape("side:N", legend=below, scale=_scale(sides, SHAPES))
    ring = alt.Chart(rows(last)).mark_point(size=170, filled=False, strokeWidth=2)
    return layered(
        base.mark_line(strokeWidth=1.6).encode(strokeDash=dash),
        base.mark_point(filled=True, size=50).encode(shape=shape),
        ring.encode(
            x=x, y=y, color=alt.Color("side:N", scale=_scale(sides, _colours(theme)), legend=None), tooltip=tooltip
        ),
        height=HEIGHT,
    )


def forming_alt_text(data: pd.DataFrame, what: str) -> str:
    """The lines in a sentence: of each model its first layer, its last, and what it answers."""
    parts = []
    for side, own in data.groupby("side", sort=False):
        inner = own[own["layer"] != ""]["value"]
        parts.append(f"{side} from {inner.iloc[0]:.2f} to {inner.iloc[-1]:.2f}, answers {own['value'].iloc[-1]:.2f}")
    return f"{what} by layers passed: {'; '.join(parts)}."


def probability_alt_text(data: pd.DataFrame) -> str:
    """The bars in a sentence."""
    found = zip(data["side"], data["label"], data["value"], strict=True)
    parts = (f"{side} {label} {100 * value:.0f} %" for side, label, value in found)
    return f"Probabilities: {', '.join(parts)}."


def _colours(theme: Theme) -> tuple[str, ...]:
    return theme.accent, theme.colours[1], theme.colours[2]


def _scale(sides: list[str], looks: Sequence[Any]) -> alt.Scale:
    """The looks by the names of models: B looks the same with A and without."""
    return alt.Scale(domain=sides, range=[looks[SIDES.index(side)] for side in sides])
