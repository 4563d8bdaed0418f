"""What every cut holds before fine-tuning: the same as in the model that is really cut, of every architecture."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pmb.catalog.models import MODELS
from pmb.engine import batches, data, preview, surgery
from pmb.engine import run as engine
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.engine.forward import model_inputs
from pmb.engine.preview import Cut, OneByOne, score_cuts, walk
from pmb.engine.surgery import cut, find_stack
from pmb.errors import BadInput
from pmb.strategies import misplaced
from tests.architectures import ARCHITECTURES, DEPTH, Architecture
from tests.test_probe import CPU, TASK, one_thread, sentences

__all__ = ["one_thread"]  # for every test here
EVERY_CUT: list[Cut] = [kept for depth in range(1, DEPTH + 1) for kept in combinations(range(DEPTH), depth)]


def possible(architecture: Architecture) -> list[Cut]:
    stack = find_stack(architecture.build())
    if stack.shared:
        return [tuple(range(depth)) for depth in range(1, DEPTH + 1)]
    return [kept for kept in EVERY_CUT if not misplaced(stack.kinds, kept)]


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_the_tree_gives_the_sentence_token_of_every_cut_model(architecture: Architecture) -> None:
    data, cuts = sentences(architecture, 8), possible(architecture)
    found = dict(walk(OneByOne(architecture.build(), data, CPU, torch.float32), cuts[::-1]))
    assert sorted(found) == sorted(cuts)
    batch = batch_of(data, range(8), CPU)
    where = -1 if data.pad_left else 0
    for kept, tokens in found.items():
        encoder: Any = cut(architecture.build(), kept).base_model
        expected = encoder(**model_inputs(encoder, batch)).last_hidden_state[:, where]
        assert np.allclose(tokens, expected.numpy(), atol=1e-4), kept


class Counted(torch.nn.Module):
    """Counts how often a layer is passed."""

    def __init__(self, layer: torch.nn.Module, passed: list[int], index: int) -> None:
        super().__init__()
        self.layer, self.passed, self.index = layer, passed, index

    def forward(self, *states: Any, **more: Any) -> Any:
        self.passed.append(self.index)
        return self.layer(*states, **more)


def distilbert() -> tuple[Architecture, list[int], Any]:
    """A model whose layers count their passes; wrapped in a counter they are of no layout that has a quicker way."""
    architecture = next(a for a in ARCHITECTURES if a.name == "distilbert")
    model = architecture.build()
    passed: list[int] = []
    layers = find_stack(model).layers
    for index, layer in enumerate(list(layers)):
        layers[index] = Counted(layer, passed, index)
    return architecture, passed, model


def test_every_distinct_prefix_is_computed_once_and_the_first_cuts_come_first() -> None:
    architecture, passed, model = distilbert()
    first = [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    cuts = [*first, *sorted(set(EVERY_CUT) - set(first))]
    found = walk(OneByOne(model, sentences(architecture, 8), CPU, torch.float32), cuts)
    order = [next(found)[0]]
    passed.clear()
    order += [kept for kept, _ in found]
    assert order == cuts
    assert len(passed) == len(EVERY_CUT) - 1  # every cut is a prefix here


def test_states_that_are_let_go_are_computed_again_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture, passed, model = distilbert()
    data = sentences(architecture, 8)
    expected = dict(walk(OneByOne(model, data, CPU, torch.float32), EVERY_CUT))
    _, passed, model = distilbert()
    monkeypatch.setattr(preview, "HELD_BYTES", 0)
    found = dict(walk(OneByOne(model, data, CPU, torch.float32), EVERY_CUT))
    assert len(passed) > len(EVERY_CUT) + 2 * DEPTH
    assert all(np.array_equal(found[kept], expected[kept]) for kept in EVERY_CUT)


def test_a_model_whose_layers_need_more_than_the_states_before_is_refused() -> None:
    bert = ARCHITECTURES[0]
    model: Any = bert.build()

    def by_depth(module: Any, given: Any, output: Any) -> Any:
        return type(output)(last_hidden_state=output.last_hidden_state + module.config.num_hidden_layers)

    model.base_model.encoder.register_forward_hook(by_depth)
    with pytest.raises(BadInput, match="cannot be previewed: its layers need more"):
        OneByOne(model, sentences(bert, 8), CPU, torch.float32)


def test_a_cut_is_scored_by_the_task_on_the_dev_part_alone() -> None:
    bert = ARCHITECTURES[0]
    data = sentences(bert, 120)
    found = dict(score_cuts(bert.build(), "accuracy", data, 80, [(0,), (0, 2)], CPU))
    assert set(found) == {(0,), (0, 2)}
    assert all(score > 0.7 for score in found.values())  # of two words one tells the label
    wrong = replace(data, labels=(*data.labels[:80], *(1 - label for label in data.labels[80:])))
    assert dict(score_cuts(bert.build(), "accuracy", wrong, 80, [(0,)], CPU))[0,] == pytest.approx(1 - found[0,])


def test_the_engine_reads_the_dev_part_in_the_order_of_hashes_and_leaves_out_what_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bert = ARCHITECTURES[0]
    train = [Example((f"word {i}",), i % 2) for i in range(50)]
    dev = [Example((f"other {i}",), int(i > 15)) for i in range(30)]  # sorted, as a file may be
    taken: list[Example] = []

    def encoded(tokenizer: Any, examples: list[Example], length: int) -> Encoded:
        taken.extend(examples)
        return sentences(bert, len(examples))

    monkeypatch.setattr(engine, "model_folder", lambda *_: tmp_path)
    monkeypatch.setattr(data, "load_task", lambda *_: TaskData(tuple(train), tuple(dev)))
    monkeypatch.setattr(surgery, "load_tokenizer", lambda _: None)
    monkeypatch.setattr(surgery, "load_classifier", lambda *_: bert.build())
    monkeypatch.setattr(batches, "encode", encoded)
    model = replace(MODELS["minilm-l6"], num_hidden_layers=DEPTH)
    told: list[Cut] = []
    engine.preview_cuts(
        model,
        TASK,
        ["bottom", "top"],
        [(0, 3)],
        None,
        {(2, 3), (0, 1)},
        40,
        20,
        tmp_path,
        lambda progress: None,
        lambda kept, score, device: told.append(kept),
    )
    assert told == [(0,), (0, 1, 2), (0, 1, 2, 3), (1, 2, 3), (3,), (0, 3)]  # what lies on the way comes with it
    assert taken == [*train[:40], *in_hash_order(dev)[:20]]
    assert {example.label for example in taken[40:]} == {0, 1}
