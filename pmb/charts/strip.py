"""The layer strip: which layers stay and which go, shaded by what the strategy chooses by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import Theme, rows
from pmb.strategies import LEAST_FIRST, Scores

WIDE_CELLS = 7  # so many wide cells fit a phone
WIDE_PIXELS, NARROW_PIXELS = 46, 29
ROW_CELLS = 12  # so many narrow ones
CELL_HEIGHT = 38
PALEST = 0.3  # share of the accent colour in the cell of a layer of which the least is said


@dataclass(frozen=True, slots=True)
class Shading:
    """A number a layer, as a strategy chooses by it: the greater, the stronger the colour, the longer it stays."""

    values: tuple[float, ...]
    words: str  # what a layer of a stronger colour does
    title: str  # of the number
    format: str


# By strategy what a layer of a stronger colour does, and the title and format of its number.
SAID = {
    "contribution": ("changes the sentence token more", "changes the sentence token by (1 - cosine)", ".3f"),
    "block-influence": ("changes every token more", "changes every token by (1 - cosine)", ".3f"),
    "angular": ("turns the sentence token more", "turns the sentence token by (angle / π)", ".3f"),
    "variance": ("has weights of greater variance", "variance of its weights", ".5f"),
    "greedy": ("goes later", "goes as number", ".0f"),
}


def shading(strategy: str, scores: Scores | None) -> Shading | None:
    """What `strategies.kept_layers` takes, as shades; of any other strategy than SCORED it is contribution's."""
    if scores is None:
        return None
    if strategy == "angular":
        values = scores[0]  # over blocks of one layer
    else:
        values = scores if strategy in LEAST_FIRST else [1 - score for score in scores]
    return Shading(tuple(values), *SAID.get(strategy, SAID["contribution"]))


def layer_strip(kept: Sequence[int], num_hidden_layers: int, shading: Shading | None, theme: Theme) -> alt.LayerChart:
    """One cell a layer, the lowest at the left, deep models in rows; a dropped one is an empty dashed cell."""
    values = shading.values if shading else (0.0,) * num_hidden_layers
    most = max(values) or 1.0
    shades = [_blend(theme.accent, theme.background, PALEST + (1 - PALEST) * value / most) for value in values]
    data = pd.DataFrame(
        {
            "layer": range(num_hidden_layers),
            "column": [layer % ROW_CELLS for layer in range(num_hidden_layers)],
            "row": [layer // ROW_CELLS for layer in range(num_hidden_layers)],
            "kept": [layer in kept for layer in range(num_hidden_layers)],
            "state": ["kept" if layer in kept else "dropped" for layer in range(num_hidden_layers)],
            "value": values,
            "shade": shades,
            "ink": [_ink(shade) for shade in shades],
        }
    )
    gaps = alt.Scale(paddingInner=0.14, paddingOuter=0.02)
    place: dict[str, Any] = {
        "x": alt.X("column:O", title=None, axis=None, scale=gaps),
        "y": alt.Y("row:O", title=None, axis=None, scale=gaps),
    }
    narrow = num_hidden_layers > WIDE_CELLS
    tooltip = [alt.Tooltip("layer:O"), alt.Tooltip("state:N", title="this cut")]
    if shading:
        tooltip.append(alt.Tooltip("value:Q", title=shading.title, format=shading.format))
    stays, goes = alt.Chart(rows(data[data["kept"]])), alt.Chart(rows(data[~data["kept"]]))
    text: dict[str, Any] = {"fontSize": 12 if narrow else 14}
    layers = [
        stays.mark_rect(cornerRadius=4).encode(**place, color=alt.Color("shade:N", scale=None), tooltip=tooltip),
        goes.mark_rect(cornerRadius=4, fillOpacity=0.0, stroke=theme.muted, strokeDash=[4, 3]).encode(
            **place, tooltip=tooltip
        ),
        stays.mark_text(**text, fontWeight="bold").encode(
            **place, text=alt.Text("layer:O"), color=alt.Color("ink:N", scale=None)
        ),
        goes.mark_text(**text, color=theme.muted).encode(**place, text=alt.Text("layer:O")),
    ]
    size: dict[str, Any] = {
        "height": CELL_HEIGHT * math.ceil(num_hidden_layers / ROW_CELLS),
        "width": (NARROW_PIXELS if narrow else WIDE_PIXELS) * min(num_hidden_layers, ROW_CELLS),
        "padding": 0,
        "autosize": "none",
    }
    return alt.layer(*layers).properties(**size).configure_view(strokeWidth=0)


def strip_alt_text(kept: Sequence[int], num_hidden_layers: int) -> str:
    """The strip in a sentence."""
    gone = [layer for layer in range(num_hidden_layers) if layer not in kept]
    dropped = f"dropped {', '.join(map(str, gone))}" if gone else "none dropped"
    return f"Of {num_hidden_layers} layers, kept {', '.join(map(str, kept))}; {dropped}."


def _blend(colour: str, background: str, share: float) -> str:
    """`share` of one #RRGGBB colour over another."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    return "#" + "".join(f"{round(share * over + (1 - share) * under):02X}" for over, under in pairs)


def _ink(background: str) -> str:
    """Black or white, whichever reads better, by perceived brightness (ITU-R BT.601)."""
    red, green, blue = _channels(background)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#FFFFFF"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
