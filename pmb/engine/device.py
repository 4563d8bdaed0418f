"""Which device computes, what it is called, and which versions do the work."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
import transformers

import pmb
from pmb.settings import cores


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device as people know it, a CPU with its cores; the same whether a run uses all of them or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {_counted(cores(), 'core')}"


def product_type(device: torch.device) -> torch.dtype:
    """In what training and scoring compute matrix products: bfloat16 where there are instructions for it, else float32.

    Weights, their gradients' sums and the optimizer stay in float32 (Micikevicius et al., 2018).
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # a CPU without these instructions computes bfloat16 more slowly than float32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def machine_name(device: torch.device) -> str:
    """Operating system, architecture, instruction set, threads and product type; no host name: results are shared."""
    parts = [f"{platform.system()} {platform.machine()}", torch.backends.cpu.get_cpu_capability()]
    parts.append(_counted(torch.get_num_threads(), "thread"))
    if product_type(device) == torch.bfloat16:
        parts.append("bfloat16")
    return ", ".join(parts)


def use_threads(count: int) -> None:
    """Compute on so many threads; on fewer where OMP_NUM_THREADS says so."""
    torch.set_num_threads(min(count, int(os.environ.get("OMP_NUM_THREADS") or count)))


def versions() -> dict[str, str]:
    """The versions that may change a result."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "pmb": pmb.__version__,
    }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
