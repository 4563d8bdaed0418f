"""Peak memory: of the training alone, whatever the process held before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pmb.engine import memory
from pmb.settings import REPOSITORY
from pmb.spec import RunResult
from tests.conftest import result

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MEGABYTE = 1_000_000


def hold(megabytes: int) -> None:
    """Take so much in small pieces, which malloc keeps, and let it go."""
    pieces = [b"x" * 50_000 for _ in range(20 * megabytes)]
    assert len(pieces) == 20 * megabytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process begin its peak anew")
@pytest.mark.slow
def test_what_was_held_before_does_not_count() -> None:
    """In a process of its own: what other tests left free would hide what is held anew."""
    code = "import tests.test_memory as here; here.check_what_was_held_before()"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def check_what_was_held_before() -> None:
    hold(400)
    before = memory.forget_peak(CPU)
    hold(100)
    peak = memory.peak_megabytes(CPU, before)
    assert peak is not None
    assert 90 < peak - before < 200
    assert memory.held_megabytes(CPU) < peak - 50


def test_a_peak_that_an_earlier_one_hides_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LINUX", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "clear_refs").mkdir()  # cannot be written
    status = tmp_path / "status"
    status.write_text("VmPeak:\t  9000000 kB\nVmHWM:\t  500000 kB\n")
    before = memory.forget_peak(CPU)
    assert before == 512.0
    assert memory.peak_megabytes(CPU, before) is None
    status.write_text("VmPeak:\t  9000000 kB\nVmHWM:\t  750000 kB\n")
    assert memory.peak_megabytes(CPU, before) == 768.0


def test_on_a_gpu_it_is_what_tensors_held_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: asked.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1234 * MEGABYTE)
    assert memory.held_megabytes(GPU) == 0.0
    before = memory.forget_peak(GPU)
    assert asked == ["reset"]
    assert memory.peak_megabytes(GPU, before) == 1234.0


def test_a_result_of_before_memory_was_measured_can_be_read() -> None:
    from dataclasses import asdict

    values = asdict(result())
    assert RunResult.from_dict(values) == result()
    del values["peak_megabytes"], values["idle_megabytes"]
    assert RunResult.from_dict(values) == result()
