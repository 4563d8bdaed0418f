"""What cut models hold before any fine-tuning: the sentence token behind every cut, read by a linear classifier.

The cuts of a model form a tree: 0,1,4 is 0,1 and one layer more, and 0,1,2 begins with the same two. So every distinct
prefix of kept layers is computed once, from the hidden states of the prefix before it, for all sentences at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from pmb import scoring
from pmb.engine.batches import Batch, Encoded, batch_of, sorted_rows
from pmb.engine.device import product_type
from pmb.engine.forward import batch_bias, first_token, model_inputs, same_logits
from pmb.engine.layer import Layer
from pmb.engine.layer import apply as quick_layer
from pmb.engine.layouts import encoder_parts
from pmb.engine.probe import fit_linear
from pmb.engine.shortcut import attempt
from pmb.engine.surgery import find_stack
from pmb.errors import BadInput

BATCH = 64
MAX_LENGTH = 128  # tokens, as in the recipes
CHECKED_EXAMPLES = 4  # by which the walk shows that it is exact
HELD_BYTES = 2 * 2**30  # of hidden states; beyond that the shallowest are let go, and computed again where need be

Cut = tuple[int, ...]
Features = NDArray[np.float32]  # (examples, width)


def score_cuts(
    model: PreTrainedModel,
    metric: str,
    data: Encoded,
    num_train: int,
    cuts: Sequence[Cut],
    device: torch.device,
) -> Iterator[tuple[Cut, float]]:
    """What a linear classifier on each cut's sentence token scores on dev, each cut as soon as it is known.

    `data`: `num_train` train examples, on which the classifier is fitted, and then those of dev. Takes the model, which
    has a head, apart; raises BadInput where its layers cannot be computed one by one.
    """
    train, dev = data.labels[:num_train], data.labels[num_train:]
    truth = np.asarray(dev, dtype=np.float64)
    for cut, features in walk(OneByOne(model, data, device, product_type(device)), cuts):
        guesses = fit_linear(features[:num_train], train)(features[num_train:])
        yield cut, scoring.METRICS[metric](truth, np.asarray(guesses, dtype=np.float64))


@torch.inference_mode()
def walk(layers: OneByOne, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, Features]]:
    """The sentence token of every example behind each cut: the first, or of a model padded on the left the last.

    The cuts come in their order, but one on the way to another comes with it. Hidden states are held until what follows
    on them is computed; of cuts in ascending order that is one path from the root.
    """
    places = torch.tensor([row for batch in layers.batches for row in batch.rows])
    open_children: dict[Cut, set[Cut]] = {}
    for prefix in (cut[:length] for cut in cuts for length in range(1, len(cut) + 1)):
        open_children.setdefault(prefix[:-1], set()).add(prefix)
        open_children.setdefault(prefix, set())
    wanted = dict.fromkeys(cuts)
    held: dict[Cut, list[Tensor]] = {}
    if before := layers.embeddings():
        held[()] = before
    for cut in cuts:
        if cut not in wanted:
            continue
        start = max((length for length in range(len(cut)) if cut[:length] in held), default=0)
        before = held.get(cut[:start])
        for prefix in (cut[:length] for length in range(start + 1, len(cut) + 1)):
            goes_on = bool(open_children[prefix]) or prefix != cut
            passed = layers.apply(prefix[-1], before, goes_on)
            open_children[prefix[:-1]].discard(prefix)
            if not open_children[prefix[:-1]]:
                held.pop(prefix[:-1], None)
            before = [states for states, _ in passed] if goes_on else None
            if before and open_children[prefix]:
                _hold(held, prefix, before)
            if prefix in wanted:
                del wanted[prefix]
                tokens = torch.cat([token for _, token in passed])
                yield prefix, tokens[places.argsort()].numpy()


def _hold(held: dict[Cut, list[Tensor]], prefix: Cut, states: list[Tensor]) -> None:
    """Hold these too, and let the ones that were held first go where all take too much memory."""
    held[prefix] = states
    while len(held) > 1 and sum(part.nbytes for parts in held.values() for part in parts) > HELD_BYTES:
        del held[next(iter(held))]


class _OneLayer(nn.Module):
    """Stands in for all layers of an encoder: passes one of them on what it is given, else on what the encoder has."""

    def __init__(self, layer: nn.Module) -> None:
        """Begin with that layer."""
        super().__init__()
        self.layer = layer
        self.states_before: Tensor | None = None
        self.states_after: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        """What an encoder asks its layers for (ModernBERT the kind of attention, X-MOD the adapters) is the layer's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, states: Tensor, *others: Any, **more: Any) -> Any:
        """The layer's own output, whose hidden states are kept; the first where it gives several things."""
        output = self.layer(states if self.states_before is None else self.states_before, *others, **more)
        first = next(iter(output.values())) if isinstance(output, dict) else output  # SqueezeBERT's have names
        self.states_after = first if isinstance(first, Tensor) else first[0]
        return output


class OneByOne:
    """An encoder whose forward pass is one layer on given hidden states, with all that it does around its layers."""

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, data: Encoded, device: torch.device, dtype: torch.dtype) -> None:
        """Take the model apart, and see that layer by layer it gives what it gave whole; raises BadInput.

        `dtype`: of the matrix products.
        """
        self.batches = [batch_of(data, rows, device) for rows in sorted_rows(data, BATCH)]
        self._device, self._dtype = device, dtype
        self._encoder: Any = model.eval().base_model
        self._sentence_token = -1 if data.pad_left else 0
        self.stack = stack = find_stack(model)  # the depth, and what forbids a cut
        few = batch_of(data, range(min(CHECKED_EXAMPLES, len(data))), device)
        whole = self._forward(few)
        self._layers: list[Any] = [*stack.layers] * (stack.depth if stack.shared else 1)
        self._quick: list[Layer] = []  # where the parts of all layers are known
        self._parts = None if data.pad_left else attempt("The quick layer", lambda: encoder_parts(model))
        self._one = _OneLayer(self._layers[0])
        del stack.layers[:]
        stack.layers.append(self._one)
        model.config.num_hidden_layers = 1
        one_by_one = attempt("The walk layer by layer", lambda: self._through_all(few))
        if one_by_one is None or not same_logits(one_by_one, whole):
            name = type(model).__name__
            raise BadInput(f"{name} cannot be previewed: its layers need more than what the layer before gives.")
        if self._parts:
            self._quick = [Layer(parts, torch.float32) for parts in self._parts.layers]
            quick = attempt("The quick layer", lambda: self._through_all(few))
            same = quick is not None and same_logits(quick, whole)
            self._quick = [Layer(parts, dtype) for parts in self._parts.layers] if same else []
        if (
            not self._quick
            and attempt(f"The walk layer by layer with {dtype}", lambda: self._in_product_type(few)) is None
        ):
            self._dtype = torch.float32

    def embeddings(self) -> list[Tensor] | None:
        """What the first layer is given, by batch; None where only the encoder itself can give it."""
        if not self._quick or not self._parts:
            return None
        with self._product_type():
            return [self._parts.embeddings(batch) for batch in self.batches]

    def apply(self, layer: int, before: list[Tensor] | None, goes_on: bool) -> list[tuple[Tensor, Tensor]]:
        """The layer's hidden states and, behind all that follows on the last layer, the sentence token, of each batch.

        `before`: the hidden states that it is given, by batch; None: those of the embeddings. Where it does not go on,
        the hidden states may be those of the sentence token alone. The tokens are float32.
        """
        # Once for all batches: inside, a layer's weights are converted at their first use alone.
        with self._product_type():
            return [
                self._apply(layer, batch, before[i] if before else None, goes_on)
                for i, batch in enumerate(self.batches)
            ]

    def _product_type(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def _apply(self, layer: int, batch: Batch, before: Tensor | None, goes_on: bool) -> tuple[Tensor, Tensor]:
        if self._quick and self._parts:
            before = self._parts.embeddings(batch) if before is None else before
            quick = self._quick[layer]
            bias = batch_bias(self._parts, batch, before, quick.dtype)
            after = quick_layer(quick, before, bias) if goes_on else first_token(quick.parts, before, bias)
            return after, after[:, 0].float().cpu()
        self._one.layer, self._one.states_before = self._layers[layer], before
        token = self._forward(batch)
        states, self._one.states_after = self._one.states_after, None
        assert states is not None, "the layer was not passed"
        return states, token

    def _in_product_type(self, batch: Batch) -> Tensor:
        with self._product_type():
            return self._through_all(batch)

    def _through_all(self, batch: Batch) -> Tensor:
        """The sentence token behind all layers, one after the other."""
        before: Tensor | None = None
        last = self.stack.depth - 1
        for layer in range(last):
            before, _ = self._apply(layer, batch, before, True)
        return self._apply(last, batch, before, False)[1]

    def _forward(self, batch: Batch) -> Tensor:
        states: Tensor = self._encoder(**model_inputs(self._encoder, batch))[0]
        return states[:, self._sentence_token].float().cpu()
