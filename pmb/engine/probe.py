"""What the layers of a whole model hold: how far fine-tuning moves each, and what a linear classifier reads off it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from pmb import scoring
from pmb.catalog.tasks import Task
from pmb.engine import finetune, surgery
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.device import claim_device, device_name, machine_name, needed_bytes, noted, versions
from pmb.engine.forward import model_inputs
from pmb.spec import LayerProbe, Progress, Recipe, Report, Score

BATCH = 32
CHUNK = 500  # examples whose states are held at a time
SIMILARITY_EXAMPLES = 1000  # the first of dev
# On the squared weights, beside the loss summed over the train examples. Of 1e-4, 1e-3, 1e-2, 1e-1 and 1 its inverse
# 1e-2 is best or near it at every layer of MiniLM on four tasks, cross-validated on train.
PENALTY = 100.0
ROUNDING = 1e-5  # a feature that varies by a smaller share of the largest value is constant

Classify = Callable[[NDArray[np.float32]], list[int | float]]
Told = Callable[[int], None]  # takes how many examples are read


def probe_layers(
    folder: Path,
    task: Task,
    train: Encoded,
    dev: Encoded,
    recipe: Recipe,
    seed: int,
    report: Report,
) -> LayerProbe:
    """Fine-tune the whole model as a run does, and look at its layers before and after; raises PmbError.

    Sajjad et al. (2020) draw both: the cosine similarity of the sentence token in the pre-trained and in the
    fine-tuned model, and a classifier on the sentence token of each layer of the fine-tuned one.
    """
    torch.manual_seed(seed)
    model = surgery.load_classifier(folder, task.labels)
    device, instead_of_gpu = claim_device(needed_bytes(model, recipe))
    report = noted(report, instead_of_gpu)
    model = surgery.on_device(model, device)

    def reading(when: str) -> Told:
        return lambda done: report(Progress(f"reading the layers {when} training", done, len(train) + len(dev)))

    pretrained, before = read_layers(model, task.metric, train, dev, device, reading("before"))
    finetune.fine_tune(model, train, recipe, seed, device, report)
    tuned, after = read_layers(model, task.metric, train, dev, device, reading("after"))
    report(Progress("evaluating"))
    return LayerProbe(
        metric=task.metric,
        score=scoring.score(task.metric, dev.labels, finetune.predict(model, dev, device)),
        similarity=tuple(functional.cosine_similarity(before, after, dim=-1).double().mean(1).tolist()),
        tuned=tuned,
        pretrained=pretrained,
        num_train=len(train),
        num_dev=len(dev),
        device=device_name(device),
        machine=machine_name(device, instead_of_gpu),
        versions=versions(),
    )


def read_layers(
    model: PreTrainedModel,
    metric: str,
    train: Encoded,
    dev: Encoded,
    device: torch.device,
    tell: Told = lambda done: None,
) -> tuple[tuple[Score, ...], Tensor]:
    """What a linear classifier on each layer's sentence token scores on dev, the embeddings first.

    And those tokens for the first dev examples: (layers + 1, at most SIMILARITY_EXAMPLES, width).
    """
    model.eval()
    parts = []
    for rows in _chunks(len(train)):
        tell(rows.start)
        parts.append(sentence_tokens(model, train, rows, device))
    classifiers = [fit_linear(layer.numpy(), train.labels) for layer in torch.cat(parts, dim=1)]
    predictions: list[list[int | float]] = [[] for _ in classifiers]
    kept = []
    for rows in _chunks(len(dev)):
        tell(len(train) + rows.start)
        states = sentence_tokens(model, dev, rows, device)
        for classify, found, layer in zip(classifiers, predictions, states, strict=True):
            found += classify(layer.numpy())
        if rows.start < SIMILARITY_EXAMPLES:
            kept.append(states)
    return tuple(scoring.score(metric, dev.labels, found) for found in predictions), torch.cat(kept, dim=1)


@torch.inference_mode()
def sentence_tokens(model: PreTrainedModel, data: Encoded, rows: Sequence[int], device: torch.device) -> Tensor:
    """The sentence token behind the embeddings and behind each layer: (layers + 1, rows, width), float32, on the CPU.

    The first token, or of a model that wants padding on the left (XLNet) the last.
    """
    encoder: Any = model.base_model
    shortest_first = sorted(range(len(rows)), key=lambda i: len(data.token_ids[rows[i]]))
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(rows), BATCH):
        places = shortest_first[start : start + BATCH]
        batch = batch_of(data, [rows[i] for i in places], device)
        states = encoder(**model_inputs(encoder, batch), output_hidden_states=True).hidden_states
        tokens = torch.stack([state[:, -1 if data.pad_left else 0].float() for state in states], dim=1).cpu()
        for place, token in zip(places, tokens, strict=True):
            found[place] = token
    return torch.stack(found, dim=1)


def fit_linear(states: NDArray[np.float32], labels: Sequence[int | float]) -> Classify:
    """A linear classifier on standardised features, (examples, features); of labels that are numbers a regression."""
    estimator, centre, spread = fit_standardised(states, labels)
    return lambda others: estimator.predict((others - centre) / spread).tolist()


def fit_standardised(
    states: NDArray[np.float32], labels: Sequence[int | float]
) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """What `fit_linear` fits, an estimator of scikit-learn, and the centre and spread of its features."""
    centre, spread = states.mean(0, dtype=np.float64), states.std(0, dtype=np.float64)
    spread[spread < ROUNDING * np.abs(states).max()] = 1.0
    truth = np.asarray(labels)
    estimator: Any = LogisticRegression(C=1 / PENALTY, max_iter=1000)
    if np.issubdtype(truth.dtype, np.floating):
        estimator = Ridge(alpha=PENALTY)
    elif len(np.unique(truth)) == 1:
        estimator = DummyClassifier()
    return estimator.fit((states - centre) / spread, truth), centre, spread


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
