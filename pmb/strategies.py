"""Which layers to drop: the six rules of Sajjad et al. (2020), section 2, and others, as pure functions.

Block influence: Men et al. (2024), "ShortGPT". Angular: Gromov et al. (2024), "The Unreasonable Ineffectiveness of the
Deeper Layers", with the sentence token in the place of the last one. Variance of a layer's weights: Sajjad et al.
(2023), section 5.1. Greedy: backward elimination (Kohavi and John, 1997) by what a classifier reads off each cut
before training; Peer et al. (2022), "Greedy-layer Pruning", fine-tune for it. Random draws are the control that Li
and Talwalkar (2019) ask of every search: what a rule is worth is what it does better. Layers are numbered from 0, as
in the model's code; the paper numbers them from 1.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pmb.errors import BadInput, unknown_name

STRATEGIES: Final = ("top", "even-alternate", "odd-alternate", "contribution", "symmetric", "bottom")  # the paper's
MORE_STRATEGIES: Final = ("block-influence", "angular", "variance", "greedy")
EVERY_STRATEGY: Final = (*STRATEGIES, *MORE_STRATEGIES)
RANDOM, CUSTOM = "random", "custom"  # no rules: draws, of which the first is shown, and layers of one's own
CHOICES: Final = (*EVERY_STRATEGY, RANDOM, CUSTOM)  # what can be looked at cut by cut
SCORED: Final = ("contribution", *MORE_STRATEGIES)  # which need something measured on the layers
LEAST_FIRST: Final = ("variance", "greedy")  # of those: the layer with the smallest number goes first

RANDOM_DRAW: Final = re.compile(r"random-(\d{1,4})")  # draw N of the layers' order, the same everywhere
DRAWS: Final = tuple(f"random-{draw}" for draw in range(10))  # which speak for random choice

Scores = Sequence[Any]  # numbers, one a layer; of angular a list for each size of a block, one number a place


def check_strategy(strategy: str) -> None:
    """Raise BadInput unless the strategy is one of EVERY_STRATEGY or a draw such as random-0."""
    if strategy not in EVERY_STRATEGY and not RANDOM_DRAW.fullmatch(strategy):
        raise unknown_name("strategy", strategy, (*EVERY_STRATEGY, "random-0"))


def drop_counts(strategy: str, num_hidden_layers: int) -> tuple[int, ...]:
    """Every K that the strategy can drop from a model of `num_hidden_layers`, smallest first.

    The alternates reach half the layers; symmetric keeps as many layers at the bottom as at the top, so that
    K has the parity of the depth (but for K=0); the others leave at least one layer.
    """
    check_strategy(strategy)
    if num_hidden_layers < 1:
        raise BadInput(f"A model of {num_hidden_layers} layers cannot be cut; it needs at least 1.")
    if strategy in ("even-alternate", "odd-alternate"):
        return tuple(range(num_hidden_layers // 2 + 1))
    if strategy == "symmetric":
        return (0, *(k for k in range(1, num_hidden_layers - 1) if (num_hidden_layers - k) % 2 == 0))
    return tuple(range(num_hidden_layers))


def check_drop_count(strategy: str, num_hidden_layers: int, drop_count: int) -> None:
    """Raise BadInput, with what is allowed and why, unless the strategy can drop that many layers."""
    allowed = drop_counts(strategy, num_hidden_layers)
    if drop_count in allowed:
        return
    if strategy == "symmetric":
        choices = ", ".join(map(str, allowed))
        why = f"one of {choices}, since it keeps equal ends of {num_hidden_layers} layers"
    else:
        why = f"from 0 to {allowed[-1]}"
    raise BadInput(f"Drop count {drop_count} is not possible with {strategy!r} on {num_hidden_layers} layers: {why}.")


def kept_layers(
    strategy: str, num_hidden_layers: int, drop_count: int, scores: Scores | None = None
) -> tuple[int, ...]:
    """The layers that stay when the strategy drops `drop_count` of `num_hidden_layers`, ascending.

    `scores` is needed by those of SCORED. Of "contribution": per layer the mean cosine similarity of the sentence token
    before and after it; of "block-influence" that of every token; the most similar layers go first, of equals the
    higher one. Of "angular", for blocks of 1 to L - 1 layers, the angular distance of the sentence token before and
    after each block, the lowest block first; the block with the smallest goes, of equals the highest. Of "variance":
    per layer the variance of its weights, and of "greedy" when it goes, 1 first; the smallest go. Raises BadInput.
    """
    check_drop_count(strategy, num_hidden_layers, drop_count)
    dropped = set(_dropping_order(strategy, num_hidden_layers, drop_count, scores)[:drop_count])
    return tuple(i for i in range(num_hidden_layers) if i not in dropped)


def kept_above_threshold(scores: Sequence[float], threshold: float) -> tuple[int, ...]:
    """The paper's own form of contribution: drop every layer whose similarity is above the threshold.

    Raises BadInput where no layer would stay or the threshold is no cosine.
    """
    if not -1.0 <= threshold <= 1.0:
        raise BadInput(f"Threshold {threshold} is no cosine similarity: from -1 to 1.")
    kept = tuple(i for i, score in enumerate(scores) if score <= threshold)
    if not kept:
        raise BadInput(f"At threshold {threshold} no layer would stay: the least similar has {min(scores):.3f}.")
    return kept


def check_kept_layers(kept: Sequence[int], num_hidden_layers: int) -> tuple[int, ...]:
    """Return the kept layers as a tuple; raises BadInput unless they are ascending, distinct and within the model."""
    listed = ",".join(map(str, kept))
    if not kept:
        raise BadInput("No layer is kept; at least 1 must stay.")
    if outside := [i for i in kept if not 0 <= i < num_hidden_layers]:
        raise BadInput(f"Kept layer {outside[0]} is outside the model: layers are 0 to {num_hidden_layers - 1}.")
    if doubled := sorted({i for i in kept if list(kept).count(i) > 1}):
        raise BadInput(f"Kept layer {doubled[0]} is named twice in {listed!r}; name each layer once.")
    if list(kept) != sorted(kept):
        raise BadInput(f"Kept layers {listed!r} are not in ascending order: {','.join(map(str, sorted(kept)))!r} is.")
    return tuple(kept)


def misplaced(kinds: Sequence[int], kept: Sequence[int]) -> tuple[int, int] | None:
    """The first kept layer whose kind is not that of the place where the cut would put it, and the place."""
    return next(((layer, place) for place, layer in enumerate(kept) if kinds[layer] != kinds[place]), None)


def strategies_of(
    kept: Sequence[int],
    num_hidden_layers: int,
    scores: Scores | None = None,
    more: Mapping[str, Scores] | None = None,
) -> tuple[str, ...]:
    """The strategies that lead to these kept layers, as far as is known; empty for a choice of one's own.

    `scores`: of contribution; `more`: of MORE_STRATEGIES.
    """
    known = {"contribution": scores, **(more or {})}
    drop_count = num_hidden_layers - len(kept)
    return tuple(
        s
        for s in EVERY_STRATEGY
        if drop_count in drop_counts(s, num_hidden_layers)
        and (s not in SCORED or known.get(s) is not None)
        and kept_layers(s, num_hidden_layers, drop_count, known.get(s)) == tuple(kept)
    )


def _dropping_order(strategy: str, depth: int, drop_count: int, scores: Scores | None) -> list[int]:
    """Layers in the order in which they go (symmetric and angular have none of their own: their K layers)."""
    if strategy == "top":
        return list(range(depth - 1, -1, -1))
    if strategy == "bottom":
        return list(range(depth))
    if strategy == "even-alternate":
        return list(range(depth - 1, -1, -2))
    if strategy == "odd-alternate":
        return list(range(depth - 2, -1, -2))
    if strategy == "symmetric":
        end = (depth - drop_count) // 2
        return list(range(end, end + drop_count))
    if draw := RANDOM_DRAW.fullmatch(strategy):
        return random.Random(f"{depth} layers, draw {int(draw[1])}").sample(range(depth), depth)
    if strategy == "angular":
        if scores is None or [len(distances) for distances in scores] != list(range(depth, 1, -1)):
            raise BadInput(f"Strategy 'angular' needs the distance over each block of the {depth} layers.")
        distances = scores[drop_count - 1] if drop_count else [0.0]
        start = min(range(len(distances)), key=lambda i: (distances[i], -i))
        return list(range(start, start + drop_count))
    if scores is None or len(scores) != depth:
        raise BadInput(f"Strategy {strategy!r} needs one score for each of the {depth} layers.")
    sign = 1 if strategy in LEAST_FIRST else -1
    return sorted(range(depth), key=lambda i: (sign * scores[i], -i))
