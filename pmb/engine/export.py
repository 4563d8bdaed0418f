"""A finished run's model as a folder that plain transformers opens: weights, tokenizer and a config of the true depth.

Weights are not kept when a run ends. So the run is made again, with the same key, and its weights are kept in the cache
from then on. What goes into a user's folder is a copy of that, with ONNX files where they are asked for.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.engine import run, surgery
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.forward import evaluated, plain_forward, same_logits
from pmb.errors import PmbError
from pmb.files import PART, move_whole
from pmb.spec import Exported, Made, Progress, Report, RunSpec
from pmb.strict import parse

MADE = "made.json"  # in the cache: what the weights answered
CHECKED = 32  # dev examples by which a folder shows that it is the model


def export(
    spec: RunSpec,
    model_row: BaseModel,
    task: Task,
    assets_folder: Path,
    weights: Path,
    folder: Path,
    onnx: bool,
    int8: bool,
    report: Report,
) -> Exported:
    """Write the run's model into `folder`, a new one; raises PmbError and may leave part of it.

    `weights`: where the run's weights are kept, or will be.
    """
    if not (weights / MADE).is_file():
        keep(spec, model_row, task, assets_folder, weights, report)
    os.utime(weights / MADE)  # the cache deletes what was longest of no use
    made = Made.from_dict(parse((weights / MADE).read_bytes(), str(weights / MADE)))
    report(Progress("writing"))
    with _space_told(folder):
        folder.mkdir()
        for path in sorted(weights.iterdir()):
            if path.name != MADE:
                shutil.copyfile(path, folder / path.name)
        if not onnx:
            return Exported(made, ())
        from pmb.engine import onnx_files  # optional packages, and seconds

        data = run.encoded(spec, task, run.model_folder(model_row, assets_folder), assets_folder, report)["dev"]
        return Exported(made, onnx_files.write(folder, data, task.metric, int8, report))


def keep(spec: RunSpec, model_row: BaseModel, task: Task, assets_folder: Path, weights: Path, report: Report) -> None:
    """Make the run again and keep its weights, whole or not at all; raises PmbError."""
    model, result = run.fine_tuned(spec, model_row, task, assets_folder, report)
    base = run.model_folder(model_row, assets_folder)
    dev = run.encoded(spec, task, base, assets_folder, report)["dev"]
    made = Made(result.score, result.predictions, result.device, result.machine, result.versions)
    weights.parent.mkdir(parents=True, exist_ok=True)
    beside = weights.with_name(f"{weights.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        with _space_told(beside):
            save(model, surgery.load_tokenizer(base), task, spec.recipe.max_length, beside)
            check_opens(beside, model, dev)
            (beside / MADE).write_text(json.dumps(asdict(made)), encoding="utf-8")
            move_whole(beside, weights)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int, folder: Path) -> None:
    """Write what `from_pretrained` and `pipeline` need; the model moves to the CPU. Raises OSError, SafetensorError."""
    surgery.on_device(model.eval(), torch.device("cpu"))
    model.config.problem_type = "single_label_classification" if task.labels else "regression"
    vars(model.config).pop("auto_map", None)  # code beside the base model, which nobody needs and which is not here
    model.save_pretrained(folder)
    # The tokenizers library alone reads these from the file, where sentence encoders leave "always 128 tokens".
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_padding()
        backend.enable_truncation(max_length)
    for name in ("auto_map", "is_local", "local_files_only"):  # how it was opened here
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)


def check_opens(folder: Path, model: PreTrainedModel, data: Encoded) -> None:
    """Raise PmbError unless transformers opens the folder as this model."""
    again = surgery.open_classifier(folder)
    batch = batch_of(data, range(min(CHECKED, len(data))), torch.device("cpu"))
    if not same_logits(*(evaluated(one, plain_forward(one), batch) for one in (again, model))):
        raise PmbError(
            f"{type(model).__name__} cannot be exported: opened again from its files, it answers something else."
        )


@contextmanager
def _space_told(folder: Path) -> Iterator[None]:
    """A write that fails is one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise PmbError(f"The model cannot be written into {folder.parent}: {why.rstrip('.')}.") from error
