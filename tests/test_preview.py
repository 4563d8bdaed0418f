"""What every cut holds before fine-tuning: the same as in the model that is really cut, of every architecture."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from pmb.engine.batches import batch_of
from pmb.engine.forward import model_inputs
from pmb.engine.preview import Cut, walk
from pmb.engine.surgery import cut, find_stack
from pmb.strategies import misplaced
from tests.architectures import ARCHITECTURES, DEPTH, Architecture
from tests.test_probe import CPU, sentences

EVERY_CUT: list[Cut] = [kept for depth in range(1, DEPTH + 1) for kept in combinations(range(DEPTH), depth)]


def possible(architecture: Architecture) -> list[Cut]:
    stack = find_stack(architecture.build())
    if stack.shared:
        return [tuple(range(depth)) for depth in range(1, DEPTH + 1)]
    return [kept for kept in EVERY_CUT if not misplaced(stack.kinds, kept)]


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_the_tree_gives_the_sentence_token_of_every_cut_model(architecture: Architecture) -> None:
    data, cuts = sentences(architecture, 8), possible(architecture)
    found = dict(walk(architecture.build(), data, cuts[::-1], CPU, torch.float32))
    assert sorted(found) == sorted(cuts)
    batch = batch_of(data, range(8), CPU)
    where = -1 if data.pad_left else 0
    for kept, tokens in found.items():
        encoder: Any = cut(architecture.build(), kept).base_model
        expected = encoder(**model_inputs(encoder, batch)).last_hidden_state[:, where]
        assert np.allclose(tokens, expected.numpy(), atol=1e-4), kept
