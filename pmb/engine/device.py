"""Which device computes, what it is called, and which versions do the work."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import transformers

import pmb


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device as people know it, with the threads that a CPU computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'' if threads == 1 else 's'}"


def machine_name() -> str:
    """Operating system, architecture and instruction set; no host name, since results are shared."""
    return f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def versions() -> dict[str, str]:
    """The versions that may change a result."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "pmb": pmb.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
