"""A small classifier on each layer of a fine-tuned model: how its decision forms on the way up.

Linear, on the sentence token, fitted to the sentences that the model itself was fine-tuned on. Kept beside the model's
weights as safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from scipy.special import softmax
from transformers import PreTrainedModel

from pmb.engine.batches import Encoded
from pmb.engine.probe import fit_standardised, sentence_tokens
from pmb.files import write_whole

FILE = "layer_readers.safetensors"
CHUNK = 500  # examples whose states are held at a time
NEVER = -1e4  # the score of a class that no train example has

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Reader:
    """A linear map of a layer's sentence token: to the scores of the classes, or to the number itself."""

    weight: Numbers  # (classes, width); of a regression (1, width)
    bias: Numbers  # (classes,)

    def read(self, states: Numbers) -> Numbers:
        """Probabilities of the classes, or the number: (examples, classes), of (examples, width)."""
        scores: Numbers = states @ self.weight.T + self.bias
        return scores if len(self.bias) == 1 else softmax(scores, axis=1)


def fit_readers(
    model: PreTrainedModel,
    train: Encoded,
    num_classes: int,
    device: torch.device,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Reader]:
    """One for each layer, the lowest first; tells how many examples are read. `num_classes` 0: labels are numbers."""
    parts = []
    for start in range(0, len(train), CHUNK):
        tell(start)
        parts.append(sentence_tokens(model, train, range(start, min(start + CHUNK, len(train))), device)[1:])
    labels = train.labels if num_classes else [float(label) for label in train.labels]
    return [fit_reader(layer.numpy(), labels, num_classes) for layer in torch.cat(parts, dim=1)]


def fit_reader(states: Numbers, labels: Sequence[int | float], num_classes: int) -> Reader:
    """The classifier of `probe.fit_linear` as one linear map of the states, (examples, width), as they are."""
    estimator, centre, spread = fit_standardised(states, labels)
    weight, bias = np.zeros((num_classes or 1, states.shape[1])), np.zeros(num_classes or 1)
    if not num_classes:
        weight[0], bias[0] = estimator.coef_, estimator.intercept_
    else:
        present: list[int] = [int(label) for label in estimator.classes_]
        bias[:] = NEVER
        bias[present] = 0.0
        if len(present) == 2:  # one score, of the second class beside a first of 0
            weight[present[1]], bias[present[1]] = estimator.coef_[0], estimator.intercept_[0]
        elif len(present) > 2:
            weight[present], bias[present] = estimator.coef_, estimator.intercept_
    weight /= spread
    return Reader(weight.astype(np.float32), (bias - weight @ centre).astype(np.float32))


def write_readers(readers: Sequence[Reader], folder: Path) -> None:
    """Keep them in the folder, whole or not at all; raises OSError."""
    tensors: dict[str, Any] = {}
    for layer, reader in enumerate(readers):
        tensors |= {f"{layer}.weight": reader.weight, f"{layer}.bias": reader.bias}
    write_whole(folder / FILE, save(tensors))


def open_readers(folder: Path) -> list[Reader]:
    """Those that are kept in the folder; raises OSError, SafetensorError."""
    tensors = load_file(folder / FILE)
    return [Reader(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(len(tensors) // 2)]
