"""Names of lines at their ends, so that a chart is read without a legend and without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from pmb.charts.style import Theme, rows

FONT_PIXELS = 11
LETTER_PIXELS = 6.0  # about the width of a letter
NAME_PIXELS = 13  # from one name to the next
GAP_PIXELS = 9  # between a name and its point
SHIFTS = (0, 7, -7, 13, -13, 20, -20, 26, -26, 39, -39, 52, -52)  # tried in turn, up and down
STEP_PIXELS = 4  # between two looks at where a line passes
APART = 0.15  # passes of a line that a name stands rather than a pixel farther from its point


class Box(NamedTuple):
    """Where something is drawn, in pixels."""

    left: float
    right: float
    bottom: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def line_ends(
    cuts: pd.DataFrame, others: Sequence[Box], per_pixel: tuple[float, float], theme: Theme
) -> list[alt.Chart]:
    """A name left of each line's first point, above or below where it would lie on another name, on points or lines.

    `cuts`: rows with `name`, `place` (x) and `mean` (y); `others`: what is written already; `per_pixel`: what a pixel
    is of x and of y, where the chart is narrow. Names have a halo of the background, since lines may pass there. The
    charts have no x and y yet.
    """
    passed = _passed(cuts, per_pixel)
    points = [
        Box(x / per_pixel[0] - 4, x / per_pixel[0] + 4, y / per_pixel[1] - 4, y / per_pixel[1] + 4)
        for x, y in zip(cuts["place"], cuts["mean"], strict=True)
    ]

    def cost(box: Box, middle: float) -> tuple[int, float]:
        lines = np.count_nonzero(
            (passed[0] > box.left) & (passed[0] < box.right) & (passed[1] > box.bottom) & (passed[1] < box.top)
        )
        shift = abs((box.bottom + box.top) / 2 - middle)
        return _met(box, placed), 2 * _met(box, points) + lines + APART * shift

    first = cuts.sort_values("place").drop_duplicates("name").sort_values(["depth", "mean"])
    placed, names = list(others), []
    for row in first.to_dict("records"):
        x, y = row["place"] / per_pixel[0] - GAP_PIXELS, row["mean"] / per_pixel[1]
        boxes = [_box(row["name"], x, y + shift) for shift in SHIFTS]
        costs = [cost(box, y) for box in boxes]
        best = boxes[costs.index(min(costs))]
        placed.append(best)
        names.append(row | {"mean": per_pixel[1] * (best.bottom + best.top) / 2})
    base = alt.Chart(rows(pd.DataFrame(names, columns=cuts.columns))).encode(text=alt.Text("name:N"))
    how: dict[str, Any] = {"align": "right", "dx": -GAP_PIXELS, "fontSize": FONT_PIXELS}
    halo = base.mark_text(stroke=theme.background, strokeWidth=3, strokeOpacity=0.85, **how)
    return [halo, base.mark_text(color=theme.text, **how)]


def _passed(cuts: pd.DataFrame, per_pixel: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Where the lines pass, in pixels: two rows, x and y."""
    lines = []
    for _, line in cuts.sort_values("place").groupby("name"):
        x, y = line["place"].to_numpy() / per_pixel[0], line["mean"].to_numpy() / per_pixel[1]
        along = np.arange(x[0], x[-1], STEP_PIXELS)
        lines.append(np.stack([along, np.interp(along, x, y)]))
    return np.concatenate([np.empty((2, 0)), *lines], axis=1)


def _box(name: str, right: float, middle: float) -> Box:
    half = NAME_PIXELS / 2
    return Box(right - LETTER_PIXELS * len(name), right, middle - half, middle + half)


def _met(box: Box, others: Sequence[Box]) -> int:
    return sum(box.meets(other) for other in others)
