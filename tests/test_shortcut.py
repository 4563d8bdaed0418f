"""A shortcut that fails is not taken: encoders that only look like BERT take transformers' own forward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pmb.engine import finetune, forward
from pmb.engine.batches import Batch, Encoded, batch_of
from pmb.engine.device import product_type
from pmb.engine.forward import evaluated, fast_forward, plain_forward
from pmb.engine.preview import OneByOne, walk
from pmb.engine.shortcut import attempt
from pmb.engine.surgery import check_tokens
from tests.architectures import DEPTH, LOOKALIKES, Architecture
from tests.conftest import TINY
from tests.test_surgery import small_bert

CPU = torch.device("cpu")
RECIPE = replace(TINY, epochs=2, batch_size=8, dropout=0.1)


def sentences(pad_token_id: int) -> Encoded:
    """16 sentences of 3 to 8 tokens."""
    rows = tuple((2, *(10 + (7 * i + 5 * j) % 80 for j in range(2 + i % 6))) for i in range(16))
    return Encoded(rows, tuple(i % 2 for i in range(16)), pad_token_id)


@pytest.mark.parametrize("architecture", LOOKALIKES, ids=lambda a: a.name)
def test_what_only_looks_like_bert_is_trained_and_predicts_by_the_plain_way(architecture: Architecture) -> None:
    model, data = architecture.build(), sentences(architecture.settings["pad_token_id"])
    check_tokens(model, [data], Path("folder"))
    training = finetune.fine_tune(model, data, RECIPE, 0, CPU, lambda _: None)
    assert not training.fast
    assert len(training.losses) == RECIPE.epochs
    predicted = finetune.predict(model, data, CPU)
    logits = evaluated(model, plain_forward(model), batch_of(data, range(len(data)), CPU))
    sure = (logits[:, 0] - logits[:, 1]).abs() > 0.05  # products may be in bfloat16
    assert sure.any()
    for prediction, row, is_sure in zip(predicted, logits.argmax(-1).tolist(), sure.tolist(), strict=True):
        assert prediction == row or not is_sure


@pytest.mark.parametrize("architecture", LOOKALIKES, ids=lambda a: a.name)
def test_what_only_looks_like_bert_is_previewed_by_the_plain_way(architecture: Architecture) -> None:
    model, data = architecture.build(), sentences(architecture.settings["pad_token_id"])
    layers = OneByOne(model, data, CPU, product_type(CPU))
    assert layers.embeddings() is None  # so not by the quick layer
    cuts = [tuple(range(depth)) for depth in range(1, DEPTH + 1)]
    assert [cut for cut, _ in walk(layers, cuts)] == cuts


def test_any_exception_of_a_shortcut_means_the_plain_way(capsys: pytest.CaptureFixture[str]) -> None:
    def shortcut() -> int:
        raise KeyError("no such module")

    assert attempt("The shortcut", shortcut) is None
    assert capsys.readouterr().err == "The shortcut is not taken: KeyError: 'no such module'\n"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_in_a_shortcut_is_told(error: Exception) -> None:
    def shortcut() -> int:
        raise error

    with pytest.raises(type(error)):
        attempt("The shortcut", shortcut)


def test_a_quick_forward_pass_that_raises_is_left_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(parts: object, hidden: Tensor, bias: object) -> Tensor:
        raise ZeroDivisionError

    monkeypatch.setattr(forward, "first_token", broken)
    monkeypatch.setattr("pmb.engine.preview.first_token", broken)
    model, data = small_bert(num_labels=2), sentences(0)
    assert fast_forward(model) is not None  # it is of a known layout, and its trial fails
    assert not finetune.fine_tune(model, data, RECIPE, 0, CPU, lambda _: None).fast
    assert len(finetune.predict(model, data, CPU)) == len(data)
    assert OneByOne(model, data, CPU, torch.float32).embeddings() is None


def test_a_vocabulary_that_cannot_be_compacted_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = small_bert(num_labels=2), sentences(0)
    whole = model.get_input_embeddings()
    largest_tokens: list[int] = []

    def fails_on_small_tables(*given: Any) -> forward.Forward:
        plain = plain_forward(*given)

        def run(batch: Batch) -> Tensor:
            if model.get_input_embeddings() is not whole:
                raise IndexError("token outside the table")
            largest_tokens.append(int(batch.input_ids.max()))
            return plain(batch)

        return run

    monkeypatch.setattr("pmb.engine.finetune.plain_forward", fails_on_small_tables)
    training = finetune.fine_tune(model, data, RECIPE, 0, CPU, lambda _: None)
    assert training.fast  # the other shortcut
    assert model.get_input_embeddings() is whole
    assert largest_tokens == [max(max(row) for row in data.token_ids[:4])]
