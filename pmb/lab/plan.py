"""From what a person picks (model, task, strategy or layers, recipe, seed) to the runs that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pmb.catalog.models import find_model
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import find_task
from pmb.errors import BadInput
from pmb.lab.executors import ask
from pmb.lab.store import Row, Store, get_layer_scores, save_layer_scores
from pmb.settings import Settings
from pmb.spec import RunSpec
from pmb.strategies import (
    check_drop_count,
    check_kept_layers,
    drop_counts,
    kept_above_threshold,
    kept_layers,
    strategies_of,
)

SCORE_SENTENCES = 1000  # of train, for contribution


@dataclass(frozen=True, slots=True)
class Plan:
    """A cut: which layers of the model stay."""

    model: str
    num_hidden_layers: int
    kept_layers: tuple[int, ...]

    @property
    def dropped_layers(self) -> tuple[int, ...]:
        """The layers that go."""
        return tuple(i for i in range(self.num_hidden_layers) if i not in self.kept_layers)


def plan_strategy(store: Store, settings: Settings, model: str, task: str, strategy: str, drop_count: int) -> Plan:
    """The cut that a strategy makes; measures contribution scores where they are needed and not known yet."""
    depth = find_model(model).num_hidden_layers
    check_drop_count(strategy, depth, drop_count)
    scores = None
    if strategy == "contribution":
        scores = layer_scores(store, settings, model, task)
    return Plan(model, depth, kept_layers(strategy, depth, drop_count, scores))


def plan_threshold(store: Store, settings: Settings, model: str, task: str, threshold: float) -> Plan:
    """The paper's own form of contribution: every layer whose similarity is above the threshold goes."""
    scores = layer_scores(store, settings, model, task)
    return Plan(model, len(scores), kept_above_threshold(scores, threshold))


def plan_kept(model: str, kept: Sequence[int]) -> Plan:
    """A cut of one's own; raises BadInput."""
    depth = find_model(model).num_hidden_layers
    return Plan(model, depth, check_kept_layers(kept, depth))


def spec_of(plan: Plan, task: str, recipe: str, seed: int) -> RunSpec:
    """The run of a plan; raises BadInput."""
    model_row, task_row = find_model(plan.model), find_task(task)
    return RunSpec(
        model=model_row.id,
        model_revision=model_row.revision,
        task=task_row.id,
        task_revision=task_row.revision,
        num_hidden_layers=plan.num_hidden_layers,
        kept_layers=plan.kept_layers,
        recipe=find_recipe(recipe),
        seed=seed,
    )


def plan_sweep(
    store: Store,
    settings: Settings,
    model: str,
    task: str,
    strategies: Sequence[str],
    drops: Sequence[int] | None,
) -> list[Plan]:
    """Every distinct cut of the strategies at the drop counts that each can reach, the whole model first.

    Raises BadInput for a drop count that none of the strategies can reach.
    """
    depth = find_model(model).num_hidden_layers
    reachable = {k for strategy in strategies for k in drop_counts(strategy, depth)}
    if unreachable := sorted(set(drops or ()) - reachable):
        raise BadInput(
            f"Drop count {unreachable[0]} is not possible with {', '.join(strategies)} on {depth} layers: "
            f"{', '.join(map(str, sorted(reachable)))} are."
        )
    wanted = sorted({0, *(reachable if drops is None else drops)})
    plans: dict[tuple[int, ...], Plan] = {}
    for drop_count in wanted:
        for strategy in strategies:
            if drop_count in drop_counts(strategy, depth):
                plan = plan_strategy(store, settings, model, task, strategy, drop_count)
                plans.setdefault(plan.kept_layers, plan)
    return list(plans.values())


def layer_scores(store: Store, settings: Settings, model: str, task: str) -> tuple[float, ...]:
    """Contribution scores from the store, else measured now in a child process (seconds) and remembered."""
    identity = _scores_identity(model, task)
    scores = get_layer_scores(store, identity)
    if scores is None:
        job = {"kind": "similarity", "model": model, "task": task, "assets": str(settings.assets)}
        scores = tuple(ask(job | {"sentences": SCORE_SENTENCES})["scores"])
        save_layer_scores(store, identity, scores)
    return scores


def known_layer_scores(store: Store, model: str, task: str) -> tuple[float, ...] | None:
    """Contribution scores where they have been measured already."""
    return get_layer_scores(store, _scores_identity(model, task))


def strategies_of_plan(store: Store, plan: Plan, task: str) -> tuple[str, ...]:
    """The names of the strategies that lead to this cut, as far as is known."""
    return strategies_of(plan.kept_layers, plan.num_hidden_layers, known_layer_scores(store, plan.model, task))


def _scores_identity(model: str, task: str) -> Row:
    model_row, task_row = find_model(model), find_task(task)
    return {
        "model": model,
        "model_revision": model_row.revision,
        "task": task,
        "task_revision": task_row.revision,
        "sentences": SCORE_SENTENCES,
    }
