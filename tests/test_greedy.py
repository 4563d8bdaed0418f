"""Greedy choice by preview: as if every cut were made and read, on train alone; and the variance of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pmb.catalog.models import MODELS
from pmb.engine import batches, data, similarity, surgery
from pmb.engine import run as engine
from pmb.engine.batches import batch_of
from pmb.engine.examples import TaskData
from pmb.engine.forward import model_inputs
from pmb.engine.greedy import cross_validated, going_order
from pmb.engine.surgery import cut, find_stack
from pmb.errors import BadInput
from pmb.insight.published import variance_order
from pmb.strategies import kept_layers, misplaced
from tests.architectures import ARCHITECTURES, DEPTH, Architecture
from tests.test_probe import CPU, TASK, one_thread, sentences

__all__ = ["one_thread"]  # for every test here


def named(name: str) -> Architecture:
    return next(a for a in ARCHITECTURES if a.name == name)


@torch.inference_mode()
def really_cut(architecture: Architecture, kept: tuple[int, ...], examples: Any) -> Any:
    """The sentence token of every example in a model that is cut."""
    encoder: Any = cut(architecture.build(), kept).base_model.eval()
    batch = batch_of(examples, range(len(examples)), CPU)
    states = encoder(**model_inputs(encoder, batch)).last_hidden_state
    return states[:, -1 if examples.pad_left else 0].numpy()


@pytest.mark.parametrize("name", ["bert", "xlnet", "modernbert"])
def test_it_is_what_cutting_and_reading_every_cut_would_choose(name: str) -> None:
    architecture, told = named(name), []
    examples = sentences(architecture, 60)
    labels = tuple(i * i % 7 % 2 for i in range(60))  # what no layer holds, so that scores differ
    examples = type(examples)(examples.token_ids, labels, examples.pad_token_id, pad_left=examples.pad_left)
    order = going_order(architecture.build(), "accuracy", examples, CPU, lambda *done: told.append(done))
    kinds, kept = find_stack(architecture.build()).kinds, tuple(range(DEPTH))
    for drop_count in range(1, DEPTH):
        cuts = [tuple(other for other in kept if other != layer) for layer in reversed(kept)]
        cuts = [one for one in cuts if not misplaced(kinds, one)]
        if not cuts:
            break
        scores = [cross_validated("accuracy", really_cut(architecture, one, examples), labels) for one in cuts]
        kept = cuts[int(np.argmax(scores))]
        assert kept_layers("greedy", DEPTH, drop_count, order) == kept
    assert order[kept[0]] == DEPTH
    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1] == DEPTH * (DEPTH + 1) // 2 - 1


def test_layers_of_the_same_weights_go_from_the_top() -> None:
    albert = named("albert")
    assert going_order(albert.build(), "accuracy", sentences(albert, 4), CPU, lambda *_: None) == (4, 3, 2, 1)


def test_the_engine_looks_at_train_alone_and_says_where_that_is_too_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bert = named("bert")
    examples = sentences(bert, 30)
    monkeypatch.setattr(engine, "model_folder", lambda *_: tmp_path)
    monkeypatch.setattr(surgery, "load_classifier", lambda *_: bert.build())
    monkeypatch.setattr(surgery, "load_tokenizer", lambda *_: None)
    monkeypatch.setattr(data, "load_task", lambda *_: TaskData(train=list(range(30)), dev=None))  # type: ignore[arg-type]
    seen: list[Any] = []

    def encode(tokenizer: Any, found: Any, length: int) -> Any:
        seen.append(found)
        return examples if len(found) > 1 else sentences(bert, 1)

    monkeypatch.setattr(batches, "encode", encode)
    assert sorted(engine.measure_greedy(MODELS["minilm-l6"], TASK, 20, tmp_path, lambda _: None)["greedy"])[-1] == DEPTH
    assert seen == [list(range(20))]
    with pytest.raises(BadInput, match="at least 2 train examples; the task has 1"):
        engine.measure_greedy(MODELS["minilm-l6"], TASK, 1, tmp_path, lambda _: None)


def test_the_variance_is_that_of_all_numbers_in_a_layers_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = named("bert").build().base_model
    monkeypatch.setattr(similarity, "load_encoder", lambda folder: model)
    layer = model.encoder.layer[2]
    weights = [getattr(layer.attention.self, name).weight for name in ("query", "key", "value")]
    weights += [layer.attention.output.dense.weight, layer.intermediate.dense.weight, layer.output.dense.weight]
    numbers = np.concatenate([weight.detach().numpy().ravel() for weight in weights]).astype(float)
    found = similarity.weight_variance(Path())
    assert found[2] == pytest.approx(numbers.var(), rel=1e-5)
    assert len(found) == DEPTH


def test_the_printed_orders_are_told_for_their_models_alone() -> None:
    assert "for RoBERTa the order 10 11 5 6 4 9" in variance_order("roberta-base")
    assert variance_order("minilm-l6") == ""
