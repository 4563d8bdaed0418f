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
from transformers import PreTrainedModel

from pmb.engine.batches import Batch
from pmb.engine.layer import Layer, apply

Forward = Callable[[Batch], Tensor]

# Model types with embeddings, `encoder.layer[i].attention.self` and a head on the first token, as in BERT.
BERT_LIKE = ("bert", "camembert", "roberta", "xlm-roberta")


def plain_forward(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Forward:
    """The model's own forward pass, with matrix products in that type; the reference for `fast_forward`."""

    def forward(batch: Batch) -> Tensor:
        with torch.autocast(batch.input_ids.device.type, dtype, enabled=dtype != torch.float32):
            logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return logits

    return forward


def fast_forward(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Forward:
    """The same logits in less time where the model is laid out as BERT is; else the model's own forward pass."""
    if model.config.model_type not in BERT_LIKE or getattr(model.config, "is_decoder", False):
        return plain_forward(model, dtype)
    encoder: Any = model.base_model
    *lower, last = encoder.encoder.layer
    layers = [Layer(module, dtype) for module in lower]

    def forward(batch: Batch) -> Tensor:
        hidden = encoder.embeddings(input_ids=batch.input_ids)
        mask = batch.attention_mask[:, None, :].bool() if batch.is_padded else None
        bias = None if mask is None else torch.where(mask, 0.0, torch.finfo(dtype).min).to(dtype)
        for layer in layers:
            layer.refresh()
            hidden = apply(layer, hidden, bias)
        with torch.autocast(hidden.device.type, dtype, enabled=dtype != torch.float32):
            first = _first_attention(last.attention.self, hidden, mask)
            attended = last.attention.output(first, hidden[:, :1])
            return _head(model, last.output(last.intermediate(attended), attended))

    return forward


def _first_attention(module: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What the first token gathers, (batch, 1, width); no key or value of a single token is computed."""

    def by_head(parameters: Tensor) -> Tensor:  # (width, ...) to (heads, width of a head, ...)
        return parameters.view(module.num_attention_heads, module.attention_head_size, *parameters.shape[1:])

    query = by_head(module.query(hidden[:, 0]).t()) * module.scaling  # (heads, width of a head, batch)
    per_head = torch.einsum("hdb,hdw->bhw", query, by_head(module.key.weight))
    bias = torch.einsum("hdb,hd->bh", query, by_head(module.key.bias))[:, :, None]
    scores = per_head @ hidden.transpose(1, 2) + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
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
