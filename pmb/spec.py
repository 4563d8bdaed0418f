"""The vocabulary that crosses process borders: what a run is asked to do and what it answers. All of it is JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self

from pmb.errors import BadInput, unknown_name
from pmb.strategies import check_kept_layers
from pmb.strict import read_as

SCHEMA = 1  # raise it when the same spec would give another score


@dataclass(frozen=True)
class Recipe:
    """Everything about a fine-tuning that is not the model, the task, the kept layers or the seed.

    `name` is a label: two recipes with equal `values` are the same recipe.
    """

    name: str
    train_sentences: int | None  # at most this many of the task's train items; None: all of them
    epochs: int
    learning_rate: float
    batch_size: int
    warmup_fraction: float  # of all steps, linear; a linear decay to 0 follows
    weight_decay: float
    max_grad_norm: float
    max_length: int  # tokens
    dropout: float  # of hidden states and attention, in training
    train_sample: Literal["first", "seed"] = "first"  # which train items: the file's first, or a sample for each seed
    class_weights: bool = False  # weigh each class by the inverse of its frequency in the train items

    @property
    def values(self) -> dict[str, Any]:
        """Everything but the name. Settings that are newer than the first stored runs appear only when they are used.

        So a recipe from before there were such settings has the values, and its runs the keys, that it had then.
        """
        values = asdict(self)
        del values["name"]
        for field in fields(self):
            if field.default is not MISSING and values[field.name] == field.default:
                del values[field.name]
        return values

    def sample(self, train_examples: int | None, seed: int) -> str:
        """Which of a task's train items a run takes: "all", "first", or those that its seed draws, such as "seed 2"."""
        if self.train_sentences is None or self.train_sentences == train_examples:
            return "all"
        return f"seed {seed}" if self.train_sample == "seed" else "first"

    def is_stored_as(self, recipe_values: Mapping[str, Any]) -> bool:
        """Whether a stored recipe has these `values`, whatever its name is."""
        return {name: value for name, value in recipe_values.items() if name != "name"} == self.values

    def to_dict(self) -> dict[str, Any]:
        """The recipe as it is stored: its name and its `values`."""
        return {"name": self.name, **self.values}


PROCEDURES = ("cut-tune", "tune-cut-tune")  # the paper's default; and its "fine-tune, drop, fine-tune again"


@dataclass(frozen=True)
class RunSpec:
    """One fine-tuning of one kept-layer tuple with one seed."""

    model: str
    model_revision: str
    task: str
    task_revision: str
    num_hidden_layers: int  # of the base model
    kept_layers: tuple[int, ...]
    recipe: Recipe
    seed: int
    procedure: str = PROCEDURES[0]

    def __post_init__(self) -> None:
        check_kept_layers(self.kept_layers, self.num_hidden_layers)
        if self.procedure not in PROCEDURES:
            raise unknown_name("procedure", self.procedure, PROCEDURES)
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"Seed {self.seed} is not allowed: from 0 to {2**31 - 1}.")

    @cached_property
    def key(self) -> str:
        """The run key: SHA-256 (hex) of the canonical JSON of the spec and the schema number.

        A recipe's name is a label and does not count; its values do. The usual procedure is left out, so that the
        keys are those of before there was another.
        """
        content = self.to_dict() | {"schema": SCHEMA}
        if self.procedure == PROCEDURES[0]:
            del content["procedure"]
        content["recipe"] = self.recipe.values
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def dropped_layers(self) -> tuple[int, ...]:
        """The layers of the base model that are not kept."""
        return tuple(i for i in range(self.num_hidden_layers) if i not in self.kept_layers)

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-able values."""
        return asdict(self) | {"kept_layers": list(self.kept_layers), "recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; raises BadInput where a value is missing, unknown or of another type."""
        return read_as(cls, values, "What a run is asked to do")


@dataclass(frozen=True)
class Latency:
    """Inference of a cut model beside the whole one, timed in turn; ratios are whole / cut."""

    depth: int
    batch: int
    length: int  # tokens
    device: str
    ratio: float  # median of the pairs
    low: float  # 10th percentile of the pairs
    high: float  # 90th percentile of the pairs
    pairs: int
    whole_seconds: float
    cut_seconds: float


@dataclass(frozen=True)
class Score:
    """A metric on dev examples with its 95 % interval over them."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LengthCounts:
    """How many of a task's items there are of each length in tokens: pairs of both, the shortest first."""

    train: tuple[tuple[int, int], ...]
    dev: tuple[tuple[int, int], ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "How long the items are")


@dataclass(frozen=True)
class RunResult:
    """What a finished run measured."""

    metric: str  # the task's first
    score: float  # on the dev examples; shares and correlations, at most 1
    scores: tuple[Score, ...]  # all metrics of the task, the first of them `metric`
    predictions: tuple[int | float, ...]  # a label or a number for each dev example, in the task's order
    parameters: int
    whole_model_parameters: int
    megabytes: float  # of the float32 weights
    whole_model_megabytes: float
    train_seconds: float  # first to last training step
    total_seconds: float  # from the spec's arrival to this result
    losses: tuple[float, ...]  # mean training loss of each epoch
    fast: bool  # whether by the lab's quicker forward pass; else by transformers' own
    device: str
    machine: str
    versions: dict[str, str]
    peak_megabytes: float | None = None  # the most held while the cut was fine-tuned; None: the system hides it
    idle_megabytes: float | None = None  # memory held before a model was loaded

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote, with fields of a later version or without those of memory.

        Raises BadInput.
        """
        return read_as(cls, values, "A run's result", more=True)


@dataclass(frozen=True)
class LayerProbe:
    """What was measured on the layers of a whole model fine-tuned once; the embeddings first, then layer by layer."""

    metric: str  # the task's first
    score: Score  # of the fine-tuned model itself
    similarity: tuple[float, ...]  # cosine of the sentence token in the pre-trained and the fine-tuned model
    tuned: tuple[Score, ...]  # of a linear classifier on the fine-tuned model's sentence token
    pretrained: tuple[Score, ...]  # of one on the pre-trained model's
    num_train: int  # examples that the classifiers were fitted on
    num_dev: int
    device: str
    machine: str
    versions: dict[str, str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "A measurement of layers")


@dataclass(frozen=True)
class ZeroLayers:
    """What a task scores without any layer of a model, fitted on the train items of a recipe and a seed."""

    bag_of_words: tuple[Score, ...]  # all metrics of the task, its first metric first
    constant: tuple[Score, ...]  # the same of one answer for every dev item: the most frequent label, or the mean
    num_train: int
    num_dev: int
    seconds: float
    versions: dict[str, str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What zero layers score")


@dataclass(frozen=True)
class Made:
    """A run's fine-tuning made again, and what it then answered."""

    score: float
    predictions: tuple[int | float, ...]
    device: str
    machine: str
    versions: dict[str, str]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What is known of kept weights")


@dataclass(frozen=True)
class Timing:
    """A model file beside PyTorch on the same CPU, timed in turn; ratios are PyTorch / file."""

    batch: int
    length: int  # tokens
    ratio: float  # median of the pairs
    low: float  # 10th percentile of the pairs
    high: float  # 90th percentile of the pairs
    torch_seconds: float
    seconds: float


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file of an export, and how it compares with PyTorch's float32 on the first dev examples."""

    file: str  # its path in the folder
    megabytes: float
    sentences: int
    logit_difference: float  # the largest over those sentences
    score: float  # of the task's first metric on those sentences
    torch_score: float
    changed: int  # answers that are not PyTorch's
    device: str
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Exported:
    """What is in the folder of an export: a fine-tuning's weights, and ONNX files where they were asked for."""

    made: Made
    onnx: tuple[OnnxFile, ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What an export tells")


@dataclass(frozen=True)
class Tried:
    """What a model answered to texts that somebody typed, in their order."""

    answers: tuple[tuple[float, ...], ...]  # by text: the probability of each label, or a number
    layers: tuple[tuple[tuple[float, ...], ...], ...]  # by text and layer: the same of a classifier on that layer
    cut_off: tuple[bool, ...]  # by text: whether it had more tokens than the model takes
    seconds: float  # of the first text alone

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What a model answered")


@dataclass(frozen=True)
class Progress:
    """How far a run is; `step` of `steps` counts training steps."""

    # starting, downloading (steps are megabytes), loading, training, evaluating, timing, fitting a bag of words,
    # reading (examples), previewing (cuts)
    phase: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    note: str = ""  # what else its user should know


Report = Callable[[Progress], None]


def progress_count(progress: dict[str, Any]) -> str:
    """How far a run's progress is, in words; empty where there is nothing to count."""
    if not progress["steps"]:
        return ""
    if progress["phase"] == "downloading":
        return f"{progress['step']} of {progress['steps']} MB"
    if progress["phase"] == "previewing":
        return f"{progress['step']} of {progress['steps']} cuts"
    if progress["phase"].startswith("reading"):
        return f"{progress['step']} of {progress['steps']} examples"
    return f"step {progress['step']} of {progress['steps']}"


def progress_words(progress: dict[str, Any], *more: str) -> str:
    """How far a run is, in a line: phase, count, what its caller adds, and the note that goes with it."""
    return ", ".join(filter(None, [progress["phase"], progress_count(progress), *more, progress.get("note")]))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges, of which there is one more; `low` and `high` are the least and the greatest value."""

    low: float
    high: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ColumnPreview:
    """A column of a user's table: its commonest values, its numbers where all cells are, its words a cell.

    `kind`: what it is as a label where nothing is said, "classes" or "number", or nothing where either can be meant;
    numbers of one value are one class. `numeric`: whether both are possible.
    """

    name: str
    distinct: int
    classes: dict[str, int]
    numbers: Histogram | None
    words: Histogram
    kind: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class TablePreview:
    """What is in a user's table, its first rows, and which columns the lab would take, where it can tell.

    `lines`: of the file, 0 where it has none; `header`, `encoding`: as of the catalog's `Table`, empty where the format
    has none; `notes`: what was taken for granted, each a sentence.
    """

    rows: int
    lines: int
    columns: tuple[ColumnPreview, ...]
    first: tuple[dict[str, str], ...]
    text: str
    pair: str
    label: str
    header: str
    encoding: str
    notes: tuple[str, ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "The preview of a table")
