"""What the layers of a model do: one row a layer, and the sentence that answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pmb.insight.intervals import Interval, seed_interval
from pmb.insight.metrics import metric_of

EMBEDDINGS = -1  # what stands below layer 0
LAYER_COLUMNS = (
    "layer",
    "change",
    *(f"{name}{end}" for name in ("similarity", "tuned", "pretrained") for end in ("", "_low", "_high")),
    "similarities",
    "tuned_scores",
    "seeds",
    "metric",
    "source",
)

Row = Mapping[Any, Any]


def by_layer(probes: Sequence[Row], contribution: Sequence[float] | None, num_hidden_layers: int) -> pd.DataFrame:
    """One row for the embeddings and for each layer, the lowest first, of ONE model, task and recipe.

    `probes`: measurements that are done, one a seed. `contribution`: cosine similarity of each layer's output and
    input. `change` is 1 - that; `similarity`, `tuned` and `pretrained` are means over seeds with 95 % t-intervals. Of
    scores that do not vary over seeds the interval is that over the dev examples, of a similarity there is none (NaN).
    """
    rows: list[dict[str, Any]] = []
    for place in range(num_hidden_layers + 1):
        layer = place + EMBEDDINGS
        known = contribution is not None and layer != EMBEDDINGS
        row: dict[str, Any] = {
            "layer": layer,
            "change": 1 - contribution[layer] if known and contribution else math.nan,
        }
        if probes:
            similarities = tuple(float(probe["similarity"][place]) for probe in probes)
            interval = _over_seeds(similarities, Interval(similarities[0], math.nan, math.nan))
            row |= _named("similarity", replace(interval, high=min(interval.high, 1.0)))  # a cosine is at most 1
            row |= _named("tuned", _score(probes, "tuned", place)) | {"similarities": similarities}
            row |= _named("pretrained", _score(probes, "pretrained", place))
            row["tuned_scores"] = tuple(float(probe["tuned"][place]["value"]) for probe in probes)
            row |= {"metric": probes[0]["metric"], "source": ", ".join(sorted({probe["source"] for probe in probes}))}
        rows.append(row | {"seeds": len(probes)})
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def whole_model(probes: Sequence[Row]) -> Interval:
    """The score of the fine-tuned model itself over the seeds of at least one measurement."""
    values = [float(probe["score"]["value"]) for probe in probes]
    return _over_seeds(values, _interval(probes[0]["score"]))


def answer_sentence(table: pd.DataFrame) -> str:
    """Which layers change most, and from which on a classifier does as well as on the last; from `by_layer`.

    Nothing is said of a layer whose place the seeds do not agree on.
    """
    layers: Sequence[Row] = table.to_dict("records")
    changes = [row for row in layers if not math.isnan(row["change"])]
    parts = []
    if len(changes) > 1:
        most, least = (choose(changes, key=lambda row: row["change"])["layer"] for choose in (max, min))
        parts.append(f"layer {most} changes the sentence token most, layer {least} least")
    if not layers[-1]["seeds"]:
        parts.append("what fine-tuning does to the layers has not been measured with this recipe yet")
    else:
        if moved := _most_moved(layers):
            parts.append(moved)
        parts.append(_classifiers(layers))
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _most_moved(layers: Sequence[Row]) -> str:
    seeds = range(layers[-1]["seeds"])
    most = {min(layers, key=lambda row: row["similarities"][seed])["layer"] for seed in seeds}
    if len(most) > 1:
        return ""
    name = "the embeddings" if EMBEDDINGS in most else f"layer {most.pop()}"
    return f"fine-tuning changes the output of {name} most"


def _classifiers(layers: Sequence[Row]) -> str:
    """Layers are compared seed by seed, since those of one fine-tuned model share their fate."""
    embeddings, *between, last = layers
    unit = metric_of(last["metric"]).unit
    if last["seeds"] == 1:
        return f"a classifier on the last layer scores {_plus_minus(last)}{unit} (1 seed, so layers are not compared)"
    seeds = f"{last['seeds']} seeds"
    if not _clearly_below(embeddings, last):
        return f"a classifier on the last layer ({_plus_minus(last)}{unit}, {seeds}) is not clearly above guessing"
    lowest = last
    for row in reversed(between):
        if _clearly_below(row, last):
            break
        lowest = row
    if lowest is last:
        score = f"{_plus_minus(last)}{unit}, {seeds}"
        return f"a classifier on the last layer is clearly better than on the one below ({score})"
    return (
        f"from layer {lowest['layer']} up a classifier is not clearly worse than on the last "
        f"({_plus_minus(lowest)} against {_plus_minus(last)}{unit}, {seeds})"
    )


def _clearly_below(row: Row, other: Row) -> bool:
    differences = [a - b for a, b in zip(row["tuned_scores"], other["tuned_scores"], strict=True)]
    return seed_interval(differences).high < 0


def _plus_minus(row: Row) -> str:
    return f"{100 * row['tuned']:.1f} ± {50 * (row['tuned_high'] - row['tuned_low']):.1f}"


def _score(probes: Sequence[Row], which: str, place: int) -> Interval:
    values = [float(probe[which][place]["value"]) for probe in probes]
    return _over_seeds(values, _interval(probes[0][which][place]))


def _interval(score: Row) -> Interval:
    return Interval(score["value"], score["low"], score["high"])


def _over_seeds(values: Sequence[float], otherwise: Interval) -> Interval:
    return seed_interval(values) if len(set(values)) > 1 else otherwise


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
