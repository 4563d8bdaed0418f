"""How much each layer of the pre-trained model changes the sentence token: the paper's layer contribution (2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from pmb.engine.batches import batch_of, encode, sorted_rows
from pmb.engine.data import Example
from pmb.engine.surgery import load_encoder, load_tokenizer, on_device

BATCH = 32
MAX_LENGTH = 128


@torch.inference_mode()
def layer_similarity(folder: Path, sentences: Sequence[Example], device: torch.device) -> tuple[float, ...]:
    """Mean cosine similarity of the first token before and after each layer, lowest layer first.

    Sajjad et al. (2020), section 2.3: a layer whose output resembles its input contributes little.
    """
    model = on_device(load_encoder(folder), device)
    data = encode(load_tokenizer(folder), sentences, MAX_LENGTH)
    total = torch.zeros(model.config.num_hidden_layers, dtype=torch.float64)
    for rows in sorted_rows(data, BATCH):
        batch = batch_of(data, rows, device)
        states = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
        ).hidden_states
        first = torch.stack([state[:, 0] for state in states])
        total += functional.cosine_similarity(first[:-1], first[1:], dim=-1).sum(dim=1).double().cpu()
    return tuple((total / len(data)).tolist())
