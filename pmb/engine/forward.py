"""From a batch to logits: transformers' own way, and a quicker one for encoders laid out as BERT is.

The classifier reads the first token alone. So in the last layer only that token needs a query, an output and a
feed-forward pass, and no other token needs even a key or a value: q·(Kx) = (Kᵀq)·x, and Σ p(Vx + b) = V(Σ px) + b Σ p.
That is exact, in training too, and the shallower the cut, the more it saves: the last layer of one is all of it.

Whether a model is laid out so is seen from its modules, not from its name; and before the quicker way is taken it has
to give transformers' own logits for a few sentences of the run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from pmb.engine.batches import Batch
from pmb.engine.layer import Layer, apply

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
    """The same logits in less time; None where the model is not laid out as BERT is."""
    if not laid_out_as_bert(model):
        return None
    encoder: Any = model.base_model
    *lower, last = encoder.encoder.layer
    layers = [Layer(module, dtype) for module in lower]

    def forward(batch: Batch) -> Tensor:
        hidden = embedded(encoder, batch)
        mask = token_mask(batch)
        bias = score_bias(mask, dtype)
        for layer in layers:
            layer.refresh()
            hidden = apply(layer, hidden, bias)
        with torch.autocast(hidden.device.type, dtype, enabled=dtype != torch.float32):
            return _head(model, first_token(last, hidden, mask))

    return forward


def embedded(encoder: Any, batch: Batch) -> Tensor:
    """What an encoder laid out as BERT's gives its first layer, (batch, tokens, width)."""
    hidden: Tensor = encoder.embeddings(input_ids=batch.input_ids, token_type_ids=batch.token_type_ids)
    if hasattr(encoder, "embeddings_project"):
        hidden = encoder.embeddings_project(hidden)
    return hidden


def token_mask(batch: Batch) -> Tensor | None:
    """Where there is a token, (batch, 1, tokens); None where all are."""
    return batch.attention_mask[:, None, :].bool() if batch.is_padded else None


def score_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What `Layer` adds to the attention scores: 0, or the least number where `mask` has no token."""
    return None if mask is None else torch.where(mask, 0.0, torch.finfo(dtype).min).to(dtype)


def pick_forward(model: PreTrainedModel, dtype: torch.dtype, probe: Batch, reference: Tensor) -> tuple[Forward, bool]:
    """The quicker way where it gives the `reference` logits for the batch `probe`, else the plain one; and which."""
    fast = fast_forward(model)
    if fast is not None and same_logits(evaluated(model, fast, probe), reference):
        return fast_forward(model, dtype) or fast, True
    return plain_forward(model, dtype), False


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


def laid_out_as_bert(model: Any) -> bool:
    """Whether every module that `fast_forward`, `first_token` and `Layer` use is there and of the kind they think."""
    try:
        encoder = model.base_model
        head = model.dropout if _pooler(model) is not None else model.classifier
        parts = [encoder.embeddings, head]
        for layer in encoder.encoder.layer:
            attention, projected = layer.attention.self, layer.attention.output
            linears = (attention.query, attention.key, attention.value, projected.dense, layer.intermediate.dense)
            if not all(
                isinstance(part, nn.Linear) and part.bias is not None for part in (*linears, layer.output.dense)
            ):
                return False
            if not isinstance(layer.intermediate.intermediate_act_fn, (GELUActivation, nn.GELU)):
                return False
            parts += [attention.num_attention_heads, attention.attention_head_size, attention.dropout]
            parts += [projected.dropout, projected.LayerNorm, layer.output.dropout, layer.output.LayerNorm]
    except AttributeError:
        return False
    return all(part is not None for part in parts)


def first_token(layer: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What a layer laid out as BERT's gives for the first token alone, (batch, 1, width).

    `hidden`: (batch, tokens, width); `mask`: (batch, 1, tokens), true where there is a token; None where all are.
    """
    first = _first_attention(layer.attention.self, hidden, mask)
    attended = layer.attention.output(first, hidden[:, :1])
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def _first_attention(module: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What the first token gathers, (batch, 1, width); no key or value of a single token is computed."""
    size: int = module.attention_head_size

    def by_head(parameters: Tensor) -> Tensor:  # (width, ...) to (heads, width of a head, ...)
        return parameters.view(module.num_attention_heads, size, *parameters.shape[1:])

    query = by_head(module.query(hidden[:, 0]).t()) * size**-0.5  # (heads, width of a head, batch)
    per_head = torch.einsum("hdb,hdw->bhw", query, by_head(module.key.weight))
    bias = torch.einsum("hdb,hd->bh", query, by_head(module.key.bias))[:, :, None]
    scores = per_head @ hidden.transpose(1, 2) + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = module.dropout(scores.softmax(-1))
    context = torch.einsum("bhw,hdw->bhd", weights @ hidden, by_head(module.value.weight))
    context = context + weights.sum(-1, keepdim=True) * by_head(module.value.bias)
    return context.reshape(len(hidden), 1, -1)


def _pooler(model: Any) -> Any:
    return getattr(model.base_model, "pooler", None)


def _head(model: Any, first: Tensor) -> Tensor:
    """Logits from the last layer's output for the first token, (batch, 1, width)."""
    pooler = _pooler(model)
    logits: Tensor = model.classifier(first if pooler is None else model.dropout(pooler(first)))
    return logits
