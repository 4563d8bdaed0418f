"""What cuts at random score on average: the control for a rule, which is worth what it does better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.insight.intervals import difference_interval, seed_interval
from pmb.insight.metrics import metric_of
from pmb.insight.summary import score_of

Row = Mapping[str, Any]
Cut = tuple[int, ...]


def missing_draws(table: pd.DataFrame, draws: Sequence[Cut]) -> list[Cut]:
    """The distinct cuts of the draws that have no row among the configurations."""
    return [kept for kept in dict.fromkeys(draws) if kept not in set(table["kept_layers"])]


def draws_sentence(table: pd.DataFrame, draws: Sequence[Cut], contribution: Cut | None) -> str:
    """The mean of the draws of one drop count beside contribution's score; empty where they are one cut.

    `table`: configurations; `contribution`: its cut at that drop count, None where it is not known. The mean is told
    when all draws are measured: those that are measured first are those that strategies make too, and no sample. It is
    over distinct cuts, with Student's t-interval; the difference has Welch's, of contribution's seeds and the draws.
    """
    cuts = list(dict.fromkeys(draws))
    if len(cuts) < 2:
        return ""
    what = f"{len(draws)} random draws at this drop count are {len(cuts)} different cuts"
    if missing := missing_draws(table, draws):
        return f"The first {what}, of which {len(missing)} are not measured; when all are, their mean is told."
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    by_kept: dict[Cut, Row] = {row["kept_layers"]: row for row in rows}
    unit = metric_of(table["metric"].iloc[0]).unit
    means = [by_kept[kept]["mean"] for kept in cuts]
    if len(set(means)) < 2:  # no spread to speak from
        return f"The first {what}, which score {100 * means[0]:.1f}{unit} each."
    found = seed_interval(means)
    spread = f"{100 * found.mean:.1f} ± {50 * (found.high - found.low):.1f}{unit}"
    said = f"The first {what}: {spread} on average"
    row = by_kept.get(contribution) if contribution is not None else None
    if row is None:
        return f"{said}; contribution is not measured at this drop count."
    return f"{said}, contribution {score_of(row)}: {_verdict(row, means)}"


def _verdict(row: Row, means: Sequence[float]) -> str:
    """Whether contribution's cut differs from a cut at random, as far as its seeds and the draws say."""
    if len(row["scores"]) < 2:
        return "whether that is a real difference cannot be said with 1 seed."
    found = difference_interval(row["scores"], means)
    if math.isnan(found.low) or found.low <= 0 <= found.high:
        return "no clear difference."
    word = "better" if found.mean > 0 else "worse"
    low, high = sorted((abs(100 * found.low), abs(100 * found.high)))
    return f"{abs(100 * found.mean):.1f} points {word} than a random cut (95 % interval {low:.1f} to {high:.1f})."
