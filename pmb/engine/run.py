"""One run from its spec to its result: load, cut, fine-tune, score; and the two measurements beside it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score
from transformers.utils import logging

from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import find_task
from pmb.engine import assets, batches, data, finetune, latency, similarity, surgery, tokens
from pmb.engine.batches import Encoded
from pmb.engine.device import device_name, machine_name, pick_device, use_threads, versions
from pmb.engine.finetune import Report
from pmb.settings import cores
from pmb.spec import Latency, Progress, RunResult, RunSpec

BYTES_A_MEGABYTE = 1_000_000
BYTES_A_PARAMETER = 4  # float32
WARM_UP_SENTENCES = 8


def run(spec: RunSpec, assets_folder: Path, report: Report) -> RunResult:
    """Fine-tune the cut model and score it on dev; raises PmbError.

    The same spec gives the same result to the last digit on the same kind of CPU.
    """
    start = time.perf_counter()
    report(Progress("loading"))
    model_row, task = find_model(spec.model), find_task(spec.task)
    folder = assets.unpacked(assets_folder, model_row.wheel, model_row.folder)
    train, dev = encoded(spec, folder, assets_folder)
    device = pick_device()
    torch.manual_seed(spec.seed)
    model = surgery.load_classifier(folder, task.labels)
    whole_parameters = surgery.num_parameters(model)
    model = surgery.on_device(surgery.cut(model, spec.kept_layers), device)
    training = finetune.fine_tune(model, train, spec.recipe, spec.seed, device, report)
    steps = finetune.total_steps(len(train), spec.recipe)
    report(Progress("evaluating", steps, steps, training.losses[-1]))
    predictions = finetune.predict(model, dev, device)
    parameters = surgery.num_parameters(model)
    return RunResult(
        metric=task.metric,
        score=float(accuracy_score(dev.labels, predictions)),
        predictions=predictions,
        parameters=parameters,
        whole_model_parameters=whole_parameters,
        megabytes=parameters * BYTES_A_PARAMETER / BYTES_A_MEGABYTE,
        whole_model_megabytes=whole_parameters * BYTES_A_PARAMETER / BYTES_A_MEGABYTE,
        train_seconds=training.seconds,
        total_seconds=time.perf_counter() - start,
        losses=training.losses,
        device=device_name(device),
        machine=machine_name(device),
        versions=versions(),
    )


def encoded(spec: RunSpec, model_folder: Path, assets_folder: Path) -> tuple[Encoded, Encoded]:
    """The tokens of a run's train and dev sentences; raises PmbError."""
    task, recipe = find_task(spec.task), spec.recipe

    def encode() -> dict[str, Encoded]:
        sentences = data.load_task(task, assets_folder)
        tokenizer = surgery.load_tokenizer(model_folder)
        return {
            "train": batches.encode(tokenizer, sentences.train[: recipe.train_sentences], recipe.max_length),
            "dev": batches.encode(tokenizer, sentences.dev, recipe.max_length),
        }

    identity: dict[str, object] = {
        "model": spec.model_revision,
        "task": [spec.task, spec.task_revision],
        "train_sentences": recipe.train_sentences,
        "max_length": recipe.max_length,
    }
    parts = tokens.remembered(assets_folder / "tokens", identity, encode)
    return parts["train"], parts["dev"]


def warm_up(model: str, task: str, assets_folder: Path) -> None:
    """Do what the first training step of a process costs once: modules are imported, threads started, files read.

    Downloads nothing: does nothing where the model is not there.
    """
    row = find_model(model)
    if not assets.is_unpacked(assets_folder, row.wheel):
        return
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    classifier = surgery.cut(surgery.load_classifier(folder, find_task(task).labels), [0])
    sentence = tuple(range(1, 9))
    few = Encoded(token_ids=(sentence,) * WARM_UP_SENTENCES, labels=(0,) * WARM_UP_SENTENCES, pad_token_id=0)
    recipe = replace(RECIPES["quick"], epochs=1)
    finetune.fine_tune(surgery.on_device(classifier, pick_device()), few, recipe, 0, pick_device(), lambda _: None)


def measure_latency(model: str, task: str, depths: Sequence[int], assets_folder: Path) -> list[Latency]:
    """Time the base model cut to each depth beside the whole one, on all cores; raises PmbError."""
    use_threads(cores())
    row = find_model(model)
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    return latency.measure_latency(folder, find_task(task).labels, depths, pick_device())


def measure_similarity(model: str, task: str, num_sentences: int, assets_folder: Path) -> tuple[float, ...]:
    """Contribution scores of the pre-trained model's layers over the first TRAIN sentences; raises PmbError."""
    row = find_model(model)
    folder = assets.unpacked(assets_folder, row.wheel, row.folder)
    sentences = data.load_task(find_task(task), assets_folder).train[:num_sentences]
    return similarity.layer_similarity(folder, sentences, pick_device())


def quieten() -> None:
    """Stop transformers from drawing bars and reports into the child's log, and name what is expected."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*newly initialized.*")
