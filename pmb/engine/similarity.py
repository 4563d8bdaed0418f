"""How much each layer of the pre-trained model changes the sentence token: the paper's layer contribution (2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from pmb.engine.batches import batch_of, encode, sorted_rows
from pmb.engine.examples import Example
from pmb.engine.forward import model_inputs
from pmb.engine.surgery import find_stack, load_encoder, load_tokenizer, on_device

BATCH = 32
MAX_LENGTH = 128


@torch.inference_mode()
def layer_similarity(folder: Path, examples: Sequence[Example], device: torch.device) -> tuple[float, ...]:
    """Mean cosine similarity of the sentence token before and after each layer, lowest layer first.

    Sajjad et al. (2020), section 2.3: a layer whose output resembles its input contributes little. The sentence token
    is the first; of a model that wants padding on the left (XLNet) the last.
    """
    model = on_device(load_encoder(folder), device)
    depth = find_stack(model).depth
    data = encode(load_tokenizer(folder), examples, MAX_LENGTH)
    total = torch.zeros(depth, dtype=torch.float64)
    for rows in sorted_rows(data, BATCH):
        states = model(**model_inputs(model, batch_of(data, rows, device)), output_hidden_states=True).hidden_states
        assert len(states) == depth + 1, f"{len(states)} hidden states of {depth} layers"
        token = torch.stack([state[:, -1 if data.pad_left else 0].float() for state in states])
        total += functional.cosine_similarity(token[:-1], token[1:], dim=-1).sum(dim=1).double().cpu()
    return tuple((total / len(data)).tolist())
