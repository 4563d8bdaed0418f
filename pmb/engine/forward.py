"""From a batch to logits: transformers' own way, and a quicker one for post-norm encoders (BERT, MPNet and others).

The classifier reads the first token alone. So in the last layer only that token needs a query, an output and a
feed-forward pass, and no other token needs even a key or a value: q·(Kx) = (Kᵀq)·x, and Σ p(Vx + b) = V(Σ px) + b Σ p.
That is exact, in training too, and the shallower the cut, the more it saves: the last layer of one is all of it.

`layouts.py` sees from a model's modules, not from its name, whether it is laid out so. Before the quicker way is taken
it has to give transformers' own logits for a few sentences of the run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from pmb.engine.batches import Batch
from pmb.engine.layer import Layer, ScoreBias, apply, score_bias
from pmb.engine.layouts import EncoderParts, LayerParts, encoder_parts
from pmb.engine.shortcut import attempt

TOLERANCE = 1e-3  # of logits in float32, relative and absolute

Forward = Callable[[Batch], Tensor]


def model_inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """What the model's own `forward` takes of a batch."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None and "token_type_ids" in inspect.signature(model.forward).parameters:
        inputs["token_type_ids"] = batch.token_type_ids
    return inputs


def plain_forward(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Forward:
    """The model's own forward pass, with matrix products in that type; the reference for `fast_forward`."""

    def forward(batch: Batch) -> Tensor:
        with torch.autocast(batch.input_ids.device.type, dtype, enabled=dtype != torch.float32):
            logits: Tensor = model(**model_inputs(model, batch)).logits
        return logits

    return forward


def fast_forward(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Forward | None:
    """The same logits in less time; None where the model is of no layout that `layouts.py` knows."""
    encoder, head = encoder_parts(model), _head(model)
    if encoder is None or head is None:
        return None
    *lower, last = encoder.layers
    layers = [Layer(parts, dtype) for parts in lower]

    def forward(batch: Batch) -> Tensor:
        hidden = encoder.embeddings(batch)
        bias = batch_bias(encoder, batch, hidden, dtype)
        for layer in layers:
            layer.refresh()
            hidden = apply(layer, hidden, bias)
        with torch.autocast(hidden.device.type, dtype, enabled=dtype != torch.float32):
            return head(first_token(last, hidden, bias))

    return forward


def batch_bias(encoder: EncoderParts, batch: Batch, hidden: Tensor, dtype: torch.dtype) -> ScoreBias:
    """What all layers add to the attention scores of a batch whose hidden states look like `hidden`."""
    mask = batch.attention_mask[:, None, :].bool() if batch.is_padded else None
    position = encoder.position_bias(hidden) if encoder.position_bias else None
    return score_bias(mask, position, len(hidden), encoder.layers[0].num_attention_heads, dtype)


def pick_forward(model: PreTrainedModel, dtype: torch.dtype, probe: Batch, reference: Tensor) -> tuple[Forward, bool]:
    """The quicker way where it gives the `reference` logits for the batch `probe`, else the plain one; and which.

    The plain way computes in float32 where the model has a step that cannot do with another type of products.
    """

    def exact_forward() -> Forward | None:
        fast = fast_forward(model)
        if fast is None or not same_logits(evaluated(model, fast, probe), reference):
            return None
        return fast_forward(model, dtype)

    def plain_in_dtype() -> Forward:
        plain = plain_forward(model, dtype)
        evaluated(model, plain, probe)
        return plain

    if fast := attempt("The quick forward pass", exact_forward):
        return fast, True
    return attempt(f"The plain forward pass with {dtype}", plain_in_dtype) or plain_forward(model), False


@torch.no_grad()
def evaluated(model: PreTrainedModel, forward: Forward, batch: Batch) -> Tensor:
    """The logits without dropout, whatever mode the model is in."""
    training = model.training
    model.eval()
    try:
        return forward(batch)
    finally:
        model.train(training)


def same_logits(these: Tensor, those: Tensor) -> bool:
    """Whether two ways to compute logits differ by rounding alone."""
    return these.shape == those.shape and torch.allclose(these, those, rtol=TOLERANCE, atol=TOLERANCE)


def first_token(parts: LayerParts, hidden: Tensor, bias: ScoreBias) -> Tensor:
    """What a layer gives for the first token alone, (batch, 1, width); `hidden`: (batch, tokens, width)."""
    attended = parts.attention_output(_first_attention(parts, hidden, bias))
    first = parts.attention_norm(_dropped(parts.attention_output_dropout, attended) + hidden[:, :1])
    inner = parts.output(parts.activation(parts.intermediate(first)))
    output: Tensor = parts.output_norm(_dropped(parts.output_dropout, inner) + first)
    return output


def _first_attention(parts: LayerParts, hidden: Tensor, bias: ScoreBias) -> Tensor:
    """What the first token gathers, (batch, 1, width); no key or value of a single token is computed."""
    heads = parts.num_attention_heads
    size = parts.query.out_features // heads

    def by_head(parameters: Tensor) -> Tensor:  # (width, ...) to (heads, width of a head, ...)
        return parameters.view(heads, size, *parameters.shape[1:])

    query = by_head(parts.query(hidden[:, 0]).t()) * size**-0.5  # (heads, width of a head, batch)
    per_head = torch.einsum("hdb,hdw->bhw", query, by_head(parts.key.weight))
    key_bias = torch.einsum("hdb,hd->bh", query, by_head(parts.key.bias))[:, :, None]
    scores = per_head @ hidden.transpose(1, 2) + key_bias
    if bias.position is not None:
        scores = scores + bias.position[:, 0]
    if bias.mask is not None:
        scores = scores.masked_fill(~bias.mask, torch.finfo(scores.dtype).min)
    weights = _dropped(parts.attention_dropout, scores.softmax(-1))
    context = torch.einsum("bhw,hdw->bhd", weights @ hidden, by_head(parts.value.weight))
    context = context + weights.sum(-1, keepdim=True) * by_head(parts.value.bias)
    return context.reshape(len(hidden), 1, -1)


def _dropped(dropout: Callable[[Tensor], Tensor] | None, states: Tensor) -> Tensor:
    return states if dropout is None else dropout(states)


def _head(model: Any) -> Callable[[Tensor], Tensor] | None:
    """From the last layer's output for the first token, (batch, 1, width), to logits; None where there is no head."""
    classifier, dropout = getattr(model, "classifier", None), getattr(model, "dropout", None)
    pooler = getattr(model.base_model, "pooler", None)
    if classifier is None:
        return None
    if hasattr(model, "pre_classifier"):  # DistilBERT
        return lambda first: classifier(_dropped(dropout, functional.relu(model.pre_classifier(first[:, 0]))))
    if pooler is not None:  # BERT
        return lambda first: classifier(_dropped(dropout, pooler(first)))
    return lambda first: classifier(first)  # a head of several modules, which takes the first token itself
