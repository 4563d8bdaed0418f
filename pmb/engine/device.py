"""Which device computes, what it is called, and which versions do the work."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

import pmb
from pmb import machine
from pmb.settings import cores, most_threads
from pmb.spec import Recipe, Report
from pmb.wording import counted

BATCH_BYTES = 2**28  # hidden states of one batch on its way through the layers
CONTEXT_BYTES = 2**30  # CUDA's own, and work space of its libraries
STATES_BYTES = 3 * 2**30  # hidden states that a preview holds, and those of a batch


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def needed_bytes(model: PreTrainedModel, recipe: Recipe) -> int:
    """What fine-tuning this model takes of a GPU's memory, rather too much than too little.

    A parameter is there four times, with its gradient and AdamW's two moments. What a layer keeps for its backward pass
    is twice Korthikanti et al.'s (2022) count, whose numbers have 16 bits. A config that does not tell its width is
    taken for a large model's.
    """
    config = model.config
    width, heads = getattr(config, "hidden_size", 1024), getattr(config, "num_attention_heads", 16)
    tokens = recipe.batch_size * recipe.max_length
    a_layer = tokens * (68 * width + 10 * heads * recipe.max_length)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return 16 * parameters + config.num_hidden_layers * a_layer + CONTEXT_BYTES


def inference_bytes(folder: Path, states: int = STATES_BYTES) -> int:
    """What passing sentences through the model in this folder takes of a GPU's memory, rather too much than too little.

    Its weights may stand there in 16 bits; in the GPU they are there in 32 bits, twice, and in 16 bits.
    """
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return 5 * weights + states + CONTEXT_BYTES


def claim_device(need: int) -> tuple[torch.device, str]:
    """The GPU where it has `need` bytes free, which are taken at once; else the CPU, and why in a sentence.

    A GPU is shared: torch keeps what it was given once, so that nobody else can take it between this question and the
    first training step.
    """
    cpu = torch.device("cpu")
    if not torch.cuda.is_available():
        return cpu, ""
    try:
        torch.cuda.empty_cache()  # what an earlier claim of this process took and nothing holds
        free, _ = torch.cuda.mem_get_info()
        if free >= need:
            leave_default_stream()
            torch.empty(need, dtype=torch.uint8, device="cuda")
            return torch.device("cuda"), ""
        why = f"{machine.gigabytes(free)} GB of the GPU's memory are free and about {machine.gigabytes(need)} needed"
    except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one: somebody was quicker
        why = f"the GPU does not answer ({(str(error).strip().splitlines() or ['no words'])[0]})"
    holders = [machine.holder_words(holder) for gpu in machine.gpus() for holder in gpu.holders]
    return cpu, f"on the CPU: {why}{'; held by ' + ', '.join(holders) if holders else ''}"


def leave_default_stream() -> None:
    """Have this thread compute on a stream of its own from now on; once.

    CUDA records no graph of the default one, and torch gives memory again to the stream that had it alone: what is
    claimed and what computes have to be on the same.
    """
    everybodys = torch.cuda.default_stream()
    if torch.cuda.current_stream() == everybodys:
        stream = torch.cuda.Stream()
        stream.wait_stream(everybodys)
        torch.cuda.set_stream(stream)


def claimed(need: int, report: Report) -> tuple[torch.device, Report]:
    """What `claim_device` gives, and the report that says why where it is not the GPU."""
    device, instead_of_gpu = claim_device(need)
    return device, noted(report, instead_of_gpu)


def noted(report: Report, note: str) -> Report:
    """Say the note with all progress."""
    return (lambda progress: report(replace(progress, note=note))) if note else report


def device_name(device: torch.device) -> str:
    """The device as people know it, a CPU with its cores; the same whether a run uses all of them or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {counted(cores(), 'core')}"


def product_type(device: torch.device) -> torch.dtype:
    """In what training and scoring compute matrix products: bfloat16 where there are instructions for it, else float32.

    Weights, their gradients' sums and the optimizer stay in float32 (Micikevicius et al., 2018).
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # a CPU without these instructions computes bfloat16 more slowly than float32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def machine_name(device: torch.device, instead_of_gpu: str = "") -> str:
    """Operating system, architecture, instruction set, threads and product type; no host name: results are shared.

    `instead_of_gpu`: why it is not the GPU, where there is one.
    """
    parts = [f"{platform.system()} {platform.machine()}", torch.backends.cpu.get_cpu_capability()]
    parts.append(counted(torch.get_num_threads(), "thread"))
    if product_type(device) == torch.bfloat16:
        parts.append("bfloat16")
    if instead_of_gpu:
        parts.append("since the GPU was full")
    return ", ".join(parts)


def use_threads(count: int) -> None:
    """Compute on so many threads; on fewer where OMP_NUM_THREADS says so."""
    torch.set_num_threads(min(count, most_threads() or count))


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
