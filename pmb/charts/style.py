"""Colours, dashes and shapes: the same strategy looks the same everywhere, and differs without colour too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from pmb.strategies import CHOICES, STRATEGIES

# Chosen for contrast (at least 3:1 on their background) and for distance under colour blindness; see
# docs/design.md. In the order of STRATEGIES.
LIGHT: Final = ("#4477AA", "#EE6677", "#999933", "#332288", "#882255", "#000000")
DARK: Final = ("#0072B2", "#E69F00", "#DDCC77", "#33BBEE", "#CC3311", "#9CA3AF")
DASHES: Final = ([1, 0], [6, 3], [2, 2], [10, 3], [8, 3, 2, 3], [4, 4])
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
# Of CHOICES beside the six; each is drawn only where it is chosen.
MORE_LIGHT: Final = ("#117733", "#AA4499", "#CC5500", "#008B8B", "#664400", "#8800EE")
MORE_DARK: Final = ("#44AA99", "#EE99CC", "#FF9977", "#66DD66", "#CCEECC", "#AA44EE")
MORE_DASHES: Final = ([1, 3], [12, 3, 2, 3], [6, 2, 1, 2], [3, 3], [5, 2], [1, 1])
SALTIRE: Final = "M-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0L-1,-.6Z"
HOURGLASS: Final = "M-.9,-.9L.9,-.9L-.9,.9L.9,.9Z"
PENTAGON: Final = "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z"
BOW_TIE: Final = "M-.9,-.9L0,0L.9,-.9L.9,.9L0,0L-.9,.9Z"
MORE_SHAPES: Final = ("triangle-right", "triangle-left", PENTAGON, BOW_TIE, SALTIRE, HOURGLASS)
NAMES: Final = tuple(strategy.replace("-", " ") for strategy in STRATEGIES)
MORE_NAMES: Final = tuple(strategy.replace("-", " ") for strategy in CHOICES[len(STRATEGIES) :])
FADED: Final = 0.25  # what is not selected
OPACITY: Final = alt.Opacity("opacity:Q", scale=None, legend=None)


@dataclass(frozen=True, slots=True)
class Theme:
    """What a chart must know of the page's theme."""

    colours: tuple[str, ...]
    background: str
    text: str
    muted: str
    accent: str
    more_colours: tuple[str, ...]


THEMES: Final = {
    "light": Theme(LIGHT, "#FFFFFF", "#1F2430", "#6B7280", "#1D4ED8", MORE_LIGHT),
    "dark": Theme(DARK, "#0E1117", "#E5E7EB", "#9CA3AF", "#7AA2FF", MORE_DARK),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How the strategies of a chart are drawn, in one order: the paper's six, and others that it has."""

    names: list[str]
    colours: list[str]
    dashes: list[list[int]]
    shapes: list[str]


def look_of(names: Iterable[str], theme: Theme) -> Look:
    """The look of a chart in which strategies of these names, without hyphens, are drawn."""
    present = set(names)
    more = [place for place, name in enumerate(MORE_NAMES) if name in present]
    return Look(
        [*NAMES, *(MORE_NAMES[place] for place in more)],
        [*theme.colours, *(theme.more_colours[place] for place in more)],
        [*DASHES, *(MORE_DASHES[place] for place in more)],
        [*SHAPES, *(MORE_SHAPES[place] for place in more)],
    )


def rows(table: pd.DataFrame) -> alt.Data:
    """A table as the rows of a chart, where nothing is to be found out about its columns: that takes time.

    Encodings name their types, and are objects and not strings, for the same reason; the rows are a tuple, which is not
    copied with the chart.
    """
    columns = [[None if value != value else value for value in table[name].tolist()] for name in table]
    names = [str(name) for name in table]
    return alt.Data(values=tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)))  # type: ignore[no-untyped-call]


def layered(*charts: alt.Chart, height: int) -> alt.LayerChart:
    """Charts on each other without facets: each step of `alt.layer(…).properties(…)` would copy all of them again."""
    return alt.LayerChart(layer=list(charts), height=height, config=alt.Config(view=alt.ViewConfig(strokeWidth=0)))


def opacity_of(table: pd.DataFrame) -> pd.Series:
    """The column `opacity`, in which a page says what is selected; 1 where it has none."""
    return table["opacity"] if "opacity" in table else pd.Series(1.0, index=table.index)


def legend_pixels(lines: int) -> int:
    """How much higher a chart with a legend of so many lines is than one without, where their plots are level."""
    return 14 + 15 * lines if lines else 0


def legend(columns: int, **more: Any) -> alt.Legend:
    """Names below a chart with filled symbols: an outline would be drawn in the dashes of the lines."""
    return alt.Legend(
        title=None,
        orient="bottom",
        columns=columns,
        symbolSize=80,
        symbolOpacity=1,
        symbolStrokeWidth=0,
        labelFontSize=12,
        **more,
    )
