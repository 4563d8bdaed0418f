"""One finished run as the plain values that `run --json` prints and tables show."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from pmb.errors import BadInput
from pmb.insight.intervals import run_interval
from pmb.insight.one_answer import one_answer
from pmb.lab.plan import more_scores, scores_identity
from pmb.lab.queue import spec_of_row
from pmb.lab.sources import tasks_by_id
from pmb.lab.store import Row, Store, get_layer_scores, get_run, list_latencies
from pmb.lab.zero_layers import known_of_run
from pmb.spec import PROCEDURES, RunSpec
from pmb.strategies import strategies_of

HEADLINE_SHAPE = (32, 32)  # (batch, tokens) of the speed-up that is shown


def answer(store: Store, key: str, cached: bool) -> dict[str, Any]:
    """Everything `run --json` promises, for a run in any state; what is not measured is None.

    Raises BadInput where the run's row is damaged.
    """
    row = get_run(store, key)
    if row is None:
        raise BadInput(f"The row of run {key[:12]} in the store is damaged; ask for the run again.")
    spec = spec_of_row(row)
    identity, depth = scores_identity(spec), spec.num_hidden_layers
    scores, more = get_layer_scores(store, identity, depth), more_scores(store, identity, depth)
    interval = run_interval(row) if row["state"] == "done" else None
    return {
        "run": key[:12],
        "state": row["state"],
        "model": spec.model,
        "task": spec.task,
        "recipe": spec.recipe.name,
        "strategy": list(strategies_of(spec.kept_layers, spec.num_hidden_layers, scores, more)),
        "kept_layers": list(spec.kept_layers),
        "dropped_layers": list(spec.dropped_layers),
        "seed": spec.seed,
        "metric": row["metric"],
        "score": row["score"],
        "score_interval": [interval.low, interval.high] if interval else None,
        "scores": row["scores"],
        "whole_model_score": _whole_model_score(store, spec),
        **_zero_layer_scores(store, spec, row["metric"]),
        "parameters": row["parameters"],
        "whole_model_parameters": row["whole_model_parameters"],
        "speedup": _speedup(store, row),
        "train_seconds": row["train_seconds"],
        "note": said_of_answers(store, row) or None,
        "procedure": spec.procedure,
        "fast": row["fast"],
        "cached": cached,
        "error": row["error"],
    }


def said_of_answers(store: Store, row: Row) -> str:
    """A sentence where a finished run gave all dev items one answer; empty otherwise."""
    said = one_answer(row["predictions"])
    if not said:
        return ""
    task = tasks_by_id(store).get(row["task"])
    return one_answer(row["predictions"], task.labels if task else ())


def _whole_model_score(store: Store, spec: RunSpec) -> float | None:
    """The whole model's score with the same recipe and seed."""
    whole = {"kept_layers": list(range(spec.num_hidden_layers)), "procedure": PROCEDURES[0]}
    values = spec.to_dict() | whole
    row = get_run(store, RunSpec.from_dict(values).key)
    return row["score"] if row else None


def _zero_layer_scores(store: Store, spec: RunSpec, metric: str | None) -> dict[str, float | None]:
    """What a bag of words and one answer to all score, fitted on the same train items."""
    measured = known_of_run(store, spec) or {}
    found = {
        name: [score["value"] for score in measured.get(column, ()) if score["metric"] == metric]
        for name, column in (("bag_of_words_score", "bag_of_words"), ("constant_score", "constant"))
    }
    return {name: scores[0] if scores else None for name, scores in found.items()}


def _speedup(store: Store, row: Row) -> dict[str, Any] | None:
    """Inference speed-up of this depth on the device that did the run."""
    batch, length = HEADLINE_SHAPE
    for found in list_latencies(store, row["model"], row["model_revision"]):
        same = (found["depth"], found["device"]) == (len(row["kept_layers"]), row["device"])
        if same and (found["batch"], found["length"]) == HEADLINE_SHAPE:
            return {name: found[name] for name in ("ratio", "low", "high", "device", "batch", "length")}
    whole = row["state"] == "done" and len(row["kept_layers"]) == row["num_hidden_layers"]
    if not whole:
        return None
    return {"ratio": 1.0, "low": 1.0, "high": 1.0, "device": row["device"], "batch": batch, "length": length}


def command_of(spec: RunSpec) -> str:
    """The command that asks for this run again; with a result in the store it is answered at once."""
    return command(spec.model, spec.task, spec.kept_layers, spec.recipe.name, spec.seed, spec.procedure)


def sweep_command(
    model: str,
    task: str,
    recipe: str,
    strategies: Sequence[str] = (),
    drops: Sequence[int] = (),
    procedure: str = PROCEDURES[0],
) -> str:
    """The command that measures these cuts with three seeds; every one of the paper's where none are named."""
    parts = ["python -m pmb sweep", f"--model {shlex.quote(model)}", f"--task {shlex.quote(task)}"]
    parts += [f"--strategies {','.join(strategies)}"] if strategies else []
    parts += [f"--drops {','.join(map(str, drops))}"] if drops else []
    parts += [f"--recipe {shlex.quote(recipe)}"] + ([f"--procedure {procedure}"] if procedure != PROCEDURES[0] else [])
    return " ".join(parts)


def baseline_command(model: str, task: str, recipe: str) -> str:
    """The command that measures what zero layers score."""
    parts = ["python -m pmb baseline", f"--model {shlex.quote(model)}", f"--task {shlex.quote(task)}"]
    return " ".join([*parts, f"--recipe {shlex.quote(recipe)}"])


def search_command(model: str, task: str, recipe: str, goal: Row, budget: Row) -> str:
    """The command that searches so; what is known already is answered at once."""
    parts = ["python -m pmb search", f"--model {shlex.quote(model)}", f"--task {shlex.quote(task)}"]
    parts += [f"--recipe {shlex.quote(recipe)}"]
    parts += [f"--{name} {goal[name]:g}" for name in ("within", "speedup", "megabytes") if goal.get(name) is not None]
    return " ".join(parts + [f"--budget-{name} {value:g}" for name, value in budget.items()])


def command(model: str, task: str, kept_layers: Sequence[int], recipe: str, seed: int, procedure: str) -> str:
    """The same of a configuration and a seed."""
    parts = ["python -m pmb run", f"--model {shlex.quote(model)}", f"--task {shlex.quote(task)}"]
    parts += [f"--keep {','.join(map(str, kept_layers))}", f"--recipe {shlex.quote(recipe)}", f"--seed {seed}"]
    if procedure != PROCEDURES[0]:
        parts.append(f"--procedure {procedure}")
    return " ".join(parts)
