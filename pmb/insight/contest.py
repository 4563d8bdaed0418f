"""The strategies against each other at one drop count: which are not clearly worse than the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd

from pmb.insight.intervals import COVERAGE, difference_interval, seed_interval

COLUMNS = ("strategy", "kept_layers", "mean", "low", "high", "seeds", "behind", "in_best_group")


def contest(scores: Mapping[str, Sequence[float]], kept: Mapping[str, tuple[int, ...]]) -> pd.DataFrame:
    """A row a strategy with its mean over seeds, its interval, and the points that it is behind the highest mean.

    `in_best_group`: Welch's interval of its difference from the highest mean holds 0. It is widened to the number of
    pairs of different cuts (Bonferroni), since the highest is not known beforehand. Two strategies that keep the same
    layers are one cut. With a single seed nothing is clear: all are in the group, without an interval.
    """
    cuts = {kept[name]: scores[name] for name in scores}
    pairs = max(1, len(list(combinations(cuts, 2))))
    best = max(cuts.values(), key=lambda values: sum(values) / len(values), default=())
    rows = []
    for name, values in scores.items():
        several = min(len(values), len(best)) > 1
        interval = seed_interval(values) if len(values) > 1 else None
        difference = difference_interval(best, values, 1 - (1 - COVERAGE) / pairs) if several else None
        mean = sum(values) / len(values)
        rows.append(
            {
                "strategy": name,
                "kept_layers": kept[name],
                "mean": mean,
                "low": interval.low if interval else float("nan"),
                "high": interval.high if interval else float("nan"),
                "seeds": len(values),
                "behind": 100 * (sum(best) / len(best) - mean),
                "in_best_group": difference is None or not difference.low > 0,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def without_best(table: pd.DataFrame) -> pd.DataFrame:
    """The contest on a task that is undertrained: nothing is best there, and nothing is behind it."""
    return table.assign(behind=float("nan"), in_best_group=False)


def contest_sentence(table: pd.DataFrame, drop_count: int, total: int, where: str) -> str:
    """Which layers should go, with no winner that the data do not call. `where`: such as "on average over 5 tasks"."""
    what = f"With {drop_count} of {total} layers dropped, {where},"
    if len(table) < 2:
        return f"{what} there are not two strategies to compare yet."
    if table["seeds"].min() < 2:
        return f"{what} one seed does not tell which strategy is better."
    group = _cuts(table[table["in_best_group"]])
    worse = _cuts(table[~table["in_best_group"]])
    if not worse:
        return f"{what} no strategy is clearly better than another."
    tail = f"{_list(worse)} {'is' if len(worse) == 1 else 'are'} clearly worse"
    if len(group) == 1:
        return f"{what} {group[0]} is clearly the best: {tail}."
    return f"{what} {_list(group)} are not clearly different; {tail} than the best of them."


def _cuts(table: pd.DataFrame) -> list[str]:
    """The strategies, those that make the same cut as one."""
    by_cut: dict[tuple[int, ...], list[str]] = {}
    for row in table.to_dict("records"):
        by_cut.setdefault(row["kept_layers"], []).append(str(row["strategy"]).replace("-", " "))
    return [" (the same as ".join(names) + ")" * (len(names) - 1) for names in by_cut.values()]


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
