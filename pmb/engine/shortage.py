"""Says in words that memory ran out, how much there was, and what to lower."""

from __future__ import annotations

import psutil
import torch

from pmb.machine import free_memory, gigabytes
from pmb.spec import Recipe

# How torch, its libraries and the C++ runtime say that the system gives no more memory.
WORDS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "could not create a memory",
    "bad_alloc",
)
# How CUDA and its libraries say that a GPU gives no more, where torch's own allocator is not the one that asked.
GPU_WORDS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")


def is_shortage(error: BaseException) -> bool:
    """Whether the error means that the GPU's or the machine's memory ran out."""
    return _of_gpu(error) or isinstance(error, MemoryError) or any(word in str(error) for word in WORDS)


def _of_gpu(error: BaseException) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in str(error) for word in GPU_WORDS)


def shortage(error: BaseException, recipe: Recipe | None) -> str | None:
    """The sentence for a user where the error means that memory ran out; else None."""
    if _of_gpu(error):
        free, total = torch.cuda.mem_get_info()
        held = torch.cuda.memory_reserved()
        return (
            f"The GPU ran out of memory: this run held {gigabytes(held)} of its {gigabytes(total)} GB, "
            f"{gigabytes(free)} were free; {_advice(recipe)}."
        )
    if is_shortage(error):
        held = psutil.Process().memory_info().rss
        return (
            f"The machine ran out of memory: this run held {gigabytes(held)} GB, {gigabytes(free_memory())} were free "
            f"for it; {_advice(recipe)}."
        )
    return None


def _advice(recipe: Recipe | None) -> str:
    fewer = "do fewer runs at a time (PMB_JOBS=1) or close other programs"
    if recipe is None:
        return fewer
    return f"lower the recipe's batch size ({recipe.batch_size}) or length ({recipe.max_length} tokens), {fewer}"
