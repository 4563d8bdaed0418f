"""What is free on this machine, who holds its GPUs, and what a run says when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch

from pmb import machine
from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.engine import device, shortage
from pmb.engine.device import claim_device, needed_bytes
from pmb.engine.run import measure_latency
from pmb.machine import Gpu, Holder
from tests.conftest import TINY
from tests.test_surgery import small_bert

GB = 10**9


@pytest.fixture
def shared_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A GPU of 80 GB of which so many are free; taking memory takes none."""

    def of(free: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free * GB), 80 * GB))
        monkeypatch.setattr(torch, "empty", lambda *size, **more: None)
        monkeypatch.setattr(device, "leave_default_stream", lambda: None)
        held = Gpu("H", int(free * GB), 80 * GB, (Holder(7, "anna", 70 * GB), Holder(8, "", None)))
        monkeypatch.setattr(machine, "gpus", lambda: (held,))

    return of


def test_a_gpu_with_enough_free_memory_is_claimed(shared_gpu: Callable[[float], None]) -> None:
    shared_gpu(10)
    assert claim_device(9 * GB) == (torch.device("cuda"), "")


def test_a_gpu_that_others_hold_is_left_to_them_and_the_run_says_so(shared_gpu: Callable[[float], None]) -> None:
    shared_gpu(1.5)
    claimed, why = claim_device(6 * GB)
    assert claimed == torch.device("cpu")
    assert why == (
        "on the CPU: 1.5 GB of the GPU's memory are free and about 6.0 needed; held by anna (process 7): 70.0 GB, "
        "process 8"
    )


def test_a_gpu_that_somebody_takes_in_between_is_left_to_them(
    shared_gpu: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*size: object, **more: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 6.00 GiB.\nMore words")

    shared_gpu(10)
    monkeypatch.setattr(torch, "empty", taken)
    claimed, why = claim_device(6 * GB)
    assert claimed == torch.device("cpu")
    assert why.startswith("on the CPU: the GPU does not answer (CUDA out of memory. Tried to allocate 6.00 GiB.)")


def test_a_result_says_that_the_gpu_was_full() -> None:
    cpu = torch.device("cpu")
    assert device.machine_name(cpu, "on the CPU: it is full") == f"{device.machine_name(cpu)}, since the GPU was full"


def test_a_depth_is_not_timed_on_the_cpu_where_others_hold_the_gpu(
    shared_gpu: Callable[[float], None], assets_folder: Path
) -> None:
    shared_gpu(0.1)
    for where in ("H", None):
        assert measure_latency(find_model("minilm-l6"), find_task("rotten-tomatoes"), [3], assets_folder, where) == []


def test_without_a_gpu_nothing_is_said_of_it() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert claim_device(10**15) == (torch.device("cpu"), "")
    assert machine.gpus() == ()


def test_what_a_fine_tuning_needs_grows_with_model_batch_and_length() -> None:
    model = small_bert()
    parameters = sum(p.numel() for p in model.parameters())
    need = needed_bytes(model, TINY)
    assert need > 16 * parameters + device.CONTEXT_BYTES
    assert needed_bytes(model, replace(TINY, batch_size=2 * TINY.batch_size)) > need
    assert needed_bytes(model, replace(TINY, max_length=2 * TINY.max_length)) > need


def test_the_driver_tells_who_holds_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    me, nobody = os.getpid(), 2**31 - 1
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "H")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(free=8 * GB, total=80 * GB, used=72 * GB)
    )
    processes = [SimpleNamespace(pid=nobody, usedGpuMemory=None), SimpleNamespace(pid=me, usedGpuMemory=72 * GB)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: processes)
    (gpu,) = machine.gpus()
    user = psutil.Process().username()
    assert gpu == Gpu("H", 8 * GB, 80 * GB, (Holder(me, user, 72 * GB), Holder(nobody, "", None)))
    assert machine.gpu_line(gpu) == (
        f"H: 8.0 of 80.0 GB free, held by {user} (process {me}): 72.0 GB, process {nobody}"
    )


def test_a_containers_limit_counts_where_it_is_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    whole = machine.free_memory()
    assert whole > 0
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    assert machine.free_memory() == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory() > 1000


def test_a_full_gpu_says_how_much_was_free_and_what_to_lower(shared_gpu: Callable[[float], None]) -> None:
    shared_gpu(0.3)
    error = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    said = shortage.shortage(error, TINY)
    assert said == shortage.shortage(RuntimeError("CUDA error: out of memory\nCompile with"), TINY)
    assert said == (
        "The GPU ran out of memory: this run held 0.0 of its 80.0 GB, 0.3 were free; lower the recipe's batch size "
        f"({TINY.batch_size}) or length ({TINY.max_length} tokens), do fewer runs at a time (PMB_JOBS=1) or "
        "close other programs."
    )


def test_full_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    said = shortage.shortage(raised.value, None)
    assert said is not None
    assert "The machine ran out of memory: this run held" in said
    assert "do fewer runs at a time (PMB_JOBS=1) or close other programs." in said
    assert shortage.shortage(MemoryError(), TINY)
    assert shortage.shortage(RuntimeError("shapes do not match"), TINY) is None
