"""The layer strip: which layers stay and which go, shaded by how much each changes the sentence token."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from pmb.charts.style import Theme

CELL_PIXELS = 46
CELL_HEIGHT = 38


def layer_strip(
    kept: Sequence[int], num_hidden_layers: int, scores: Sequence[float] | None, theme: Theme
) -> alt.LayerChart:
    """One cell a layer, the lowest at the left; a dropped one is an empty dashed cell.

    `scores`: contribution scores (cosine similarity of input and output); a darker cell changes more.
    """
    change = [1 - score for score in scores] if scores else [0.0] * num_hidden_layers
    most = max(change) or 1.0
    data = pd.DataFrame(
        {
            "layer": range(num_hidden_layers),
            "kept": [layer in kept for layer in range(num_hidden_layers)],
            "state": ["kept" if layer in kept else "dropped" for layer in range(num_hidden_layers)],
            "change": change,
            "shade": [0.35 + 0.65 * value / most for value in change],
        }
    )
    x = alt.X("layer:O", title=None, axis=None, scale=alt.Scale(paddingInner=0.14, paddingOuter=0.02))
    tooltip = [alt.Tooltip("layer:O"), alt.Tooltip("state:N", title="this cut")]
    if scores:
        tooltip.append(alt.Tooltip("change:Q", title="changes the sentence token by (1 - cosine)", format=".3f"))
    stays, goes = data[data["kept"]], data[~data["kept"]]
    cells = (
        alt.Chart(stays)
        .mark_rect(color=theme.accent, cornerRadius=4, y=0, y2=CELL_HEIGHT)
        .encode(x=x, opacity=alt.Opacity("shade:Q", scale=None), tooltip=tooltip)
    )
    holes = (
        alt.Chart(goes)
        .mark_rect(fillOpacity=0.0, stroke=theme.muted, strokeDash=[4, 3], cornerRadius=4, y=0, y2=CELL_HEIGHT)
        .encode(x=x, tooltip=tooltip)
    )
    names = alt.Chart(stays).mark_text(color="#FFFFFF", fontWeight="bold", fontSize=14).encode(x=x, text="layer:O")
    gone = alt.Chart(goes).mark_text(color=theme.muted, fontSize=14).encode(x=x, text="layer:O")
    width = CELL_PIXELS * num_hidden_layers
    return (
        alt.layer(cells, holes, names, gone).properties(height=CELL_HEIGHT, width=width).configure_view(strokeWidth=0)
    )


def strip_alt_text(kept: Sequence[int], num_hidden_layers: int) -> str:
    """The strip in a sentence."""
    gone = [layer for layer in range(num_hidden_layers) if layer not in kept]
    dropped = f"dropped {', '.join(map(str, gone))}" if gone else "none dropped"
    return f"Of {num_hidden_layers} layers, kept {', '.join(map(str, kept))}; {dropped}."
