"""Does what a cut loses hold with more train items? Scores against the number of train items, by cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.insight import summary
from pmb.insight.claims import half, reachable, third
from pmb.insight.intervals import Interval, difference_interval
from pmb.strategies import kept_layers
from pmb.wording import counted

PLANNED_TRAIN_ITEMS = (500, 1000, 2000)  # beside all that a task has
STRATEGIES = ("top", "even-alternate")
WHOLE = "whole model"
COLUMNS = ("cut", "drop_count", "train_items", "mean", "low", "high", "over", "scores", "seeds", "metric")

Row = Mapping[str, Any]


def planned_cuts(num_hidden_layers: int) -> dict[str, tuple[int, ...]]:
    """The whole model, and what two strategies leave with a third and with half of the layers dropped, by name."""
    cuts = {WHOLE: tuple(range(num_hidden_layers))}
    for drop_count in dict.fromkeys((third(num_hidden_layers), half(num_hidden_layers))):
        for strategy in STRATEGIES:
            if drop_count and strategy in reachable(num_hidden_layers, drop_count):
                kept = kept_layers(strategy, num_hidden_layers, drop_count)
                if kept not in cuts.values():
                    cuts[f"{strategy.replace('-', ' ')}, {drop_count} dropped"] = kept
    return cuts


def by_train_items(runs: Sequence[Row], cuts: Mapping[str, tuple[int, ...]]) -> pd.DataFrame:
    """A row for each cut and number of train items at which it is measured, the fewest items first.

    `runs`: finished ones of ONE model and task, whose recipes differ in nothing but the number of train items.
    `mean`, `low`, `high` and `over` are as in `summary.configurations`.
    """
    of_size: dict[int, list[Row]] = {}
    for run in runs:
        of_size.setdefault(int(run["recipe_values"]["train_sentences"]), []).append(run)
    rows = []
    for size in sorted(of_size):
        found = {row["kept_layers"]: row for row in summary.configurations(of_size[size]).to_dict("records")}
        for name, kept in cuts.items():
            if kept in found:
                rows.append(
                    {"cut": name, "train_items": size} | {str(key): value for key, value in found[kept].items()}
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def sizes_of(table: pd.DataFrame) -> list[int]:
    """The numbers of train items that are measured, the fewest first."""
    return sorted({int(size) for size in table["train_items"]})


def losses_sentence(table: pd.DataFrame) -> str:
    """What each cut loses with the fewest and with the most train items that the whole model has too."""
    losses = {
        (cut, size): loss
        for cut in dict.fromkeys(table["cut"])
        for size in sizes_of(table)
        if cut != WHOLE and (loss := _loss(table, cut, size)) is not None
    }
    sizes = sorted({size for _, size in losses})
    if len(sizes) < 2:
        return "The loss of a cut is not measured with two numbers of train items yet."
    fewest, most = sizes[0], sizes[-1]
    parts = [
        f"{cut}: {_points(losses[cut, fewest])} and {_points(losses[cut, most])}"
        for cut in dict.fromkeys(table["cut"])
        if (cut, fewest) in losses and (cut, most) in losses
    ]
    if not parts:
        return "No cut is measured both with the fewest and with the most train items yet."
    return f"Points lost against the whole model with {fewest:,} and with {most:,} train items: {'; '.join(parts)}."


def alt_text(table: pd.DataFrame) -> str:
    """The chart in a sentence."""
    parts = []
    for cut in dict.fromkeys(table["cut"]):
        rows = table[table["cut"] == cut]
        first, last = rows.iloc[0], rows.iloc[-1]
        parts.append(
            f"{cut} {100 * first['mean']:.1f} with {first['train_items']:,} and {100 * last['mean']:.1f} with "
            f"{last['train_items']:,}"
        )
    return f"Score × 100 against train items: {'; '.join(parts)}."


def missing_sizes(table: pd.DataFrame, all_items: int | None) -> list[int]:
    """The planned numbers of train items at which nothing is measured; `all_items`: what the task has."""
    wanted = [size for size in PLANNED_TRAIN_ITEMS if not all_items or size < all_items]
    return [size for size in [*wanted, *([all_items] if all_items else [])] if size not in sizes_of(table)]


def seeds_words(table: pd.DataFrame) -> str:
    """Over how many seeds the means are, such as "3 seeds" or "1 to 5 seeds"."""
    counts = [len(seeds) for seeds in table["seeds"]]
    fewest, most = min(counts), max(counts)
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _loss(table: pd.DataFrame, cut: str, size: int) -> Interval | None:
    """Points lost by a cut with so many train items, with Welch's interval where both have several seeds."""
    here = {row["cut"]: row for row in table[table["train_items"] == size].to_dict("records")}
    if cut not in here or WHOLE not in here:
        return None
    whole, own = here[WHOLE], here[cut]
    if min(len(whole["scores"]), len(own["scores"])) < 2:
        return Interval(100 * (whole["mean"] - own["mean"]), math.nan, math.nan)
    found = difference_interval(whole["scores"], own["scores"])
    return Interval(100 * found.mean, 100 * found.low, 100 * found.high)


def _points(loss: Interval) -> str:
    return f"{loss.mean:.1f}" if math.isnan(loss.low) else f"{loss.mean:.1f} ({loss.low:.1f} to {loss.high:.1f})"
