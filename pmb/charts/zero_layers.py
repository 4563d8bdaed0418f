"""What a bag of words scores, as a line with its name: a cut that does not clear it has shown nothing."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import pandas as pd

from pmb.charts.style import Theme, rows
from pmb.insight.metrics import shown
from pmb.insight.zero_layers import ZeroLayerScores

DASH = [1, 3]
FONT_PIXELS = 12


def bag_of_words_rule(zero: ZeroLayerScores | None, theme: Theme, side: Literal["left", "right"]) -> list[alt.Chart]:
    """A dotted line over the whole width with its name below it, at that side; nothing where it is not measured."""
    if zero is None:
        return []
    mark = zero.bag_of_words
    values = {"value": 100 * mark.mean, "low": 100 * mark.low, "high": 100 * mark.high, "name": mark.name}
    base = alt.Chart(rows(pd.DataFrame([values]))).encode(y=alt.Y("value:Q"))
    tooltip = [
        alt.Tooltip("name:N", title="zero layers"),
        alt.Tooltip("value:Q", title="score × 100", format=".1f"),
        alt.Tooltip("low:Q", title="interval from", format=".1f"),
        alt.Tooltip("high:Q", title="interval to", format=".1f"),
    ]
    rule = base.mark_rule(color=theme.muted, strokeDash=DASH, strokeWidth=2).encode(tooltip=tooltip)
    edge = alt.value(0) if side == "left" else alt.value("width")
    named = base.encode(x=edge, text=alt.Text("name:N"))
    how: dict[str, Any] = {"align": side, "baseline": "top", "dx": 4 if side == "left" else -4, "dy": 4}
    how |= {"fontSize": FONT_PIXELS}
    halo = named.mark_text(stroke=theme.background, strokeWidth=3, strokeOpacity=0.85, **how)  # points may lie there
    return [rule, halo, named.mark_text(color=theme.muted, **how)]


def bag_of_words_words(zero: ZeroLayerScores | None) -> str:
    """The line in a sentence; nothing where it is not measured."""
    if zero is None:
        return ""
    return f"Dotted: a bag of words has {shown(zero.bag_of_words.metric, zero.bag_of_words.mean)}."
