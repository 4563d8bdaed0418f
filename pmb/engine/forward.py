"""From a batch to logits: transformers' own way, and a quicker one for encoders laid out as BERT is.

The classifier reads the first token alone. So in the last layer only that token needs a query, an output and a
feed-forward pass; every other token gives just its key and value. That is exact, in training too, and the shallower
the cut, the more it saves: the last layer of one is all of it.
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
            hidden = _layer(layer, hidden, hidden, mask)
        return _head(model, _layer(last, hidden[:, :1], hidden, mask))

    return forward


def _layer(layer: Any, queries: Tensor, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """One encoder layer's output for the tokens of `queries`, (batch, tokens of queries, width)."""
    attended = layer.attention.output(_attention(layer.attention.self, queries, hidden, mask), queries)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _attention(module: Any, queries: Tensor, hidden: Tensor, mask: Tensor | None) -> Tensor:
    def heads(states: Tensor) -> Tensor:
        return states.view(len(states), -1, module.num_attention_heads, module.attention_head_size).transpose(1, 2)

    query, key, value = heads(module.query(queries)), heads(module.key(hidden)), heads(module.value(hidden))
    dropout: float = module.dropout.p if module.training else 0.0
    if dropout and hidden.device.type == "cpu":
        # torch's own attention would draw this dropout mask number by number.
        scores = query @ key.transpose(2, 3) * module.scaling
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        context = module.dropout(scores.softmax(-1)) @ value
    else:
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return context.transpose(1, 2).reshape(queries.shape)


def _head(model: Any, first: Tensor) -> Tensor:
    """Logits from the last layer's output for the first token, (batch, 1, width)."""
    if model.config.model_type == "bert":
        first = model.dropout(model.base_model.pooler(first))
    logits: Tensor = model.classifier(first)
    return logits
