"""From rows of finished runs to configurations (a run without its seed), curves and the sentence that answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from pmb.insight.intervals import EXAMPLES, SEEDS, Interval, difference_interval, run_interval, seed_interval
from pmb.insight.metrics import metric_of
from pmb.strategies import CUSTOM, RANDOM, SCORED, STRATEGIES, Scores, drop_counts, kept_layers
from pmb.wording import counted

Row = Mapping[str, Any]

CONFIGURATION_COLUMNS = (
    "kept_layers",
    "num_hidden_layers",
    "depth",
    "drop_count",
    "seeds",
    "metric",
    "scores",
    "mean",
    "low",
    "high",
    "over",
    "difference",
    "difference_low",
    "difference_high",
    "parameters",
    "megabytes",
    "train_seconds",
    "sources",
    "device",
    "finished_at",
)


SOURCES = {"shipped": "came with the lab", "measured": "measured here"}


def source_words(tables: Iterable[pd.DataFrame]) -> str:
    """Where the configurations or points of these tables come from, such as "came with the lab, measured here"."""
    return ", ".join(sorted({SOURCES[source] for table in tables for found in table["sources"] for source in found}))


def configurations(runs: Sequence[Row]) -> pd.DataFrame:
    """One row for each kept-layer tuple of finished runs of ONE model, task and recipe.

    `mean`, `low`, `high`: the mean over seeds with its t-interval; of a single run its score with the interval over
    the dev examples; `over` says which, SEEDS or EXAMPLES. `difference…`: from the whole model, with Welch's interval;
    NaN where either has a single seed.
    """
    by_kept: dict[tuple[int, ...], list[Row]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        by_kept.setdefault(tuple(run["kept_layers"]), []).append(run)
    rows = [_configuration(kept, of_cut) for kept, of_cut in by_kept.items()]
    whole = next((row["scores"] for row in rows if row["drop_count"] == 0), ())
    for row in rows:
        row |= _difference(row, whole)
    table = pd.DataFrame(rows, columns=list(CONFIGURATION_COLUMNS))
    return table.sort_values(["drop_count", "kept_layers"]).reset_index(drop=True)


def curves(
    table: pd.DataFrame,
    num_hidden_layers: int,
    scores: Scores | None,
    more: Mapping[str, Scores] | None = None,
    others: Mapping[str, Sequence[tuple[int, ...]]] | None = None,
) -> pd.DataFrame:
    """The configurations as points of the strategies that lead to them: columns `strategy`, then as the table.

    A configuration that two strategies share stands once for each. `scores`: of contribution; `more`: of further
    strategies that are wanted beside the paper's; `others`: cuts that no rule makes, under the name that they go by.
    """
    known = {"contribution": scores, **(more or {})}
    by_kept = {row["kept_layers"]: row for row in table.to_dict("records")}
    points = []
    for strategy in (*STRATEGIES, *(more or {})):
        if strategy in SCORED and known[strategy] is None:
            continue
        for drop_count in drop_counts(strategy, num_hidden_layers):
            kept = kept_layers(strategy, num_hidden_layers, drop_count, known.get(strategy))
            if kept in by_kept:
                points.append({"strategy": strategy} | by_kept[kept])
    for name, cuts in (others or {}).items():
        points += [{"strategy": name} | by_kept[kept] for kept in cuts if kept in by_kept]
    return pd.DataFrame(points, columns=["strategy", *CONFIGURATION_COLUMNS])


def speed_by_depth(latencies: Sequence[Row], num_hidden_layers: int, batch: int, length: int) -> pd.DataFrame:
    """Speed-up by depth on ONE device (`depth`, `speedup`, `speedup_low`, `speedup_high`, `speed_device`).

    The device with the most depths measured; of equals the one measured last. The whole model has 1 by definition.
    """
    names = ["depth", "speedup", "speedup_low", "speedup_high", "speed_device"]
    cuts = (row for row in latencies if row["depth"] < num_hidden_layers)
    shaped = [row for row in cuts if (row["batch"], row["length"]) == (batch, length)]
    if not shaped:
        return pd.DataFrame(columns=names)
    frame = pd.DataFrame(shaped)
    ranked = frame.groupby("device").agg(depths=("depth", "nunique"), last=("measured_at", "max"))
    device = ranked.sort_values(["depths", "last"]).index[-1]
    frame = frame[frame["device"] == device][["depth", "ratio", "low", "high", "device"]]
    frame.columns = pd.Index(names)
    whole = pd.DataFrame([[num_hidden_layers, 1.0, 1.0, 1.0, device]], columns=names)
    return pd.concat([frame, whole]).sort_values("depth").reset_index(drop=True)


def points_lost(points: pd.DataFrame) -> pd.DataFrame:
    """Points lost against the whole model by `strategy` and `drop_count`; empty without the whole model."""
    whole = points[points["drop_count"] == 0]
    cuts = points[points["drop_count"] > 0]
    if whole.empty or cuts.empty:
        return pd.DataFrame(columns=["strategy", "drop_count", "lost"])
    lost = 100 * (whole["mean"].iloc[0] - cuts["mean"])
    return cuts.assign(lost=lost)[["strategy", "drop_count", "lost"]]


def tuning_speedup(depth: int, runs: Sequence[Row], num_hidden_layers: int) -> Interval | None:
    """How many times as fast the model cut to a depth is fine-tuned; None where it was not timed beside the whole one.

    The median over pairs of runs, whole and cut, of one task and seed on the same machine, with their 10th and 90th
    percentile: a run beside which something else computed says little.
    """
    by_pair: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for run in runs:
        kept = len(run["kept_layers"])
        if kept in (depth, num_hidden_layers):
            pair = by_pair.setdefault((run["task"], run["seed"], run["machine"], run["device"]), {})
            pair.setdefault("cut" if kept == depth else "whole", []).append(run["train_seconds"])
    ratios = [median(pair["whole"]) / median(pair["cut"]) for pair in by_pair.values() if len(pair) == 2]
    if not ratios:
        return None
    low, high = pd.Series(ratios).quantile([0.1, 0.9])
    return Interval(median(ratios), float(low), float(high))


def inference_speedup(depth: int, speed: pd.DataFrame) -> Interval | None:
    """How many times as fast a cut to a depth answers, by `speed_by_depth`; None where it was not timed.

    The median with the 10th and 90th percentile of pairs.
    """
    timed = speed[speed["depth"] == depth][["speedup", "speedup_low", "speedup_high"]]
    return Interval(*map(float, timed.iloc[0])) if len(timed) else None


def pareto_front(table: pd.DataFrame) -> pd.Series:
    """Whether no other configuration is both at least as fast and at least as accurate, and better in one."""
    points = list(zip(table["speedup"], table["mean"], strict=True))

    def beaten(speedup: float, mean: float) -> bool:
        return any(s >= speedup and m >= mean and (s, m) != (speedup, mean) for s, m in points)

    return pd.Series([not beaten(*point) for point in points], index=table.index, dtype=bool)


def answer_sentence(row: Row, whole: Row | None, strategy: str, speedup: float | None) -> str:
    """The page's question answered from the data, with no difference called that the data do not call."""
    total, dropped = row["num_hidden_layers"], row["drop_count"]
    if dropped == 0:
        return f"The whole model of {total} layers scores {score_of(row)}; every cut is measured against it."
    what = f"Dropping {dropped} of {total} layers {_how(row, strategy)}"
    faster = f" and answers {speedup:.2f} times as fast" if speedup is not None and pd.notna(speedup) else ""
    if whole is None:
        return f"{what} scores {score_of(row)}{faster}; the whole model has not been measured with this recipe yet."
    if whole["mean"] <= 0:  # a share of nothing says nothing
        return f"{what} scores {_both(row, whole)}{faster}. {_verdict(row)}"
    name = metric_of(row["metric"]).name
    article = "" if "correlation" in name else "the "
    kept = 100 * row["mean"] / whole["mean"]
    return f"{what} keeps {kept:.1f} % of {article}{name} ({_both(row, whole)}){faster}. {_verdict(row)}"


def _how(row: Row, strategy: str) -> str:
    if strategy == CUSTOM:
        return f"({' '.join(str(i) for i in range(row['num_hidden_layers']) if i not in row['kept_layers'])})"
    return "at random" if strategy == RANDOM else f"by {strategy.replace('-', ' ')}"


def _both(row: Row, whole: Row) -> str:
    if len(row["seeds"]) == len(whole["seeds"]):
        return f"{_plus_minus(row)} of {_plus_minus(whole)}{metric_of(row['metric']).unit}, {_seeds(row)}"
    return f"{score_of(row)}, of {score_of(whole)}"


def _verdict(row: Row) -> str:
    if pd.isna(row["difference_low"]):
        return f"Whether that is a real difference cannot be said with {_seeds(row)}."
    points = -100 * row["difference"]
    low, high = -100 * row["difference_high"], -100 * row["difference_low"]
    if low <= 0 <= high:
        return "No clear difference from the whole model."
    word = "loss" if points > 0 else "gain"
    ends = sorted((abs(low), abs(high)))
    return f"The {word} is {abs(points):.1f} points (95 % interval {ends[0]:.1f} to {ends[1]:.1f})."


def score_of(row: Row) -> str:
    """A configuration's score with half its interval and its seeds, such as "75.3 ± 0.8 % with 3 seeds"."""
    return f"{_plus_minus(row)}{metric_of(row['metric']).unit} with {_seeds(row)}"


def _plus_minus(row: Row) -> str:
    return f"{100 * row['mean']:.1f} ± {50 * (row['high'] - row['low']):.1f}"


def _seeds(row: Row) -> str:
    return counted(len(row["seeds"]), "seed")


def _configuration(kept: tuple[int, ...], runs: Sequence[Row]) -> dict[str, Any]:
    first = runs[0]
    scores = tuple(float(run["score"]) for run in runs)
    varied = len(set(scores)) > 1  # equal scores have no spread to speak from
    interval = seed_interval(scores) if varied else run_interval(first)
    total = int(first["num_hidden_layers"])
    return {
        "kept_layers": kept,
        "num_hidden_layers": total,
        "depth": len(kept),
        "drop_count": total - len(kept),
        "seeds": tuple(int(run["seed"]) for run in runs),
        "metric": str(first["metric"]),
        "scores": scores,
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "over": SEEDS if varied else EXAMPLES,
        "parameters": int(first["parameters"]),
        "megabytes": float(first["megabytes"]),
        "train_seconds": float(median(run["train_seconds"] for run in runs)),
        "sources": tuple(sorted({run["source"] for run in runs})),
        "device": ", ".join(sorted({run["device"] for run in runs})),
        "finished_at": float(max(run["finished_at"] for run in runs)),
    }


def _difference(row: Row, whole_scores: Sequence[float]) -> dict[str, float]:
    if row["drop_count"] == 0 or min(len(row["scores"]), len(whole_scores)) < 2:
        nothing = float("nan")
        return {"difference": nothing, "difference_low": nothing, "difference_high": nothing}
    interval = difference_interval(row["scores"], whole_scores)
    return {"difference": interval.mean, "difference_low": interval.low, "difference_high": interval.high}
