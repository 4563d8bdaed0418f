"""What a post-norm encoder is made of, read from its modules: the parts that `layer.py` and `forward.py` compute with.

BERT, RoBERTa, ELECTRA, DistilBERT and MPNet compute the same layer under different names. A layout is picked by the
modules that are there, not by the name of the model, so that a relative of theirs is served as well. Modules of the
right names may still do something else; so callers compare a few sentences with transformers' own forward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from pmb.engine.batches import Batch


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The modules of one layer, in the order in which hidden states pass them.

    Attention, dropout, sum and norm; then the intermediate product, exact GELU, the output product, dropout, sum and
    norm. A dropout that is None does not exist in this architecture.
    """

    num_attention_heads: int
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_dropout: nn.Module | None
    attention_output: nn.Linear
    attention_output_dropout: nn.Module | None
    attention_norm: nn.LayerNorm
    intermediate: nn.Linear
    activation: nn.Module
    output: nn.Linear
    output_dropout: nn.Module | None
    output_norm: nn.LayerNorm

    @property
    def dropouts(self) -> tuple[nn.Module | None, ...]:
        """Those of the attention weights, of the attention's output and of the layer's output."""
        return self.attention_dropout, self.attention_output_dropout, self.output_dropout


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """An encoder without its head.

    `embeddings` gives what the first layer takes, (batch, tokens, width). `position_bias` takes such hidden states and
    gives what every layer adds to its attention scores, (heads, tokens, tokens); None where there is no such bias.
    """

    embeddings: Callable[[Batch], Tensor]
    layers: tuple[LayerParts, ...]
    position_bias: Callable[[Tensor], Tensor] | None


def encoder_parts(model: PreTrainedModel) -> EncoderParts | None:
    """The parts of the model's encoder; None where a layer is of no known layout."""
    encoder: Any = model.base_model
    stack = getattr(encoder, "encoder", None) or getattr(encoder, "transformer", None)
    embeddings = getattr(encoder, "embeddings", None)
    layers = [layer_parts(layer) for layer in getattr(stack, "layer", ())]
    known = tuple(layer for layer in layers if layer)
    if embeddings is None or not known or len(known) < len(layers):
        return None
    takes_types = "token_type_ids" in inspect.signature(embeddings.forward).parameters

    def embed(batch: Batch) -> Tensor:
        types = {"token_type_ids": batch.token_type_ids} if takes_types else {}
        hidden: Tensor = embeddings(input_ids=batch.input_ids, **types)
        if hasattr(encoder, "embeddings_project"):  # ELECTRA's may be narrower than its layers
            hidden = encoder.embeddings_project(hidden)
        return hidden

    def position_bias(hidden: Tensor) -> Tensor:
        bias: Tensor = stack.compute_position_bias(hidden[:1])[0]  # type: ignore[union-attr]
        return bias

    return EncoderParts(embed, known, position_bias if hasattr(stack, "compute_position_bias") else None)


def layer_parts(layer: nn.Module) -> LayerParts | None:
    """The parts of one layer; None where it is of no known layout."""
    for layout in LAYOUTS:
        try:
            parts = layout(layer)
        except AttributeError:  # another layout's names
            continue
        if _fit_together(parts):
            return parts
    return None


def _bert(layer: Any) -> LayerParts:
    """BERT, RoBERTa, ELECTRA."""
    attention = layer.attention.self
    return LayerParts(
        num_attention_heads=attention.num_attention_heads,
        query=attention.query,
        key=attention.key,
        value=attention.value,
        attention_dropout=attention.dropout,
        attention_output=layer.attention.output.dense,
        attention_output_dropout=layer.attention.output.dropout,
        attention_norm=layer.attention.output.LayerNorm,
        intermediate=layer.intermediate.dense,
        activation=layer.intermediate.intermediate_act_fn,
        output=layer.output.dense,
        output_dropout=layer.output.dropout,
        output_norm=layer.output.LayerNorm,
    )


def _mpnet(layer: Any) -> LayerParts:
    attention = layer.attention.attn
    return LayerParts(
        num_attention_heads=attention.num_attention_heads,
        query=attention.q,
        key=attention.k,
        value=attention.v,
        attention_dropout=attention.dropout,
        attention_output=attention.o,
        attention_output_dropout=layer.attention.dropout,
        attention_norm=layer.attention.LayerNorm,
        intermediate=layer.intermediate.dense,
        activation=layer.intermediate.intermediate_act_fn,
        output=layer.output.dense,
        output_dropout=layer.output.dropout,
        output_norm=layer.output.LayerNorm,
    )


def _distilbert(layer: Any) -> LayerParts:
    """DistilBERT, which drops nothing behind attention's output product."""
    attention, feed_forward = layer.attention, layer.ffn
    return LayerParts(
        num_attention_heads=attention.n_heads,
        query=attention.q_lin,
        key=attention.k_lin,
        value=attention.v_lin,
        attention_dropout=attention.dropout,
        attention_output=attention.out_lin,
        attention_output_dropout=None,
        attention_norm=layer.sa_layer_norm,
        intermediate=feed_forward.lin1,
        activation=feed_forward.activation,
        output=feed_forward.lin2,
        output_dropout=feed_forward.dropout,
        output_norm=layer.output_layer_norm,
    )


LAYOUTS: Sequence[Callable[[Any], LayerParts]] = (_bert, _mpnet, _distilbert)


def _fit_together(parts: LayerParts) -> bool:
    """Whether the modules are of the kinds and shapes that the quick layer computes with."""
    width = getattr(parts.query, "in_features", 0)
    inner = getattr(parts.intermediate, "out_features", 0)
    square = (parts.query, parts.key, parts.value, parts.attention_output)
    shapes = [(linear, width, width) for linear in square]
    shapes += [(parts.intermediate, width, inner), (parts.output, inner, width)]
    return (
        all(
            isinstance(linear, nn.Linear)
            and linear.bias is not None
            and (linear.in_features, linear.out_features) == (into, out)
            for linear, into, out in shapes
        )
        and all(
            isinstance(norm, nn.LayerNorm) and norm.bias is not None and norm.normalized_shape == (width,)
            for norm in (parts.attention_norm, parts.output_norm)
        )
        and all(dropout is None or isinstance(dropout, nn.Dropout) for dropout in parts.dropouts)
        and _is_exact_gelu(parts.activation)
        and width % parts.num_attention_heads == 0
    )


def _is_exact_gelu(activation: nn.Module) -> bool:
    """Whether it is GELU by the error function; its approximations by tanh or sigmoid are not."""
    return isinstance(activation, GELUActivation) or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )
