"""Inference time of a cut model against the whole one: it depends on the depth, not on which layers stay."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from pmb.engine.device import device_name
from pmb.engine.surgery import cut, load_classifier, on_device
from pmb.spec import Latency

SHAPES = ((32, 32), (1, 32))  # (batch, tokens): the first is the speed-up that tables show
PAIRS = 9
WARM_UP = 2


def measure_latency(folder: Path, labels: Sequence[str], depths: Sequence[int], device: torch.device) -> list[Latency]:
    """Time the whole model and one cut to each depth in turn, at each of SHAPES; logits of random tokens."""
    whole = on_device(load_classifier(folder, labels).eval(), device)
    latencies = []
    for depth in depths:
        shallow = on_device(cut(load_classifier(folder, labels), range(depth)).eval(), device)
        latencies += [_measure_shape(whole, shallow, depth, batch, length, device) for batch, length in SHAPES]
    return latencies


@torch.inference_mode()
def _measure_shape(
    whole: PreTrainedModel, shallow: PreTrainedModel, depth: int, batch: int, length: int, device: torch.device
) -> Latency:
    tokens = random_tokens(whole.config.vocab_size, batch, length).to(device)
    mask = torch.ones_like(tokens)

    def once(model: Callable[..., object]) -> None:
        model(input_ids=tokens, attention_mask=mask)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    pairs = in_turn(lambda: once(whole), lambda: once(shallow))
    ratios = [of_whole / of_shallow for of_whole, of_shallow in pairs]
    return Latency(
        depth=depth,
        batch=batch,
        length=length,
        device=device_name(device),
        ratio=statistics.median(ratios),
        low=float(np.quantile(ratios, 0.1)),
        high=float(np.quantile(ratios, 0.9)),
        pairs=PAIRS,
        whole_seconds=statistics.median(pair[0] for pair in pairs),
        cut_seconds=statistics.median(pair[1] for pair in pairs),
    )


def random_tokens(vocabulary: int, batch: int, length: int) -> torch.Tensor:
    """Token ids (batch, length), the same each time; of a usual vocabulary no special ones."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(1000, vocabulary // 2), vocabulary, (batch, length), generator=generator)


def in_turn(one: Callable[[], object], other: Callable[[], object]) -> list[tuple[float, float]]:
    """The seconds of both, PAIRS times in turn after a warm-up."""

    def seconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    for _ in range(WARM_UP):
        seconds(one), seconds(other)
    return [(seconds(one), seconds(other)) for _ in range(PAIRS)]
