"""Two configurations: who is right where, what each answers, and how each was trained."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmb.charts.style import Theme, layered, legend, rows

CELL_PIXELS = 46
AROUND_PIXELS = 90
HEIGHT = 260


def confusion_chart(cells: NDArray[np.float64], labels: Sequence[str], theme: Theme) -> alt.LayerChart:
    """True labels down, answers across, with the number of sentences. `cells`: from `insight.paired.confusion`."""
    data = pd.DataFrame(
        {
            "true": true,
            "answer": answer,
            "count": float(cells[i, j]),
            "share": float(cells[i, j] / max(1, cells[i].sum())),
        }
        for i, true in enumerate(labels)
        for j, answer in enumerate(labels)
    )
    axis = alt.Axis(domain=False, ticks=False, labelAngle=0, labelLimit=90, titleFontWeight="normal")
    base = alt.Chart(rows(data)).encode(
        x=alt.X("answer:N", title="answer", sort=list(labels), axis=axis),
        y=alt.Y("true:N", title="true label", sort=list(labels), axis=axis),
        tooltip=[
            alt.Tooltip("true:N", title="true label"),
            alt.Tooltip("answer:N", title="answer"),
            alt.Tooltip("count:Q", title="sentences", format=",.1f"),
            alt.Tooltip("share:Q", title="of this label", format=".1%"),
        ],
    )
    opacity = alt.Opacity("share:Q", legend=None).scale(domain=[0, 1], range=[0.05, 0.6])
    return layered(
        base.mark_rect(color=theme.accent, cornerRadius=4).encode(opacity=opacity),
        base.mark_text(color=theme.text, fontSize=13).encode(text=alt.Text("count:Q", format=",.0f")),
        height=CELL_PIXELS * len(labels) + AROUND_PIXELS,
    )


def answers_chart(labels: Sequence[float], answers: NDArray[np.float64], theme: Theme) -> alt.LayerChart:
    """True numbers against mean answers, a point a sentence; on the dashed line they are equal."""
    data = pd.DataFrame({"true": labels, "answer": answers})
    ends = pd.DataFrame({"true": [min(labels), max(labels)], "answer": [min(labels), max(labels)]})
    axis = alt.Axis(grid=False, titleFontWeight="normal")
    x, y = alt.X("true:Q", title="true number", axis=axis), alt.Y("answer:Q", title="answer", axis=axis)
    return layered(
        alt.Chart(rows(ends)).mark_line(color=theme.muted, strokeDash=[4, 3]).encode(x=x, y=y),
        alt.Chart(rows(data)).mark_circle(color=theme.accent, opacity=0.35, size=18).encode(x=x, y=y),
        height=HEIGHT,
    )


def loss_chart(curves: dict[str, list[list[float | None]]], theme: Theme) -> alt.LayerChart:
    """Mean training loss of each epoch, a thin line a run; `curves`: by "A" and "B" the losses of each run."""
    data = pd.DataFrame(
        {"epoch": epoch, "loss": loss, "side": side, "run": number}
        for side, of_runs in curves.items()
        for number, losses in enumerate(of_runs)
        for epoch, loss in enumerate(losses, 1)
    )
    below = legend(2)
    colours = alt.Scale(domain=["A", "B"], range=[theme.accent, theme.colours[1]])
    each = sorted(set(data["epoch"])) if len(data) else []
    epochs = alt.Axis(grid=False, titleFontWeight="normal", format="d", values=each)
    base = alt.Chart(rows(data)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=epochs),
        y=alt.Y("loss:Q", title="mean training loss", axis=alt.Axis(grid=False, titleFontWeight="normal")),
        color=alt.Color("side:N", scale=colours, legend=below),
        detail=alt.Detail("run:N"),
    )
    dash = alt.StrokeDash("side:N", legend=below).scale(domain=["A", "B"], range=[[1, 0], [5, 3]])
    return layered(
        base.mark_line(strokeWidth=1.3, opacity=0.8).encode(strokeDash=dash),
        base.mark_point(filled=True, size=40),
        height=HEIGHT,
    )


def confusion_alt_text(cells: NDArray[np.float64], labels: Sequence[str], name: str) -> str:
    """The confusion in a sentence: of each label the share that is answered rightly."""
    parts = [f"{label} {100 * cells[i, i] / max(1, cells[i].sum()):.0f} %" for i, label in enumerate(labels)]
    return f"{name} answers rightly of each label: {', '.join(parts)}."
