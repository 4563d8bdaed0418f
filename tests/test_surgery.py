"""Cutting every architecture at every strategy's drop counts: nothing but the dropped layers is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    FunnelConfig,
    FunnelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    T5EncoderModel,
)

from pmb.engine.batches import Encoded, batch_of
from pmb.engine.dropout import set_dropout
from pmb.engine.forward import fast_forward, plain_forward, same_logits
from pmb.engine.surgery import cut, find_stack, num_parameters
from pmb.errors import BadInput
from pmb.strategies import STRATEGIES, drop_counts, kept_layers
from tests.architectures import ARCHITECTURES, DEPTH, Architecture

SCORES = [0.3, 0.9, 0.5, 0.8]
CUTS = sorted(
    {
        kept_layers(strategy, DEPTH, drop_count, SCORES)
        for strategy in STRATEGIES
        for drop_count in drop_counts(strategy, DEPTH)
        if drop_count in (0, 1, DEPTH // 2, DEPTH - 1)
    }
)
CASES = [
    pytest.param(architecture, kept, id=f"{architecture.name} {','.join(map(str, kept))}")
    for architecture in ARCHITECTURES
    for kept in CUTS
    if kept[0] == 0 or not architecture.first_layer_stays
]
each_cut = pytest.mark.parametrize(("architecture", "kept"), CASES)


def small_bert(seed: int = 0, depth: int = 6, num_labels: int = 3) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=99,
        hidden_size=16,
        num_hidden_layers=depth,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=num_labels,  # type: ignore[call-arg]
    )
    return BertForSequenceClassification(config).eval()


class Skipped(nn.Module):
    """A layer that gives back what it was given, in the form that its neighbours give."""

    def __init__(self, layer: nn.Module, tuples: bool) -> None:
        super().__init__()
        self.attention_type = getattr(layer, "attention_type", None)
        self.tuples = tuples

    def forward(self, hidden: torch.Tensor, *more: Any, **named: Any) -> Any:
        if not self.tuples:
            return hidden
        return (hidden, more[0] if more and isinstance(more[0], torch.Tensor) else None)


def batch(architecture: Architecture, labels: tuple[int, ...] = (0, 1, 1)) -> Any:
    """Sentences of 9, 6 and 4 tokens, the last two filled up on the architecture's side, with two token types."""
    rows = ((2, *range(10, 17), 3), (2, *range(20, 24), 3), (2, 30, 31, 3))
    types = tuple(tuple(int(i > 2) for i in range(len(row))) for row in rows)
    pad = architecture.settings["pad_token_id"]
    one_type = architecture.settings.get("type_vocab_size", 2) < 2 or architecture.name in ("roberta", "camembert")
    data = Encoded(rows, labels, pad, None if one_type else types, pad_left=architecture.name == "xlnet")
    return batch_of(data, range(3), torch.device("cpu"))


@torch.inference_mode()
@each_cut
def test_a_cut_model_computes_what_the_whole_one_does_with_layers_skipped_by_hand(
    architecture: Architecture, kept: tuple[int, ...]
) -> None:
    given = batch(architecture)
    by_hand = architecture.build()
    if architecture.shared:
        by_hand.config.num_hidden_layers = len(kept)
    else:
        stack = architecture.stack(by_hand)
        tuples = architecture.name in ("xlnet", "deberta-v2", "mpnet")
        for index in set(range(DEPTH)) - set(kept):
            stack[index] = Skipped(stack[index], tuples)
    model = cut(architecture.build(), kept)
    assert torch.allclose(plain_forward(model)(given), plain_forward(by_hand)(given), atol=1e-5)
    assert find_stack(model).depth == model.config.num_hidden_layers == len(kept)


@pytest.mark.slow
@torch.inference_mode()
@each_cut
def test_a_cut_model_saved_and_opened_by_transformers_gives_the_same_logits(
    architecture: Architecture, kept: tuple[int, ...], tmp_path: Path
) -> None:
    model = cut(architecture.build(), kept)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.num_hidden_layers == len(kept)
    given = batch(architecture)
    assert torch.allclose(plain_forward(again)(given), plain_forward(model)(given), atol=1e-6)


@each_cut
def test_one_training_step_moves_every_kept_parameter(architecture: Architecture, kept: tuple[int, ...]) -> None:
    model = cut(architecture.build(), kept).train()
    set_dropout(model, 0.0, 0)
    given = batch(architecture)
    nn.functional.cross_entropy(plain_forward(model)(given), given.labels).backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0).step()
    still = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    never_used = ("mask_emb", "seg_embed", "pooler.dense.weight", "pooler.dense.bias")
    assert not {name for name in still if not name.endswith(never_used)}


@each_cut
def test_parameters_fall_by_what_was_dropped(architecture: Architecture, kept: tuple[int, ...]) -> None:
    whole = architecture.build()
    before = num_parameters(whole)
    stack = architecture.stack(whole)
    dropped = 0 if architecture.shared else sum(num_parameters(stack[i]) for i in range(DEPTH) if i not in kept)
    assert num_parameters(cut(whole, kept)) == before - dropped


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_the_fast_forward_pass_holds_or_steps_aside(architecture: Architecture) -> None:
    model, given = architecture.build(), batch(architecture)
    fast = fast_forward(model)
    assert (fast is not None) == architecture.fast
    if fast is not None:
        assert same_logits(fast(given), plain_forward(model)(given))


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a.first_layer_stays], ids=lambda a: a.name)
def test_a_first_layer_that_no_other_can_replace_has_to_stay(architecture: Architecture) -> None:
    assert find_stack(architecture.build()).kinds == (0, 1, 1, 1)
    with pytest.raises(BadInput, match="Layer 1 of this model cannot take the place of layer 0.*Keep layer 0"):
        cut(architecture.build(), (1, 2))


def test_settings_with_a_value_a_layer_are_cut_too() -> None:
    modern = next(a for a in ARCHITECTURES if a.name == "modernbert")
    config = cut(modern.build(), (0, 3)).config
    assert config.layer_types == ["full_attention", "full_attention"]


def test_shared_layers_are_passed_less_often_and_stay() -> None:
    albert = next(a for a in ARCHITECTURES if a.shared)
    assert find_stack(albert.build()).shared
    assert num_parameters(cut(albert.build(), (0,))) == num_parameters(albert.build())


def without_depth() -> PreTrainedModel:
    model = small_bert()
    model.config = PretrainedConfig()  # type: ignore[assignment]
    return model


def with_two_lists() -> PreTrainedModel:
    model = small_bert()
    model.more = nn.ModuleList(nn.Linear(2, 2) for _ in range(6))
    return model


def funnel() -> PreTrainedModel:
    sizes: dict[str, Any] = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1]}
    return FunnelForSequenceClassification(FunnelConfig(vocab_size=99, **sizes))


def two_groups() -> PreTrainedModel:
    albert = next(a for a in ARCHITECTURES if a.shared)
    return Architecture("albert", albert.settings | {"num_hidden_groups": 2}, albert.stack).build()


def encoder_decoder() -> PreTrainedModel:
    model = T5EncoderModel(T5Config(vocab_size=99, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    model.config.is_encoder_decoder = True
    return model


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (without_depth, "its config does not say how many layers it has"),
        (with_two_lists, "2 lists of 6 equal layers were found in it, and one is needed"),
        (funnel, "cannot be cut: no lists of 2 equal layers"),
        (two_groups, "its 4 layers share 2 groups of weights"),
        (encoder_decoder, "it is an encoder with a decoder"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_what_was_not_found(build: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        find_stack(build())


def test_layers_outside_the_model_are_refused() -> None:
    with pytest.raises(BadInput, match="layers are 0 to 5"):
        cut(small_bert(), (0, 9))
