"""A post-norm encoder layer, forward and backward by hand: autograd spends as long around the products again.

Products are computed in the device's product type (bfloat16 where there are instructions for it), from copies of the
weights that are made once a step; sums, normalisation and softmax in float32, as are the weights that are trained
(Micikevicius et al., 2018). Dropped elements are cleared in their bits, and the scale of those that stay is folded into
an operation that is there anyway. tests/test_forward.py holds it against transformers' own layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pmb.engine.dropout import QuickDropout, masked
from pmb.engine.layouts import LayerParts

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ScoreBias:
    """What the layers add to the attention scores of one batch.

    `mask`: (batch, 1, tokens), true where there is a token; None where all are. `position`: (heads, tokens, tokens) in
    float32, which gets a gradient; None where the encoder has none. `added`: both in one, (batch * heads, tokens or 1,
    tokens) in the product type; None where there is nothing to add.
    """

    mask: Tensor | None
    position: Tensor | None
    added: Tensor | None


def score_bias(mask: Tensor | None, position: Tensor | None, batch: int, heads: int, dtype: torch.dtype) -> ScoreBias:
    """Put mask and position bias together: the position bias where there is a token, elsewhere the least number."""
    added = None if position is None else position.detach()[None]
    if mask is not None:
        added = torch.where(mask[:, None], 0.0 if added is None else added, torch.finfo(dtype).min)
    if added is not None:
        added = added.to(dtype).expand(batch, heads, -1, -1).flatten(0, 1)
    return ScoreBias(mask, position, added)


class Layer:
    """A layer's parameters, and their copies in the product type."""

    def __init__(self, parts: LayerParts, dtype: torch.dtype) -> None:
        """Take the parts of transformers' layer; `refresh` fills the copies."""
        self.parts = parts
        self.dtype = dtype
        # Query, key and value are one product; so their parameters stand one below the other in the copy.
        self.linears: tuple[tuple[nn.Linear, ...], ...] = (
            (parts.query, parts.key, parts.value),
            (parts.attention_output,),
            (parts.intermediate,),
            (parts.output,),
        )
        self.weights = [torch.cat([linear.weight.detach() for linear in group]).to(dtype) for group in self.linears]
        self.biases = [torch.cat([linear.bias.detach() for linear in group]).to(dtype) for group in self.linears]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the parameters, which a training step has changed."""
        for group, weight, bias in zip(self.linears, self.weights, self.biases, strict=True):
            for part, linear in enumerate(group):
                rows = slice(part * linear.out_features, (part + 1) * linear.out_features)
                weight[rows].copy_(linear.weight)
                bias[rows].copy_(linear.bias)

    def parameters(self) -> list[Tensor]:
        """What is trained, in the order of the gradients that `_LayerFunction.backward` returns."""
        found: list[Tensor] = []
        for group in self.linears:
            found += [linear.weight for linear in group] + [linear.bias for linear in group]
        for norm in (self.parts.attention_norm, self.parts.output_norm):
            found += [norm.weight, norm.bias]
        return found


def apply(layer: Layer, hidden: Tensor, bias: ScoreBias) -> Tensor:
    """The layer's output, (batch, tokens, width) in float32, as `hidden` is."""
    output: Tensor = _LayerFunction.apply(  # type: ignore[no-untyped-call]
        hidden, layer, bias.added, bias.position, *layer.parameters()
    )
    return output


class _LayerFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, layer: Layer, added: Tensor | None, position: Tensor | None, *_: Tensor
    ) -> Tensor:
        """`position` is a part of `added`, and here for its gradient alone."""
        batch, tokens, width = hidden.shape
        parts, heads = layer.parts, layer.parts.num_attention_heads
        size = width // heads
        (w_qkv, w_out, w_up, w_down), (b_qkv, b_out, b_up, b_down) = layer.weights, layer.biases
        scales = [drop.scale if isinstance(drop, QuickDropout) else 1.0 for drop in parts.dropouts]

        def mask(which: int, like: Tensor) -> Tensor | None:
            drop = parts.dropouts[which]
            return drop.mask(like) if isinstance(drop, QuickDropout) else None

        rows = hidden.reshape(-1, width)
        rows_low = rows.to(layer.dtype)
        projected = torch.addmm(b_qkv, rows_low, w_qkv.t()).view(batch, tokens, 3, heads, size)
        query, key, value = projected.permute(2, 0, 3, 1, 4).contiguous().view(3, batch * heads, tokens, size)
        query *= size**-0.5
        value *= scales[0]
        if added is None:
            scores = torch.bmm(query, key.transpose(1, 2))
        else:
            scores = torch.baddbmm(added, query, key.transpose(1, 2))
        weights = scores.softmax(-1, dtype=torch.float32)
        weights_low = weights.to(layer.dtype)
        kept_weights = mask(0, weights_low)
        dropped = masked(weights_low, kept_weights)
        context = torch.bmm(dropped, value).view(batch, heads, tokens, size).transpose(1, 2).reshape(-1, width)

        attended = torch.addmm(b_out, context, w_out.t())
        kept_attended = mask(1, attended)
        first_sum = torch.add(rows, masked(attended, kept_attended).float(), alpha=scales[1])
        first, first_mean, first_rstd = _norm(first_sum, parts.attention_norm)
        first_low = first.to(layer.dtype)
        inner = torch.addmm(b_up, first_low, w_up.t())
        activated = functional.gelu(inner)
        output = torch.addmm(b_down, activated, w_down.t())
        kept_output = mask(2, output)
        second_sum = torch.add(first, masked(output, kept_output).float(), alpha=scales[2])
        second, second_mean, second_rstd = _norm(second_sum, parts.output_norm)

        ctx.layer, ctx.scales, ctx.shape = layer, scales, hidden.shape
        ctx.save_for_backward(
            *(rows_low, query, key, value, weights, dropped, context, first_sum, first_mean, first_rstd, first_low),
            *(inner, activated, second_sum, second_mean, second_rstd),
            *(kept_weights, kept_attended, kept_output),
        )
        return second.view(hidden.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """A name with `d_` is the gradient of the name without it."""
        layer, scales = ctx.layer, ctx.scales
        batch, tokens, width = ctx.shape
        parts, heads = layer.parts, layer.parts.num_attention_heads
        size = width // heads
        w_qkv, w_out, w_up, w_down = layer.weights
        rows_low, query, key, value, weights, dropped, context, first_sum, first_mean, first_rstd, *more = (
            ctx.saved_tensors
        )
        first_low, inner, activated, second_sum, second_mean, second_rstd, *masks = more
        kept_weights, kept_attended, kept_output = masks

        def to_low(gradient: Tensor, scale: float) -> Tensor:
            return (gradient * scale if scale != 1.0 else gradient).to(layer.dtype)

        d_second_sum, d_norm_2, d_norm_2_bias = _norm_backward(
            gradients[0].reshape(-1, width), second_sum, second_mean, second_rstd, parts.output_norm
        )
        d_output = masked(to_low(d_second_sum, scales[2]), kept_output)
        d_inner = aten.gelu_backward(d_output @ w_down, inner)
        d_first = d_second_sum + d_inner @ w_up
        d_first_sum, d_norm_1, d_norm_1_bias = _norm_backward(
            d_first, first_sum, first_mean, first_rstd, parts.attention_norm
        )
        d_attended = masked(to_low(d_first_sum, scales[1]), kept_attended)
        d_context = (d_attended @ w_out).view(batch, tokens, heads, size).transpose(1, 2)
        d_context = d_context.reshape(batch * heads, tokens, size)
        d_weights = masked(torch.bmm(d_context, value.transpose(1, 2)), kept_weights).float()
        d_scores = aten._softmax_backward_data(d_weights, weights, -1, torch.float32)
        d_position = d_scores.view(batch, heads, tokens, tokens).sum(0) if ctx.needs_input_grad[3] else None
        d_scores = d_scores.to(layer.dtype)
        d_projected = torch.empty(batch, tokens, 3, heads, size, dtype=layer.dtype, device=value.device)
        d_query, d_key, d_value = d_projected.permute(2, 0, 3, 1, 4)
        d_query.copy_((torch.bmm(d_scores, key) * size**-0.5).view(batch, heads, tokens, size))
        d_key.copy_(torch.bmm(d_scores.transpose(1, 2), query).view(batch, heads, tokens, size))
        d_value.copy_((torch.bmm(dropped.transpose(1, 2), d_context) * scales[0]).view(batch, heads, tokens, size))
        d_rows = d_projected.view(-1, 3 * width)
        d_hidden = d_first_sum + d_rows @ w_qkv

        def linear(d_result: Tensor, given: Tensor, linears: int) -> list[Tensor]:
            d_weight = (d_result.t() @ given).float()
            return [*d_weight.chunk(linears), *d_result.sum(0).float().chunk(linears)]

        return (
            d_hidden.view(ctx.shape),
            *(None, None, d_position),
            *linear(d_rows, rows_low, 3),
            *linear(d_attended, context, 1),
            *linear(d_inner, first_low, 1),
            *linear(d_output, activated, 1),
            *(d_norm_1, d_norm_1_bias, d_norm_2, d_norm_2_bias),
        )


def _norm(states: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised states, and the mean and reciprocal deviation that the backward pass wants."""
    found: tuple[Tensor, Tensor, Tensor] = torch.native_layer_norm(
        states, norm.normalized_shape, norm.weight, norm.bias, norm.eps
    )
    return found


def _norm_backward(
    gradient: Tensor, states: Tensor, mean: Tensor, rstd: Tensor, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = aten.native_layer_norm_backward(
        gradient, states, norm.normalized_shape, mean, rstd, norm.weight, norm.bias, [True, True, True]
    )
    return found
