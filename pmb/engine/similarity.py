"""How much each layer of the pre-trained model changes the sentence token, every token, and over whole blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pmb.engine.batches import batch_of, encode, sorted_rows
from pmb.engine.examples import Example
from pmb.engine.forward import model_inputs
from pmb.engine.surgery import find_stack, load_encoder, load_tokenizer, on_device
from pmb.errors import BadInput

BATCH = 32
MAX_LENGTH = 128


def layer_similarity(folder: Path, examples: Sequence[Example], device: torch.device) -> tuple[float, ...]:
    """Mean cosine similarity of the sentence token before and after each layer, lowest layer first.

    Sajjad et al. (2020), section 2.3: a layer whose output resembles its input contributes little. The sentence token
    is the first; of a model that wants padding on the left (XLNet) the last.
    """
    found = [
        functional.cosine_similarity(token[:-1], token[1:], dim=-1).double()
        for _, token, _ in _states(folder, examples, device)
    ]
    return tuple(torch.cat(found, dim=1).mean(dim=1).tolist())


def block_measures(
    folder: Path, examples: Sequence[Example], device: torch.device
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """What block influence and angular choose by, as `strategies.kept_layers` takes it.

    Mean cosine similarity of every token before and after each layer; ShortGPT's block influence (Men et al., 2024) is
    1 less that. And for each size of a block the mean angular distance of the sentence token before and after it,
    arccos of the cosine by pi (Gromov et al., 2024).
    """
    similar: list[Tensor] = []
    distances: list[list[Tensor]] = []
    for states, token, there in _states(folder, examples, device):
        similar.append(functional.cosine_similarity(states[:-1], states[1:], dim=-1)[:, there].double())
        cosines = [functional.cosine_similarity(token[:-size], token[size:], dim=-1) for size in range(1, len(token))]
        distances.append([(cosine.double().clamp(-1, 1).arccos() / math.pi) for cosine in cosines])
    by_size = [torch.cat(parts, dim=1).mean(dim=1).tolist() for parts in zip(*distances, strict=True)]
    influence = torch.cat(similar, dim=1).mean(dim=1).tolist()
    return tuple(influence), tuple(map(tuple, by_size[:-1]))  # a block of all layers leaves none


def weight_variance(folder: Path) -> tuple[float, ...]:
    """Variance of all numbers in each layer's weight matrices, lowest layer first.

    Sajjad et al. (2023), section 5.1, rank layers by the variance of their parameters and print the order for three
    models, without a formula: this is one reading, without the biases and norms, which are of another size.
    """
    layers = find_stack(load_encoder(folder)).layers
    matrices = [
        [weight.detach().float().flatten() for weight in layer.parameters() if weight.dim() > 1] for layer in layers
    ]
    return tuple(float(torch.cat(parts).double().var(correction=0)) for parts in matrices)


@torch.inference_mode()
def _states(folder: Path, examples: Sequence[Example], device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batch by batch: the states behind the embeddings and each layer, (layers + 1, rows, tokens, width).

    With the sentence token of each, (layers + 1, rows, width), and where there is a token, (rows, tokens).
    """
    model = on_device(load_encoder(folder), device)
    depth = find_stack(model).depth
    data = encode(load_tokenizer(folder), examples, MAX_LENGTH)
    for rows in sorted_rows(data, BATCH):
        batch = batch_of(data, rows, device)
        found = model(**model_inputs(model, batch), output_hidden_states=True).hidden_states
        if found is None or len(found) != depth + 1:  # CANINE's come from around its layers too
            raise BadInput(
                f"{type(model).__name__} cannot be measured layer by layer: it gives {len(found or ())} hidden states "
                f"for {depth} layers."
            )
        states = torch.stack([state.float() for state in found])
        yield states, states[:, :, -1 if data.pad_left else 0], batch.attention_mask.bool()
