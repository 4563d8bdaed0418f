"""ONNX files of an exported folder, and how they compare with PyTorch: logits, answers, time.

The export is transformers' own (transformers.exporters, by torch.export), which knows what its architectures need.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.exporters.configs import ExportFormat, OnnxConfig
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.quantizers.quantizer_onnxruntime import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

from pmb import scoring
from pmb.engine import surgery
from pmb.engine.batches import Batch, Encoded, batch_of
from pmb.engine.device import device_name
from pmb.engine.forward import model_inputs
from pmb.engine.latency import SHAPES, in_turn, random_tokens
from pmb.errors import PmbError
from pmb.spec import OnnxFile, Progress, Report, Timing

FILES = ("onnx/model.onnx", "onnx/model_quantized.onnx")  # where programs that read ONNX of the Hub look for them
SENTENCES = 200  # whose logits have to agree
TOLERANCE = 1e-3  # of logits
INT8_SENTENCES = 1000  # a share of answers needs more of them
BATCH = 32
ONE_FILE_BYTES = 2_000_000_000  # a protobuf is smaller; weights of larger models stand beside the graph
CPU = torch.device("cpu")

Logits = NDArray[np.float32]


def write(folder: Path, data: Encoded, metric: str, int8: bool, report: Report) -> tuple[OnnxFile, ...]:
    """Write and measure them, by the dev examples; raises PmbError where the logits are not PyTorch's."""
    model = surgery.open_classifier(folder)
    report(Progress("writing ONNX"))
    program = convert(model, data)
    count = min(INT8_SENTENCES if int8 else SENTENCES, len(data))
    by_torch = logits(lambda batch: model(**model_inputs(model, batch)).logits.numpy(), data, count)
    found = []
    for path, quantized in zip(FILES, (False, True)[: 1 + int8], strict=False):
        if quantized:
            report(Progress("writing int8"))
            program = quantize(program)
        (folder / path).parent.mkdir(exist_ok=True)
        save(program, folder / path)
        report(Progress("comparing with PyTorch"))
        session = open_session(folder / path)
        by_file = logits(session, data, count if quantized else min(SENTENCES, count))
        one = _compared(path, by_file, by_torch[: len(by_file)], data, metric)
        if not quantized and one.logit_difference > TOLERANCE:
            raise PmbError(
                f"The ONNX file is not the model: its logits differ by up to {one.logit_difference:.2g} on "
                f"{one.sentences} dev sentences, and at most {TOLERANCE} is allowed."
            )
        files = (folder / path).parent.glob(f"{Path(path).name}*")
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        found.append(replace(one, megabytes=megabytes, timings=timed(model, session)))
    return tuple(found)


def convert(model: PreTrainedModel, data: Encoded) -> onnx_ir.Model:
    """The model as a graph for any number of sentences and tokens, with the inputs that the data have."""
    rows = sorted(range(len(data)), key=lambda row: len(data.token_ids[row]))
    sample: Any = model_inputs(model, batch_of(data, [rows[0], rows[-1]], CPU))  # two, of unlike lengths
    exported: Any = OnnxExporter().export(model, sample, config=OnnxConfig(dynamic=True))
    graph: onnx_ir.Model = exported.program
    return graph


def quantize(program: onnx_ir.Model) -> onnx_ir.Model:
    """Weights as int8, activations when it runs. 7 bits of 8: CPUs without VNNI sum products in 16 bits."""
    how = OnnxRuntimeDynamicConfig(per_channel=True, reduce_range=True)
    smaller: onnx_ir.Model = OnnxRuntimeQuantizer(how).quantize(program, {}, ExportFormat.ONNX)
    return smaller


def save(program: onnx_ir.Model, path: Path) -> None:
    """Write one file, or for a large model two."""
    size = sum(value.const_value.nbytes for value in program.graph.initializers.values() if value.const_value)
    onnx_ir.save(program, path, external_data=f"{path.name}.data" if size > ONE_FILE_BYTES else None)


def open_session(path: Path) -> Callable[[Batch], Logits]:
    """From a batch to logits by ONNX Runtime, on as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}

    def run(batch: Batch) -> Logits:
        tensors = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        types = torch.zeros_like(batch.input_ids) if batch.token_type_ids is None else batch.token_type_ids
        tensors |= {"token_type_ids": types}
        found: Logits = session.run(["logits"], {name: tensors[name].numpy() for name in names})[0]
        return found

    return run


@torch.inference_mode()
def logits(forward: Callable[[Batch], Logits], data: Encoded, count: int) -> Logits:
    """Those of the first so many examples, (examples, labels)."""
    parts = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    return np.concatenate([forward(batch_of(data, rows, CPU)) for rows in parts])


def timed(model: PreTrainedModel, session: Callable[[Batch], Logits]) -> tuple[Timing, ...]:
    """PyTorch's float32 and the file in turn, at the shapes at which the lab times cuts."""
    return tuple(_timing(model, session, batch, length) for batch, length in SHAPES)


@torch.inference_mode()
def _timing(model: PreTrainedModel, session: Callable[[Batch], Logits], batch: int, length: int) -> Timing:
    tokens = random_tokens(model.config.vocab_size, batch, length)
    given = Batch(tokens, torch.ones_like(tokens), None, torch.zeros(batch), tuple(range(batch)), False)
    pairs = in_turn(lambda: model(**model_inputs(model, given)), lambda: session(given))
    ratios = [by_torch / by_file for by_torch, by_file in pairs]
    return Timing(
        batch=batch,
        length=length,
        ratio=statistics.median(ratios),
        low=float(np.quantile(ratios, 0.1)),
        high=float(np.quantile(ratios, 0.9)),
        torch_seconds=statistics.median(pair[0] for pair in pairs),
        seconds=statistics.median(pair[1] for pair in pairs),
    )


def _compared(path: str, by_file: Logits, by_torch: Logits, data: Encoded, metric: str) -> OnnxFile:
    labels = data.labels[: len(by_file)]
    regression = isinstance(labels[0], float)
    answers, others = (_answers(found, regression) for found in (by_file, by_torch))
    return OnnxFile(
        file=path,
        megabytes=0.0,
        sentences=len(by_file),
        logit_difference=float(np.abs(by_file - by_torch).max()),
        score=scoring.score(metric, labels, answers).value,
        torch_score=scoring.score(metric, labels, others).value,
        changed=sum(abs(one - other) > TOLERANCE for one, other in zip(answers, others, strict=True)),
        device=device_name(CPU),
        timings=(),
    )


def _answers(found: Logits, regression: bool) -> Sequence[int | float]:
    answers: list[int | float] = (found.squeeze(-1) if regression else found.argmax(-1)).tolist()
    return answers
