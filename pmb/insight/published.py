"""The figures of the paper (pmb/catalog/published), as tables and as the evidence of its claims."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from pmb.catalog.tasks import TASKS

FOLDER = Path(__file__).resolve().parent.parent / "catalog" / "published"
SOURCE = "Sajjad et al. (2020), arXiv 2004.03844v1"
WHOLE = "whole"


@cache
def strategy_averages() -> pd.DataFrame:
    """Mean of seven GLUE tasks (`average`) by `model`, `strategy` (or "whole") and `drop_count`, and `how_known`."""
    return pd.read_csv(FOLDER / "strategy_averages.csv")


@cache
def task_scores() -> pd.DataFrame:
    """`score` by `model`, `drop_count` and `task`, top dropping."""
    return pd.read_csv(FOLDER / "task_scores.csv")


@cache
def whole_models() -> pd.DataFrame:
    """`score` of whole models by `model` (an id of the catalog), `task` and `metric`, with `source` and `how_known`."""
    return pd.read_csv(FOLDER / "whole_models.csv")


def whole_model_score(model: str, task: str, metric: str) -> float | None:
    """The published score of a whole model in this metric, a hundredfold; None where there is none."""
    table = whole_models()
    found = table[(table["model"] == model) & (table["task"] == task) & (table["metric"] == metric)]["score"]
    return float(found.iloc[0]) if len(found) else None


@cache
def costs() -> pd.DataFrame:
    """`finetune_speedup` and `inference_seconds_saved_percent` by `model` and `drop_count`."""
    return pd.read_csv(FOLDER / "cost.csv")


@cache
def layers() -> pd.DataFrame:
    """`similarity` to before fine-tuning and `probe_score` by `model` and `layer`, 0 the embeddings."""
    return pd.read_csv(FOLDER / "layers.csv")


@cache
def variance_orders() -> pd.DataFrame:
    """`dropped`, the layers in the order in which they go by variance, by `model` and the ids of its `checkpoints`."""
    return pd.read_csv(FOLDER / "variance_orders.csv")


def variance_order(checkpoint: str) -> str:
    """The order that is printed for a model, in a sentence; empty where none is."""
    for row in variance_orders().itertuples():
        if checkpoint in str(row.checkpoints).split():
            return (
                f"Sajjad et al. (2023) print for {row.model} the order {row.dropped}, and no formula; this measure is "
                "the lab's own reading and need not agree."
            )
    return ""


def average(model: str, strategy: str, drop_count: int) -> float:
    """One mean of seven tasks."""
    table = strategy_averages()
    found = table[(table["model"] == model) & (table["strategy"] == strategy) & (table["drop_count"] == drop_count)]
    return float(found["average"].iloc[0])


def others(model: str, drop_count: int, *left_out: str) -> pd.Series:
    """The means of the strategies at a drop count but for those left out, by strategy."""
    table = strategy_averages()
    found = table[(table["model"] == model) & (table["drop_count"] == drop_count)].set_index("strategy")["average"]
    return found[[name for name in found.index if name not in (WHOLE, *left_out)]]


@cache
def evidence() -> dict[int, str]:
    """By the number of each claim of insight/claims.py what the paper shows for it."""
    bert, xlnet = "BERT", "XLNet"
    cuts = strategy_averages()
    below = cuts[cuts["strategy"] != WHOLE].merge(
        cuts[cuts["strategy"] == WHOLE][["model", "average"]], on="model", suffixes=("", "_whole")
    )
    lower = int((below["average"] < below["average_whole"]).sum())
    third, half = others(bert, 4, "bottom"), others(bert, 6, "top")
    worst, rest = average(bert, "bottom", 6), others(bert, 6, "bottom")
    lost = task_scores().pivot_table(index="task", columns=["model", "drop_count"], values="score")
    loss = (lost[(bert, 0)] - lost[(bert, 6)]).sort_values()
    time = costs()[costs()["model"] == bert].set_index("drop_count")
    by_layer = layers().pivot_table(index="layer", columns="model", values=["similarity", "probe_score"])
    probe, similar = by_layer["probe_score"], by_layer["similarity"]
    distilled = average("DistilBERT", WHOLE, 0)
    return {
        1: f"{lower} of {len(below)} averages of cut models are below the whole model's, the others above it.",
        2: f"BERT, 4 of 12 dropped: {third.min():.1f} to {third.max():.1f} without bottom.",
        3: f"BERT, 6 of 12 dropped: top {average(bert, 'top', 6):.1f}, the next best {half.max():.1f}.",
        4: f"BERT cut to 6 layers from the top {average(bert, 'top', 6):.1f}, DistilBERT {distilled:.1f}.",
        5: f"XLNet {average(xlnet, WHOLE, 0):.1f}, 4 of 12 dropped from the top {average(xlnet, 'top', 4):.1f}.",
        6: f"BERT, 6 of 12 dropped from the top: {loss.iloc[0]:.1f} points on {TASKS[loss.index[0]].title}, "
        f"{loss.iloc[1]:.1f} on {TASKS[loss.index[1]].title}, up to {loss.iloc[-1]:.1f} on "
        f"{TASKS[loss.index[-1]].title}.",
        7: f"BERT, 6 of 12 dropped: fine-tuning {time['finetune_speedup'][6]:.2f} times as fast, inference in "
        f"{time['inference_seconds_saved_percent'][6]:.0f} % less time.",
        8: f"Classifier on layer 7 and on layer 12: XLNet {100 * probe.loc[7, xlnet]:.1f} and "
        f"{100 * probe.loc[12, xlnet]:.1f}, BERT {100 * probe.loc[7, bert]:.1f} and {100 * probe.loc[12, bert]:.1f}.",
        9: f"Similarity to before fine-tuning in layers 2, 11 and 12: BERT {_three(similar[bert])}; XLNet "
        f"{_three(similar[xlnet])}.",
        10: f"BERT, 6 of 12 dropped: bottom {worst:.1f}, the next worst {rest.min():.1f}.",
    }


def _three(by_layer: pd.Series) -> str:
    return ", ".join(f"{by_layer[layer]:.2f}" for layer in (2, 11, 12))


def losses(model: str) -> pd.DataFrame:
    """Points lost on average by `strategy` and `drop_count`."""
    table = strategy_averages()
    own = table[(table["model"] == model) & (table["strategy"] != WHOLE)]
    return own.assign(lost=average(model, WHOLE, 0) - own["average"])[["strategy", "drop_count", "lost"]]
