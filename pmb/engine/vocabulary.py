"""Training on the part of the vocabulary that occurs: exact, and most of a small model is its vocabulary.

A row that never occurs gets no gradient, and without weight decay AdamW leaves it as it is; so the rows that do occur
are trained in a small table of their own and written back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from pmb.engine.batches import Encoded


@contextmanager
def compacted(model: PreTrainedModel, data: Encoded) -> Iterator[Encoded]:
    """Give the model an embedding table of the data's tokens alone, and the data renumbered to fit it.

    At the end the trained rows stand in the whole table again. Raises TypeError where the table is of another kind.
    """
    whole = model.get_input_embeddings()
    if not isinstance(whole, nn.Embedding):
        raise TypeError(f"the embedding table is a {type(whole).__name__}, not an Embedding")
    used = sorted(set().union(*data.token_ids) - {data.pad_token_id})
    # The padding keeps its number where it can: RoBERTa and MPNet count positions from the tokens that are not it.
    used.insert(min(data.pad_token_id, len(used)), data.pad_token_id)
    new_id = {old: new for new, old in enumerate(used)}
    padding = None if whole.padding_idx is None else new_id.get(whole.padding_idx)
    small = nn.Embedding(len(used), whole.embedding_dim, padding_idx=padding, _weight=whole.weight[used].detach())
    model.set_input_embeddings(small)
    try:
        yield replace(
            data,
            token_ids=tuple(tuple(new_id[token] for token in ids) for ids in data.token_ids),
            pad_token_id=new_id[data.pad_token_id],
        )
    finally:
        with torch.no_grad():
            whole.weight[used] = small.weight
        model.set_input_embeddings(whole)
