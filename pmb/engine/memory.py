"""The most memory that a training takes: forget what was before it, read what it came to."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

import psutil
import torch

from pmb.engine.data import BYTES_A_MEGABYTE

LINUX = Path("/proc/self")


def held_megabytes(device: torch.device) -> float:
    """What is held now: on a CPU by the whole process, on a GPU by tensors in its memory."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / BYTES_A_MEGABYTE
    _give_back_freed()
    return psutil.Process().memory_info().rss / BYTES_A_MEGABYTE


def forget_peak(device: torch.device) -> float:
    """Have the peak begin anew; returns where it stands then, in megabytes.

    Only Linux lets a process begin its peak anew; elsewhere it stays where it was.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0.0
    _give_back_freed()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox without it: as on other systems
            (LINUX / "clear_refs").write_text("5")
    return _process_peak()


def peak_megabytes(device: torch.device, before: float) -> float | None:
    """The peak since `forget_peak`, which returned `before`; None where it is hidden under a higher one of earlier.

    On a CPU all that the process held of main memory, Python and torch included; on a GPU what tensors held of its
    memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / BYTES_A_MEGABYTE
    peak = _process_peak()
    return peak if peak > before else None


def _give_back_freed() -> None:
    """Have malloc give back what it kept of freed memory: what another model left behind is not this one's."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # musl has no malloc_trim, and keeps less
            ctypes.CDLL(None).malloc_trim(0)


def _process_peak() -> float:
    """The highest resident set of this process, in megabytes."""
    if sys.platform == "linux":  # getrusage would count the parent's, from before the child became a program of its own
        lines = (LINUX / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / BYTES_A_MEGABYTE
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / BYTES_A_MEGABYTE
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / BYTES_A_MEGABYTE
