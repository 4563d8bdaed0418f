"""Training steps as CUDA graphs: a GPU is through with a step's kernels long before Python has launched them.

A graph repeats what it was recorded from, kernel by kernel, at the same addresses; so there is one for each shape of a
batch, and batches are filled up to few shapes. https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pmb.engine.batches import Batch, Encoded
from pmb.engine.shortcut import describe

TOKENS = 8  # batches to be repeated are filled up to a multiple of it

Step = Callable[[Batch], Tensor]
Shape = tuple[int | bool, ...]  # of a batch: sentences, tokens, whether it is padded


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A graph, the batch whose tensors it reads, and the loss that it writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor

    def replay(self, batch: Batch) -> Tensor:
        self.batch.input_ids.copy_(batch.input_ids)
        self.batch.attention_mask.copy_(batch.attention_mask)
        self.batch.labels.copy_(batch.labels)
        if self.batch.token_type_ids is not None and batch.token_type_ids is not None:
            self.batch.token_type_ids.copy_(batch.token_type_ids)
        self.graph.replay()
        return self.loss


class Repeated:
    """A training step that is recorded at the second batch of a shape, and replayed from then on.

    The first batch of a shape is computed as ever: kernels are chosen and loaded, which no recording may do.
    """

    def __init__(self, step: Step) -> None:
        """Take a step that computes, trains and returns the loss, and waits for no number on its way."""
        self._step = step
        self._seen: set[Shape] = set()
        self._recorded: dict[Shape, _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one for all: no two of them are at work at a time
        self._possible = True

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of the batch, on which the step has trained."""
        shape = (*batch.input_ids.shape, batch.is_padded)
        if shape in self._seen and shape not in self._recorded and self._possible:
            self._record(shape, batch)
        self._seen.add(shape)
        recorded = self._recorded.get(shape)
        return recorded.replay(batch) if recorded else self._step(batch)

    def _record(self, shape: Shape, batch: Batch) -> None:
        """Hold the step with this batch, not carried out; where that cannot be, no step is repeated any more."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        generator = torch.cuda.default_generators[stream.device_index]
        before = generator.clone_state()
        try:
            with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
                loss = self._step(batch)
        except Exception as error:  # it waits for a number, or there is no memory for a graph
            print(f"Training steps are not repeated as CUDA graphs: {describe(error)}", file=sys.stderr)
            generator.graphsafe_set_state(before)  # a recording broken off leaves it waiting for the end
            self._possible = False
            self._recorded.clear()
            return
        self._recorded[shape] = _Recorded(graph, batch, loss)


def repeated(step: Step, device: torch.device, need_bytes: int, data: Encoded) -> tuple[Step, tuple[int, ...]]:
    """The step, repeated as graphs where that can be, and how many tokens its batches of these data may have.

    Graphs keep memory of their own, about as much as the step takes without them: `need_bytes`. Shapes, and with them
    the masks that dropout draws, do not depend on whether that is free. No batch is filled up beyond what the data
    have: a model has no place for more tokens than its tokenizer gives.
    """
    if device.type != "cuda":
        return step, ()
    longest = max(map(len, data.token_ids))
    enough = torch.cuda.mem_get_info(device)[0] >= need_bytes
    return (Repeated(step) if enough else step), (*range(TOKENS, longest, TOKENS), longest)
