"""Rows of the store, which anybody may have edited by hand: read in one place, and what is damaged left out and told.

`FORMS` says by table what its columns may hold, besides what the database itself holds to: SQLite takes any value in
any column. A query may read some of the columns; what it has read is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta
from sqlalchemy import Table

from pmb.bounds import MOST_CLASSES, MOST_LAYERS
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import BadInput
from pmb.insight.metrics import METRICS
from pmb.lab import schema
from pmb.spec import Progress, Recipe
from pmb.strategies import check_kept_layers
from pmb.strict import fault, parse

Check = Callable[[Mapping[str, Any]], str]  # why a row cannot be used, without a full stop; empty where it can

Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Moment = Annotated[float, Meta(ge=0, le=1e11)]  # seconds since 1970; no calendar goes on for ever
Share = Annotated[float, Meta(ge=-1.001, le=1.001)]  # shares and correlations, and a little for rounding
Count = Annotated[int, Meta(ge=0, le=2**53)]
Some = Annotated[int, Meta(ge=1, le=2**53)]
Layer = Annotated[int, Meta(ge=0, lt=MOST_LAYERS)]
Depth = Annotated[int, Meta(ge=1, le=MOST_LAYERS)]
Seed = Annotated[int, Meta(ge=0, lt=2**31)]
Source = Literal["measured", "shipped"]
# A label's index, or the number that a regression gives; JSON has 2.0 and 2 for the same number.
Label = Annotated[int, Meta(ge=-(10**12), le=10**12)] | Annotated[float, Meta(ge=-1e12, le=1e12)]


class ScoreForm(TypedDict):
    """A metric with its interval."""

    metric: str
    value: Share
    low: Share
    high: Share


Scores = Annotated[list[ScoreForm], Meta(min_length=1)]


class RunForm(TypedDict, total=False):
    """`runs`: what is None where a run has not ended is checked by `_run_fault`."""

    key: str
    model: str
    model_revision: str
    task: str
    task_revision: str
    num_hidden_layers: Depth
    kept_layers: list[Layer]
    recipe: str
    recipe_values: Recipe
    seed: Seed
    procedure: Literal["cut-tune", "tune-cut-tune"]
    source: Source
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    queued_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    attempts: Count
    deaths: Count
    not_before: Moment | None
    worker: str | None
    lease_until: Moment | None
    cancel_requested: bool
    progress: Progress | None
    error: str | None
    log: str | None
    metric: str | None
    score: Share | None
    scores: Scores | None
    num_dev: Some | None
    predictions: list[Label] | None
    parameters: Some | None
    whole_model_parameters: Some | None
    megabytes: Amount | None
    whole_model_megabytes: Amount | None
    train_seconds: Amount | None
    total_seconds: Amount | None
    losses: list[Finite | None] | None  # None: it was not a number
    fast: bool | None
    device: str | None
    machine: str | None
    versions: dict[str, str] | None
    started_by: str | None


class LayerScoresForm(TypedDict, total=False):
    """`layer_scores`."""

    model: str
    model_revision: str
    task: str
    task_revision: str
    sentences: Some
    scores: Annotated[list[Share], Meta(min_length=1, max_length=MOST_LAYERS)]
    measured_at: Moment


class BlockScoresForm(TypedDict, total=False):
    """`block_scores`: how many there are of each strategy is checked by `of_layers`."""

    model: str
    model_revision: str
    task: str
    task_revision: str
    sentences: Some
    strategy: Literal["block-influence", "angular", "variance", "greedy"]
    scores: Annotated[list[Finite | Annotated[list[Share], Meta(max_length=MOST_LAYERS)]], Meta(max_length=MOST_LAYERS)]
    measured_at: Moment


class ProbeForm(TypedDict, total=False):
    """`layer_probes`: what is None where nothing is measured is checked by `_probe_fault`."""

    key: str
    model: str
    model_revision: str
    task: str
    task_revision: str
    num_hidden_layers: Depth
    recipe: str
    recipe_values: Recipe
    seed: Seed
    source: Source
    state: Literal["asked", "done", "failed"]
    asked_at: Moment
    renewed_at: Moment | None
    progress: Progress | None
    error: str | None
    metric: str | None
    score: ScoreForm | None
    similarity: list[Share] | None
    tuned: Scores | None
    pretrained: Scores | None
    num_train: Some | None
    num_dev: Some | None
    device: str | None
    machine: str | None
    versions: dict[str, str] | None
    measured_at: Moment | None


class DevLabelsForm(TypedDict, total=False):
    """`dev_labels`."""

    task: str
    task_revision: str
    labels: Annotated[list[Label], Meta(min_length=1)]
    measured_at: Moment


class ZeroLayersForm(TypedDict, total=False):
    """`zero_layers`."""

    task: str
    task_revision: str
    train_items: Count
    sample: Annotated[str, Meta(pattern=r"^(all|first|seed \d{1,10})$")]
    bag_of_words: Scores
    constant: Scores
    num_train: Some
    num_dev: Some
    seconds: Amount
    versions: dict[str, str]
    source: Source
    measured_at: Moment


class LengthsForm(TypedDict, total=False):
    """`token_lengths`; that lengths ascend is checked by `_lengths_fault`."""

    model: str
    model_revision: str
    task: str
    task_revision: str
    train: Annotated[list[tuple[Count, Some]], Meta(min_length=1)]
    dev: Annotated[list[tuple[Count, Some]], Meta(min_length=1)]
    measured_at: Moment


class LatencyForm(TypedDict, total=False):
    """`latencies`."""

    model: str
    model_revision: str
    depth: Depth
    device: str
    batch: Some
    length: Some
    ratio: Positive
    low: Positive
    high: Positive
    pairs: Some
    whole_seconds: Positive
    cut_seconds: Positive
    source: Source
    measured_at: Moment


class PreviewForm(TypedDict, total=False):
    """`previews`."""

    model: str
    model_revision: str
    task: str
    task_revision: str
    train_sentences: Some
    dev_sentences: Some
    schema: Some
    kept: Annotated[str, Meta(pattern=r"^\d{1,3}(,\d{1,3})*$")]
    metric: str
    score: Share
    device: str
    source: Source
    measured_at: Moment


class GoalForm(TypedDict, total=False):
    """What a search is for."""

    within: Positive
    speedup: Positive
    megabytes: Positive
    most_layers: Layer | None


class BudgetForm(TypedDict, total=False):
    """What a search may use."""

    runs: Positive
    minutes: Positive


class StandingForm(TypedDict):
    """How a cut stands."""

    cut: list[Layer]
    seeds: Count
    score: Share | None
    loss: Finite | None
    low: Finite | None
    high: Finite | None
    state: str
    tried: NotRequired[Count]


class FoundForm(TypedDict):
    """What a search knows."""

    verdict: str
    answer: list[Layer] | None
    sentence: str
    runs: Count
    spent: NotRequired[Amount]  # of the budget, in its unit; searches of before have none
    standings: list[StandingForm]


class SearchForm(TypedDict, total=False):
    """`searches`; that goal and budget are one each, and the cuts those of the depth, is checked by `_search_fault`."""

    key: str
    model: str
    model_revision: str
    task: str
    task_revision: str
    num_hidden_layers: Depth
    parameters: Some | None
    metric: str
    recipe: str
    recipe_values: Recipe
    goal: GoalForm
    candidates: list[list[Layer]]
    budget: BudgetForm
    state: Literal["open", "stopped", "done"]
    steps: Count
    asked: list[str]
    waits_for: list[str]
    found: FoundForm | None
    error: str | None
    started_by: str | None
    started_at: Moment
    changed_at: Moment


class MemoryForm(TypedDict, total=False):
    """`memories`."""

    key: str
    device: str
    machine: str
    peak_megabytes: Amount
    idle_megabytes: Amount
    versions: dict[str, str]
    source: Source
    measured_at: Moment


class SourceForm(TypedDict, total=False):
    """`sources`; `facts` are checked by `_source_fault`."""

    kind: Literal["model", "task"]
    name: str
    fingerprint: str
    facts: dict[str, Any]
    notes: list[str]
    inspected_at: Moment


class WorkerForm(TypedDict, total=False):
    """`workers`."""

    name: str
    started_at: Moment
    heartbeat_at: Moment


@dataclass(frozen=True, slots=True)
class DamagedJson:
    """What a JSON column holds that is none, and what it is instead, such as "is no JSON: …"."""

    why: str


def read_json(content: Any) -> Any:
    """A JSON column's value; of what cannot be read a `DamagedJson`, which no form takes.

    SQLite gives a number back as a number, whatever was written.
    """
    if not isinstance(content, (str, bytes)):
        return content
    try:
        return parse(content, "It", halves=True)
    except BadInput as error:
        return DamagedJson(str(error).removeprefix("It ").rstrip("."))


def row_fault(table: Table, row: Mapping[str, Any]) -> str:
    """Why a row, or what was read of it, cannot be used, without a full stop; empty where it can."""
    form, further = FORMS[table.name]
    if why := fault(form, row):
        broken = [f"{name} {value.why}" for name, value in row.items() if isinstance(value, DamagedJson)]
        return broken[0] if broken and DamagedJson.__name__ in why else why
    return further(row)


def name_of(table: Table, row: Mapping[str, Any]) -> str:
    """What a row is called in a sentence, such as "run 0123456789ab"."""
    if "key" in table.primary_key.columns:
        return f"{NAMES[table.name]} {str(row['key'])[:12]}"
    return f"{NAMES[table.name]} " + " ".join(str(row[column.name])[:60] for column in table.primary_key)


def no_fault(row: Mapping[str, Any]) -> str:
    """Nothing is wrong with this row."""
    return ""


def has_length(column: str, length: int) -> Check:
    """The check that a column holds so many values."""
    return lambda row: "" if len(row[column]) == length else f"{column} are {len(row[column])} and not {length}"


def of_layers(depth: int) -> Check:
    """The check that what a strategy chooses by is one number a layer, or one a place of every block's size."""

    def check(row: Mapping[str, Any]) -> str:
        scores = row["scores"]
        if row["strategy"] != "angular":
            return has_length("scores", depth)(row)
        right = all(isinstance(found, list) for found in scores)
        right = right and [len(found) for found in scores] == list(range(depth, 1, -1))
        return "" if right else f"scores are not those of the blocks of {depth} layers"

    return check


def are_answers(column: str, labels: int, count: int | None) -> Check:
    """The check that a column holds so many of a task's labels, 0: any numbers; None: however many."""

    def check(row: Mapping[str, Any]) -> str:
        answers = row[column]
        if answers is None:  # of a run that was queued anew, since it was read so
            return ""
        if count is not None and len(answers) != count:
            return f"{column} are {len(answers)} and the dev examples {count}"
        wrong = (answer for answer in answers if not (isinstance(answer, int) and 0 <= answer < labels))
        found = next(wrong, None) if labels else None
        return "" if found is None else f"{found} among {column} is none of {labels} labels"

    return check


NESTED = {"recipe_values": {field.name for field in fields(Recipe)}, "progress": {f.name for f in fields(Progress)}}
# What every finished run has; `scores`, `fast` and `started_at` are newer than some, or not known of all.
MEASURED = (
    *("finished_at", "metric", "score", "num_dev", "predictions", "parameters", "whole_model_parameters", "megabytes"),
    *("whole_model_megabytes", "train_seconds", "total_seconds", "losses", "device", "machine", "versions"),
)
PROBED = ("metric", "score", "similarity", "tuned", "pretrained", "num_train", "num_dev", "device", "machine")


def _run_fault(row: Mapping[str, Any]) -> str:
    if why := _unknown_name(row):
        return why
    if "kept_layers" in row and "num_hidden_layers" in row:
        try:
            check_kept_layers(row["kept_layers"], row["num_hidden_layers"])
        except BadInput as error:
            return str(error).rstrip(".")
    if row.get("state") == "running" and row.get("started_at", 0) is None:
        return "it is running and started_at is missing"
    if row.get("state") != "done":
        return ""
    if why := _missing(row, MEASURED) or _metric_fault(row):
        return why
    predictions, count = row.get("predictions"), row.get("num_dev")
    if predictions is not None and count is not None and len(predictions) != count:
        return f"it has {len(predictions)} predictions of {count} dev examples"
    return ""


def _unknown_name(row: Mapping[str, Any]) -> str:
    for column, names in NESTED.items():
        if unknown := (row.get(column) or {}).keys() - names:
            return f"{column} has {min(unknown)!r}, which is not known here"
    return ""


def _metric_fault(row: Mapping[str, Any]) -> str:
    metrics = [row["metric"]] if row.get("metric") is not None else []
    metrics += [score["metric"] for score in row.get("scores") or ()]
    unknown = [metric for metric in metrics if metric.partition(",")[0] not in METRICS]
    return f"metric {unknown[0]!r} is not known here" if unknown else ""


def _zero_layers_fault(row: Mapping[str, Any]) -> str:
    for name in ("bag_of_words", "constant"):
        if why := _metric_fault({"scores": row.get(name)}):
            return f"{name}: {why}"
    return ""


def _lengths_fault(row: Mapping[str, Any]) -> str:
    for name in ("train", "dev"):
        lengths = [length for length, _ in row.get(name, ())]
        if lengths != sorted(set(lengths)):
            return f"lengths of {name} do not ascend"
    return ""


def _missing(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    missing = [name for name in names if name in row and row[name] is None]
    return f"it is done and {missing[0]} is missing" if missing else ""


def _probe_fault(row: Mapping[str, Any]) -> str:
    if (why := _unknown_name(row)) or row.get("state") != "done":
        return why
    if why := _missing(row, PROBED) or _metric_fault(row):
        return why
    depth = row.get("num_hidden_layers")
    for name in ("similarity", "tuned", "pretrained"):
        if name in row and depth is not None and len(row[name]) != depth + 1:
            return f"{name} has {len(row[name])} values for {depth} layers and the embeddings"
    return ""


def _search_fault(row: Mapping[str, Any]) -> str:
    if why := _unknown_name(row):
        return why
    if "goal" in row:
        aims = [name for name in row["goal"] if name != "most_layers"]
        if len(aims) != 1 or (aims != ["within"] and not row["goal"].get("most_layers")):
            return "goal is not one loss, or one speed-up or size with a number of layers"
    if "budget" in row and len(row["budget"]) != 1:
        return "budget is not one number"
    if row.get("metric") is not None and row["metric"] not in METRICS:
        return f"metric {row['metric']!r} is not known here"
    try:
        for cut in row.get("candidates", ()) if "num_hidden_layers" in row else ():
            check_kept_layers(cut, row["num_hidden_layers"])
    except BadInput as error:
        return str(error).rstrip(".")
    return ""


def _source_fault(row: Mapping[str, Any]) -> str:
    if "facts" not in row:
        return ""
    try:
        if row["kind"] == "task":
            task = Task.from_dict(row["facts"])
            known = bool(task.metrics) and all(metric in METRICS for metric in task.metrics)
            return "" if known and len(task.labels) <= MOST_CLASSES else "facts name no metrics or too many labels"
        model = BaseModel.from_dict(row["facts"])
    except BadInput as error:
        return str(error).rstrip(".")
    wrong = not 1 <= model.num_hidden_layers <= MOST_LAYERS or len(model.kinds) not in (0, model.num_hidden_layers)
    return "facts tell no depth that a model can have" if wrong else ""


FORMS: dict[str, tuple[Any, Check]] = {
    schema.runs.name: (RunForm, _run_fault),
    schema.layer_scores.name: (LayerScoresForm, no_fault),
    schema.block_scores.name: (BlockScoresForm, no_fault),
    schema.layer_probes.name: (ProbeForm, _probe_fault),
    schema.previews.name: (PreviewForm, no_fault),
    schema.searches.name: (SearchForm, _search_fault),
    schema.dev_labels.name: (DevLabelsForm, no_fault),
    schema.zero_layers.name: (ZeroLayersForm, _zero_layers_fault),
    schema.token_lengths.name: (LengthsForm, _lengths_fault),
    schema.latencies.name: (LatencyForm, no_fault),
    schema.memories.name: (MemoryForm, no_fault),
    schema.sources.name: (SourceForm, _source_fault),
    schema.workers.name: (WorkerForm, no_fault),
}
NAMES = {
    schema.runs.name: "run",
    schema.layer_scores.name: "layer contributions of",
    schema.block_scores.name: "layer scores of",
    schema.layer_probes.name: "layers of run",
    schema.previews.name: "preview of",
    schema.searches.name: "search",
    schema.dev_labels.name: "dev labels of",
    schema.zero_layers.name: "zero layers of",
    schema.token_lengths.name: "token lengths of",
    schema.latencies.name: "speed of",
    schema.memories.name: "memory of run",
    schema.sources.name: "what is known of",
    schema.workers.name: "worker",
}
