"""Names at the ends of lines."""

from __future__ import annotations

import itertools

import pandas as pd

from pmb.charts.line_ends import NAME_PIXELS, Box, line_ends
from pmb.charts.style import THEMES


def placed(cuts: list[tuple[str, int, float]], others: list[Box]) -> dict[str, float]:
    """Where names stand, in pixels, of lines by name, first depth and score; a pixel is 0.1 layers and 1 point."""
    table = pd.DataFrame(cuts, columns=["name", "depth", "mean"]).assign(place=lambda t: t["depth"].astype(float))
    chart = line_ends(table, others, (0.01, 1.0), THEMES["light"])[1]
    return {row["name"]: row["mean"] for row in chart.to_dict()["data"]["values"]}


def test_names_of_lines_that_begin_together_stand_apart() -> None:
    names = placed([("top", 1, 50.0), ("bottom", 1, 50.0), ("symmetric", 1, 51.0)], [])
    heights = sorted(names.values())
    assert all(b - a >= NAME_PIXELS for a, b in itertools.pairwise(heights))


def test_a_name_stands_at_its_own_point_where_there_is_room() -> None:
    assert placed([("top", 1, 50.0), ("top", 2, 90.0), ("bottom", 3, 80.0)], []) == {"top": 50.0, "bottom": 80.0}


def test_a_name_gives_way_to_what_is_written_already() -> None:
    assert placed([("top", 1, 50.0)], [Box(0, 100, 44, 56)])["top"] != 50.0


def test_a_name_gives_way_to_a_line_that_passes_there() -> None:
    names = placed([("top", 1, 50.0), ("top", 2, 50.0), ("symmetric", 2, 51.0)], [])
    assert names["top"] == 50.0
    assert abs(names["symmetric"] - 50.0) > NAME_PIXELS / 2
