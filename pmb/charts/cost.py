"""What is saved against layers dropped: measured points beside what depth alone would give."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from pmb.charts.style import FADED, OPACITY, Theme, layered, opacity_of, rows

HEIGHT = 240
MOST_TICKS = 12


def speedup_chart(table: pd.DataFrame, name: str, num_hidden_layers: int, theme: Theme) -> alt.LayerChart:
    """A speed-up with its spread; dashed what would be, were time in proportion to depth. `table`: `insight.cost`.

    With `opacity` where rows are selected; so the other charts.
    """
    measured = table[table[name].notna()]
    data = pd.DataFrame(
        {
            "dropped": measured["drop_count"],
            "ratio": measured[name],
            "low": measured[f"{name} low"],
            "high": measured[f"{name} high"],
            "opacity": opacity_of(measured),
        }
    )
    most = int(data["dropped"].max())
    ideal = pd.DataFrame({"dropped": range(most + 1)})
    ideal["ratio"] = num_hidden_layers / (num_hidden_layers - ideal["dropped"])
    start = pd.DataFrame({"dropped": [0], "ratio": [1.0]})
    x, y = _x(num_hidden_layers), alt.Y("ratio:Q", title="times as fast", axis=_axis())
    base = alt.Chart(rows(data))
    return _finished(
        alt.Chart(rows(ideal)).mark_line(color=theme.muted, strokeDash=[4, 3]).encode(x=x, y=y),
        alt.Chart(rows(pd.concat([start, data])))
        .mark_line(color=theme.accent, strokeWidth=2, opacity=_line(data))
        .encode(x=x, y=y),
        base.mark_rule(color=theme.accent).encode(
            x=x, y=alt.Y("low:Q", title="times as fast"), y2=alt.Y2("high"), opacity=OPACITY
        ),
        base.mark_point(filled=True, size=65, color=theme.accent).encode(
            x=x,
            y=y,
            opacity=OPACITY,
            tooltip=[
                alt.Tooltip("dropped:Q", title="layers dropped"),
                alt.Tooltip("ratio:Q", title="times as fast", format=".2f"),
                alt.Tooltip("low:Q", title="10th percentile", format=".2f"),
                alt.Tooltip("high:Q", title="90th percentile", format=".2f"),
            ],
        ),
    )


def size_chart(
    table: pd.DataFrame, name: str, title: str, outside: float | None, num_hidden_layers: int, theme: Theme
) -> alt.LayerChart:
    """A size against layers dropped; dashed what no cut saves (`outside`), a line over its spread where it has one.

    `name`: "parameters" (drawn in millions), "megabytes" or "memory".
    """
    known = table[table[name].notna()]
    divisor = 1e6 if name == "parameters" else 1.0
    sizes = {"dropped": known["drop_count"], "size": known[name] / divisor}
    data = pd.DataFrame(sizes | {"opacity": opacity_of(known)})
    tooltip = [
        alt.Tooltip("dropped:Q", title="layers dropped"),
        alt.Tooltip("size:Q", title=title, format=".1f"),
    ]
    x = _x(num_hidden_layers)
    y = alt.Y("size:Q", title=title, axis=_axis()).scale(domainMin=0)
    layers: list[alt.Chart] = []
    if outside is not None:
        floor = pd.DataFrame({"size": [outside / divisor]})
        layers.append(alt.Chart(rows(floor)).mark_rule(color=theme.muted, strokeDash=[4, 3]).encode(y=y))
    if f"{name} low" in known:
        data["low"], data["high"] = known[f"{name} low"], known[f"{name} high"]
        ends = alt.Chart(rows(data)).mark_rule(color=theme.accent)
        layers.append(ends.encode(x=x, y=alt.Y("low:Q", title=title), y2=alt.Y2("high")))
        tooltip += [
            alt.Tooltip("low:Q", title="10th percentile", format=".1f"),
            alt.Tooltip("high:Q", title="90th percentile", format=".1f"),
        ]
    layers += [
        alt.Chart(rows(data)).mark_line(color=theme.accent, strokeWidth=2, opacity=_line(data)).encode(x=x, y=y),
        alt.Chart(rows(data))
        .mark_point(filled=True, size=65, color=theme.accent)
        .encode(x=x, y=y, opacity=OPACITY, tooltip=tooltip),
    ]
    return _finished(*layers)


def speedup_alt_text(table: pd.DataFrame, name: str, num_hidden_layers: int) -> str:
    """The chart of a speed-up in a sentence."""
    last = table[table[name].notna()].iloc[-1]
    ideal = num_hidden_layers / (num_hidden_layers - last["drop_count"])
    return (
        f"Times as fast by layers dropped, {name}: with {last['drop_count']} dropped {last[name]:.1f} of an ideal "
        f"{ideal:.1f}."
    )


def size_alt_text(table: pd.DataFrame, name: str, title: str, outside: float | None) -> str:
    """The chart of a size in a sentence."""
    known = table[table[name].notna()]
    divisor = 1e6 if name == "parameters" else 1.0
    first, last = known.iloc[0], known.iloc[-1]
    return (
        f"{title} by layers dropped: from {first[name] / divisor:.0f} with {first['drop_count']} dropped to "
        f"{last[name] / divisor:.0f} with {last['drop_count']} dropped"
        f"{'' if outside is None else f'; {outside / divisor:.0f} are saved by no cut'}."
    )


def _line(data: pd.DataFrame) -> float:
    """The opacity of the line through the points: it steps back where some of them are selected."""
    return FADED if (data["opacity"] < 1).any() else 1.0


def _x(num_hidden_layers: int) -> alt.X:
    ticks: dict[str, Any] = {"values": list(range(num_hidden_layers))} if num_hidden_layers <= MOST_TICKS else {}
    axis = alt.Axis(grid=False, format="d", titleFontWeight="normal", **ticks)
    return alt.X("dropped:Q", title="layers dropped", axis=axis).scale(domain=[0, num_hidden_layers - 0.8], nice=False)


def _axis() -> alt.Axis:
    return alt.Axis(grid=False, titleFontWeight="normal", tickCount=6)


def _finished(*layers: alt.Chart) -> alt.LayerChart:
    return layered(*layers, height=HEIGHT)
