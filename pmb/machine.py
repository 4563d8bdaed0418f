"""What is free on this machine: memory, and the memory of its GPUs with those who hold it. Asks no torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pynvml

CGROUP = Path("/sys/fs/cgroup")
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU."""

    pid: int
    user: str  # empty where the process cannot be seen from here, as from within a container
    held_bytes: int | None  # None where the driver does not tell


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver tells of it."""

    name: str
    free_bytes: int
    total_bytes: int
    holders: tuple[Holder, ...]


def free_memory() -> int:
    """Bytes that a process may still take: the machine's, or what a container's limit leaves of them."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError, KeyError):  # no container, or no limit: "max"
        limit = int((CGROUP / "memory.max").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(stat["inactive_file"])  # files give way
        return max(0, min(free, limit - used))
    return free


def gpus() -> tuple[Gpu, ...]:
    """Every GPU of the machine; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_gpu(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:  # a driver that is half there, as in some containers
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    holders = [Holder(p.pid, _user(p.pid), p.usedGpuMemory) for p in processes]
    holders.sort(key=lambda holder: -(holder.held_bytes or 0))
    return Gpu(str(pynvml.nvmlDeviceGetName(handle)), int(memory.free), int(memory.total), tuple(holders))


def _user(pid: int) -> str:
    try:
        return str(psutil.Process(pid).username())
    except (psutil.Error, KeyError):
        return ""


def gpu_line(gpu: Gpu) -> str:
    """What is free of a GPU and who holds the rest, in words."""
    line = f"{gpu.name}: {gigabytes(gpu.free_bytes)} of {gigabytes(gpu.total_bytes)} GB free"
    return f"{line}, held by {', '.join(map(holder_words, gpu.holders))}" if gpu.holders else line


def holder_words(holder: Holder) -> str:
    """Who holds how much."""
    who = f"{holder.user} (process {holder.pid})" if holder.user else f"process {holder.pid}"
    return who if holder.held_bytes is None else f"{who}: {gigabytes(holder.held_bytes)} GB"


def gigabytes(count: int) -> str:
    """Bytes as gigabytes for people."""
    return f"{count / GIGABYTE:.1f}"
