"""What Explore shows: read from the store and kept; and the cut that its controls choose."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pmb import settings
from pmb.catalog.models import BaseModel, cuts_by_strategy
from pmb.catalog.tasks import Task
from pmb.charts import predicted
from pmb.insight import predict, summary
from pmb.insight.one_answer import one_answer
from pmb.lab import previews
from pmb.lab.answer import HEADLINE_SHAPE
from pmb.lab.plan import Plan, known_block_scores, known_layer_scores, plan_strategy
from pmb.lab.previews import Cut
from pmb.lab.results import stored_predictions
from pmb.lab.store import Row, list_latencies
from pmb.screen import ui
from pmb.screen.cut_runs import pinned
from pmb.screen.finished import load_configurations
from pmb.spec import PROCEDURES
from pmb.strategies import CUSTOM, DRAWS, MORE_STRATEGIES, RANDOM, SCORED, STRATEGIES, Scores

WHOLE = "whole model"
MEASURED_ONCE = {"greedy": "What is left without each layer is tried once"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured, with speed-up: configurations, by the layers kept too; the strategies' curves, and as rows."""

    table: pd.DataFrame
    by_cut: dict[Cut, Row]
    points: pd.DataFrame
    rows: pd.DataFrame


@ui.loaded(max_entries=32)
def load_measured(
    model: BaseModel,
    task: Task,
    recipe: str,
    procedure: str,
    more: dict[str, Scores],
    others: dict[str, list[Cut]],
    mark: tuple[Any, ...],
) -> Measured:
    """What is measured of the model on the task; `mark` changes when the store does.

    `more`: the scores of a chosen strategy that is not of the paper's six; `others`: its cuts where no rule makes them.
    The whole model stands beside the cuts of every procedure.
    """
    store = ui.the_store()
    scores = known_layer_scores(store, model, task)
    table = load_configurations(model, task, recipe, procedure, mark)
    speed = summary.speed_by_depth(
        list_latencies(store, model.id, model.revision), model.num_hidden_layers, *HEADLINE_SHAPE
    )
    table = table.merge(speed, on="depth", how="left")
    curves = summary.curves(table, model.num_hidden_layers, scores, more, others)
    points = curves.merge(speed, on="depth", how="left")
    return Measured(table, {row["kept_layers"]: row for row in ui.records(table)}, points, rows_of(points))


@ui.loaded(max_entries=64)
def load_one_answer(keys: list[str], labels: tuple[str, ...], mark: tuple[Any, ...]) -> str:
    """A sentence where one of these runs gives all dev items the same answer; empty otherwise."""
    answers = stored_predictions(ui.the_store(), keys).values()
    said = [sentence for one in answers if (sentence := one_answer(one, labels))]
    return f"{len(said)} of {len(keys)} seeds: {said[0]}" if said and len(keys) > 1 else "".join(said)


@ui.loaded(max_entries=32)
def load_baselines(plans: list[Plan], task: Task, recipe: str, mark: tuple[Any, ...]) -> pd.DataFrame:
    """Those of other models that stand beside the cuts and are measured: configurations with `title` and `number`."""
    tables = []
    for number, plan in enumerate(plans, 1):
        table = load_configurations(plan.model, task, recipe, PROCEDURES[0], mark)
        tables.append(table[table["kept_layers"] == plan.kept_layers].assign(title=plan.title, number=number))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@ui.loaded(max_entries=32)
def load_preview(
    model: BaseModel,
    task: Task,
    recipe: str,
    procedure: str,
    more: dict[str, Scores],
    others: dict[str, list[Cut]],
    mark: Hashable,
    _measured: dict[Cut, float],
) -> tuple[predict.Preview, list[Cut], bool]:
    """The stored previews with what they predict, the cuts beside the six strategies', and whether any is missing.

    `_measured`: mean scores by kept layers; with `recipe`, `procedure` and `mark` these change.
    """
    store = ui.the_store()
    frozen = {kept: row["score"] for kept, row in previews.known_previews(store, model, task).items()}
    by_strategy = cuts_by_strategy(model, STRATEGIES, known_layer_scores(store, model, task))
    others = cuts_by_strategy(model, [*more], None, more) | others
    also = predict.cuts_beside(_measured, by_strategy, others)
    found = predict.preview(frozen, _measured, by_strategy | others, model.num_hidden_layers, task.metric)
    return found, also, previews.missing_previews(store, model, task, STRATEGIES, also)


@ui.loaded(max_entries=64)
def load_hollow(of: tuple[Any, ...], strategy: str, _curves: pd.DataFrame, _measured: Collection[Cut]) -> pd.DataFrame:
    """What is predicted, as points to be drawn hollow. `of`: what the curves come from."""
    return predicted.hollow_points(_curves, strategy, set(_measured))


def more_scores(model: BaseModel, task: Task, strategy: str) -> dict[str, Scores]:
    """What a strategy that is not of the paper's six chooses by, under its name; nothing for those six."""
    known = known_block_scores(ui.the_store(), model, task) if strategy in MORE_STRATEGIES else {}
    return {strategy: known[strategy]} if strategy in known else {}


def cuts_without_scores(plan: Plan, strategy: str) -> dict[str, list[Cut]]:
    """The cuts of a choice that is no rule, under its name: one's own, or those of the first draw; else nothing."""
    if strategy == CUSTOM:
        return {CUSTOM: [plan.kept_layers]}
    return {RANDOM: cuts_by_strategy(plan.model, DRAWS[:1], None)[DRAWS[0]]} if strategy == RANDOM else {}


def cut_of(model: BaseModel, task: Task, strategy: str, drop_count: int) -> Plan:
    """The cut that a strategy makes; what it chooses by is measured now where it is not known yet."""
    store, found = ui.the_store(), settings.from_environment()
    known = strategy not in SCORED or more_scores(model, task, strategy)
    if known or (strategy == "contribution" and known_layer_scores(store, model, task) is not None):
        return plan_strategy(store, found, model, task, strategy, drop_count)
    model = pinned(model)
    with ui.told(MEASURED_ONCE.get(strategy, "What each layer changes is measured once")) as report:
        return plan_strategy(store, found, model, task, strategy, drop_count, report)


def rows_of(points: pd.DataFrame) -> pd.DataFrame:
    """The points as rows of a table, the whole model once; `row` names them."""
    whole, cuts = points[points["drop_count"] == 0].head(1), points[points["drop_count"] > 0]
    rows = pd.concat([whole.assign(strategy=WHOLE, row="whole"), cuts.assign(row=row_names(cuts))])
    return rows.reset_index(drop=True)


def row_names(points: pd.DataFrame) -> list[str]:
    """Such as "top.2"."""
    return [
        f"{strategy}.{count}" if count else "whole"
        for strategy, count in zip(points["strategy"], points["drop_count"], strict=True)
    ]
