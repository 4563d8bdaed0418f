"""Greedy by preview: the layer goes without which a classifier reads most off what is left, and so on, on train alone.

Backward elimination (Kohavi and John, 1997). Peer et al. (2022), "Greedy-layer Pruning", fine-tune to judge each cut;
here a linear classifier on the frozen features does, cross-validated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.model_selection import KFold
from transformers import PreTrainedModel

from pmb import scoring
from pmb.engine.batches import Encoded
from pmb.engine.preview import Cut, Features, OneByOne, walk
from pmb.engine.probe import fit_linear
from pmb.errors import BadInput
from pmb.strategies import misplaced

FOLDS = 5


def going_order(
    model: PreTrainedModel, metric: str, train: Encoded, device: torch.device, tell: Callable[[int, int], None]
) -> tuple[int, ...]:
    """For each layer when it goes, 1 first; of equals the higher layer goes, and the depth stands for what stays.

    A layer that may not go, since no other can take its place, stays. `tell` takes how many cuts are scored, and of how
    many. Takes the model, which has a head, apart; raises BadInput where its layers cannot be computed one by one, or
    there are too few examples.
    """
    if len(train) < 2:
        raise BadInput(f"Greedy choice needs at least 2 train examples; the task has {len(train)}.")
    # Its steps are often near ties: in float32 they seldom go another way on another machine.
    layers = OneByOne(model, train, device, torch.float32)
    depth, kinds = layers.stack.depth, layers.stack.kinds
    if layers.stack.shared:  # the same weights: every cut of a depth is one
        return tuple(range(depth, 0, -1))
    order, kept = [depth] * depth, tuple(range(depth))
    features: dict[Cut, Features] = {}
    done, total = 0, depth * (depth + 1) // 2 - 1
    for step in range(1, depth):
        without = {layer: tuple(other for other in kept if other != layer) for layer in kept}
        possible = {layer: cut for layer, cut in without.items() if not misplaced(kinds, cut)}
        if not possible:
            break
        # Most of them begin as a cut of the step before does, or are the beginning of one.
        prefixes = {cut[:length] for cut in possible.values() for length in range(1, len(cut) + 1)}
        for cut, found in walk(layers, sorted(prefixes - features.keys())):
            features[cut] = found
            tell(done + len(features.keys() & possible.values()), total)
        scores = {layer: cross_validated(metric, features[cut], train.labels) for layer, cut in possible.items()}
        done += len(kept)
        goes = max(possible, key=lambda layer: (scores[layer], layer))
        order[goes], kept = step, possible[goes]
    return tuple(order)


def cross_validated(metric: str, features: Features, labels: tuple[int | float, ...]) -> float:
    """What a linear classifier scores on examples that it was not fitted on, each left out once with a fold."""
    truth = np.asarray(labels)
    guesses = np.empty(len(truth))
    folds = KFold(min(FOLDS, len(truth)), shuffle=True, random_state=0)
    for seen, left_out in folds.split(features):
        guesses[left_out] = fit_linear(features[seen], truth[seen].tolist())(features[left_out])
    return scoring.METRICS[metric](truth.astype(np.float64), guesses)
