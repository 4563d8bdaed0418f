"""Cutting: the same as skipping by hand, and opened again with plain transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from pmb.engine.surgery import cut, layer_stack, num_parameters
from pmb.errors import BadInput
from pmb.strategies import drop_counts, kept_layers

DEPTH = 6
SCORES = [0.3, 0.9, 0.5, 0.8, 0.1, 0.7]
CUTS = sorted(
    {
        kept_layers(s, DEPTH, k, SCORES)
        for s in ("top", "bottom", "symmetric", "even-alternate", "contribution")
        for k in drop_counts(s, DEPTH)
    }
)


def small_bert(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=99,
        hidden_size=16,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,  # type: ignore[call-arg]
    )
    return BertForSequenceClassification(config).eval()


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(4, 7, dtype=torch.long)
    mask[2, 4:] = 0
    return {"input_ids": torch.randint(0, 99, (4, 7)), "attention_mask": mask}


class Skipped(nn.Module):
    """A layer that hands its input on."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return hidden_states


@torch.inference_mode()
@pytest.mark.parametrize("kept", CUTS)
def test_a_cut_model_computes_what_the_whole_one_does_with_layers_skipped_by_hand(kept: tuple[int, ...]) -> None:
    by_hand = small_bert()
    stack = by_hand.bert.encoder.layer
    for index in set(range(DEPTH)) - set(kept):
        stack[index] = Skipped()
    model = cut(small_bert(), kept)
    assert torch.allclose(model(**inputs()).logits, by_hand(**inputs()).logits, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("kept", CUTS)
def test_a_cut_model_saved_and_opened_by_transformers_gives_the_same_logits(
    kept: tuple[int, ...], tmp_path: Path
) -> None:
    model = cut(small_bert(), kept)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.num_hidden_layers == len(kept)
    assert torch.equal(again(**inputs()).logits, model(**inputs()).logits)


def test_parameters_fall_by_what_the_dropped_layers_had() -> None:
    whole = small_bert()
    one_layer = num_parameters(whole.bert.encoder.layer[0])
    before = num_parameters(whole)
    assert num_parameters(cut(whole, (0, 5))) == before - 4 * one_layer


def test_a_model_without_one_list_of_layers_is_refused() -> None:
    with pytest.raises(BadInput, match="0 lists of 4 layers"):
        layer_stack(nn.Linear(2, 2), 4)


def test_layers_outside_the_model_are_refused() -> None:
    with pytest.raises(BadInput, match="layers are 0 to 5"):
        cut(small_bert(), (0, 9))
