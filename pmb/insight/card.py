"""The model card of an export: what it is, how well it does, and how it is made again. Text of users is text in it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import is_current
from pmb.catalog.tasks import Task
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.spec import OnnxFile, Recipe

LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit"}  # as the Hub writes them
MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#!|~$&])")
OPENING = re.compile(r"^(\d*)([-+=.)])")  # of a list or a rule
READ = re.compile(r"(?<=www)(?=\.)|(?=://)|(?=@)", re.IGNORECASE)  # what a reader of Markdown makes a link of
JOINER = "\N{WORD JOINER}"  # not seen


@dataclass(frozen=True, slots=True)
class Subject:
    """What a card is about. `values`: as `run --json` prints them; `row`: the run's row of the store."""

    model: BaseModel
    task: Task
    recipe: Recipe
    values: Mapping[str, Any]
    row: Mapping[str, Any]
    command: str  # that makes it again
    again: str  # a sentence on how the weights came about


def model_card(subject: Subject, onnx: Sequence[OnnxFile]) -> str:
    """The card as Markdown with the header that the Hub reads."""
    model, task, values = subject.model, subject.task, subject.values
    kept, dropped = values["kept_layers"], values["dropped_layers"]
    title = f"{model.title}, {len(kept)} of {len(kept) + len(dropped)} layers, fine-tuned on {task.title}"
    parts = [
        _header(model, task),
        f"# {text(title)}",
        _what(subject),
        f"```python\n{_usage(task, subject.recipe.max_length)}\n```",
        "## Results",
        _table(_results(subject)),
        text(subject.again),
        *(["## ONNX", _onnx(onnx, task.metric)] if onnx else []),
        "## How it was made",
        _table(_making(subject)),
        _command_words(subject),
        fenced(subject.command),
        "The layers that were dropped, as the code of the paper *Poor Man's BERT* takes them:",
        fenced(remove_layers(dropped)),
    ]
    return "\n\n".join(parts) + "\n"


def remove_layers(dropped: Sequence[int]) -> str:
    """The option of the paper's `run_glue.py` that drops these layers, counted from 0."""
    return f"--remove_layers {','.join(map(str, dropped))}" if dropped else "(the whole model: no --remove_layers)"


def text(given: str) -> str:
    """A text in which nothing is Markdown or HTML, on one line."""
    line = "".join(" " if unicodedata.category(c).startswith("C") else c for c in " ".join(given.split()))
    return OPENING.sub(r"\1\\\2", READ.sub(JOINER, MARKDOWN.sub(r"\\\1", line)))


def fenced(given: str) -> str:
    """A block of code with a fence that its own backticks do not end."""
    longest = max((len(run) for run in re.findall("`+", given)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{given}\n{fence}"


def _command_words(subject: Subject) -> str:
    if is_current(subject.recipe, subject.model, subject.task):
        return "This command makes the model again:"
    return "This command made the model. The recipe has other values now; the table above has those of this model."


def _header(model: BaseModel, task: Task) -> str:
    """YAML, each value as JSON, which is YAML too."""
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "license": LICENCES.get(model.licence, "unknown"),
        "tags": ["layer-dropping", model.architecture],
        "metrics": [task.metric],
    }
    values |= {"base_model": model.hub} if model.hub else {}
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _what(subject: Subject) -> str:
    kept, dropped = subject.values["kept_layers"], subject.values["dropped_layers"]
    gone = f"layers {_numbers(dropped)} were dropped" if dropped else "no layer was dropped"
    return (
        f"{text(subject.model.title)}, of which {gone} and layers {_numbers(kept)} kept (counted from 0, the lowest), "
        f"fine-tuned on {text(subject.task.title)}: {text(subject.task.about)} It opens with plain transformers:"
    )


def _usage(task: Task, max_length: int) -> str:
    given = '{"text": "…", "text_pair": "…"}' if task.pair else '"…"'
    return (
        'from transformers import pipeline\n\nclassify = pipeline("text-classification", model="path/to/this/folder")\n'
        f"classify({given}, truncation=True, max_length={max_length})"
    )


def _results(subject: Subject) -> list[tuple[str, str]]:
    values, row = subject.values, subject.row
    low, high = values["score_interval"]
    whole = values["whole_model_score"]
    metric = values["metric"]
    rows = [
        (sentence_case(metric_of(metric).name), f"{shown(metric, values['score'])} (95 % interval {_ends(low, high)})"),
        ("Whole model, same recipe and seed", shown(metric, whole) if whole is not None else "not measured"),
        *((sentence_case(one["metric"]), shown(one["metric"], one["value"])) for one in (values["scores"] or [])[1:]),
        ("Dev examples", f"{row['num_dev']:,}"),
        ("Parameters", f"{values['parameters']:,} of {values['whole_model_parameters']:,}"),
    ]
    if speed := values["speedup"]:
        shape = f"batch {speed['batch']} of {speed['length']} tokens, {text(speed['device'])}"
        rows.append(
            ("Speed-up", f"{speed['ratio']:.2f} times ({speed['low']:.2f} to {speed['high']:.2f}; {shape}, PyTorch)")
        )
    return rows


def _making(subject: Subject) -> list[tuple[str, str]]:
    model, task, row = subject.model, subject.task, subject.row
    recipe = subject.recipe
    licence = text(model.licence) if model.licence in LICENCES else "unknown: see the base model"
    sentences = "all" if recipe.train_sentences is None else f"at most {recipe.train_sentences:,}"
    values = (
        f"{text(recipe.name)}: {sentences} train examples, {recipe.epochs} epochs, learning rate "
        f"{recipe.learning_rate:g}, batch {recipe.batch_size}, warm-up {recipe.warmup_fraction:g}, weight decay "
        f"{recipe.weight_decay:g}, gradient norm {recipe.max_grad_norm:g}, {recipe.max_length} tokens, dropout "
        f"{recipe.dropout:g}{', class weights' if recipe.class_weights else ''}"
    )
    return [
        ("Base model", f"{text(model.hub or model.id)}, revision {text(row['model_revision'])}"),
        ("Licence of the base model", licence),
        ("Task", f"{text(task.id)}, revision {text(row['task_revision'])}"),
        ("Licence of the data", text(task.licence)),
        ("Dropped by", text(", ".join(subject.values["strategy"]) or "a choice of one's own")),
        ("Recipe", values),
        ("Procedure", text(row["procedure"])),
        ("Seed", str(row["seed"])),
        ("Measured on", text(f"{row['device']}, {row['machine']}")),
        ("Versions", text(", ".join(f"{name} {version}" for name, version in row["versions"].items()))),
        ("Run", row["key"]),
    ]


def _onnx(files: Sequence[OnnxFile], metric: str) -> str:
    rows = []
    for one in files:
        times = "; ".join(
            f"batch {time.batch}: {1000 * time.seconds:.1f} ms, PyTorch {1000 * time.torch_seconds:.1f} ms "
            f"({time.ratio:.2f} times as quick, {time.low:.2f} to {time.high:.2f})"
            for time in one.timings
        )
        same = (
            f"on {one.sentences:,} dev examples {one.changed:,} answers differ, {metric_of(metric).name} "
            f"{shown(metric, one.score)}, PyTorch {shown(metric, one.torch_score)} "
            f"({100 * (one.score - one.torch_score):+.1f} points); "
            f"logits differ by at most {one.logit_difference:.2g}"
        )
        rows.append((f"`{one.file}`", f"{one.megabytes:.0f} MB; {same}; {times}"))
    where = text(files[0].device)
    return f"{_table(rows)}\n\nTimed in turn with PyTorch in float32 on {where}, {files[0].timings[0].length} tokens."


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _numbers(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


def _ends(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"
