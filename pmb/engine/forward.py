"""From a batch to logits: transformers' own way, and a quicker one for encoders laid out as BERT is.

The classifier reads the first token alone. So in the last layer only that token needs a query, an output and a
feed-forward pass, and no other token needs even a key or a value: q·(Kx) = (Kᵀq)·x, and Σ p(Vx + b) = V(Σ px) + b Σ p.
That is exact, in training too, and the shallower the cut, the more it saves: the last layer of one is all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from pmb.engine.batches import Batch

Forward = Callable[[Batch], Tensor]

# Model types with embeddings, `encoder.layer[i].attention.self` and a head on the first token, as in BERT.
BERT_LIKE = ("bert", "camembert", "roberta", "xlm-roberta")


def plain_forward(model: PreTrainedModel) -> Forward:
    """The model's own forward pass; the reference for `fast_forward`."""

    def forward(batch: Batch) -> Tensor:
        logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return logits

    return forward


def fast_forward(model: PreTrainedModel) -> Forward:
    """The same logits with less work where the model is laid out as BERT is; else the model's own forward pass."""
    if model.config.model_type not in BERT_LIKE or getattr(model.config, "is_decoder", False):
        return plain_forward(model)
    encoder: Any = model.base_model

    def forward(batch: Batch) -> Tensor:
        hidden = encoder.embeddings(input_ids=batch.input_ids)
        mask = batch.attention_mask[:, None, None, :].bool() if batch.is_padded else None
        *lower, last = encoder.encoder.layer
        for layer in lower:
            hidden = _after_attention(layer, _attention(layer.attention.self, hidden, mask), hidden)
        return _head(model, _after_attention(last, _first_attention(last.attention.self, hidden, mask), hidden[:, :1]))

    return forward


def _after_attention(layer: Any, context: Tensor, hidden: Tensor) -> Tensor:
    """The rest of an encoder layer for the tokens of `hidden`; all three are (batch, tokens, width)."""
    attended = layer.attention.output(context, hidden)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _attention(module: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What every token gathers, (batch, tokens, width)."""

    def heads(states: Tensor) -> Tensor:
        return states.view(len(states), -1, module.num_attention_heads, module.attention_head_size).transpose(1, 2)

    query, key, value = heads(module.query(hidden)), heads(module.key(hidden)), heads(module.value(hidden))
    dropout: float = module.dropout.p if module.training else 0.0
    if dropout and hidden.device.type == "cpu":
        # torch's own attention would draw this dropout mask number by number.
        scores = query @ key.transpose(2, 3) * module.scaling
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        context = module.dropout(scores.softmax(-1)) @ value
    else:
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return context.transpose(1, 2).reshape(hidden.shape)


def _first_attention(module: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What the first token gathers, (batch, 1, width); no key or value of a single token is computed."""

    def by_head(parameters: Tensor) -> Tensor:  # (width, ...) to (heads, width of a head, ...)
        return parameters.view(module.num_attention_heads, module.attention_head_size, *parameters.shape[1:])

    query = by_head(module.query(hidden[:, 0]).t()) * module.scaling  # (heads, width of a head, batch)
    per_head = torch.einsum("hdb,hdw->bhw", query, by_head(module.key.weight))
    bias = torch.einsum("hdb,hd->bh", query, by_head(module.key.bias))[:, :, None]
    scores = per_head @ hidden.transpose(1, 2) + bias
    if mask is not None:
        scores = scores.masked_fill(~mask[:, 0], torch.finfo(scores.dtype).min)
    weights = module.dropout(scores.softmax(-1))
    context = torch.einsum("bhw,hdw->bhd", weights @ hidden, by_head(module.value.weight))
    context = context + weights.sum(-1, keepdim=True) * by_head(module.value.bias)
    return context.reshape(len(hidden), 1, -1)


def _head(model: Any, first: Tensor) -> Tensor:
    """Logits from the last layer's output for the first token, (batch, 1, width)."""
    if model.config.model_type == "bert":
        first = model.dropout(model.base_model.pooler(first))
    logits: Tensor = model.classifier(first)
    return logits
