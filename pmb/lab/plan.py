"""From what a person picks (model, task, strategy or layers, recipe, seed) to the runs that answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pmb.catalog.models import BASELINES, BaseModel, check_places, downloaded_models
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import Task
from pmb.errors import BadInput
from pmb.lab import queue
from pmb.lab.sources import check_weights, find_model, find_task
from pmb.lab.store import (
    Row,
    Store,
    get_block_scores,
    get_layer_scores,
    runs_by_key,
    save_block_scores,
    save_layer_scores,
)
from pmb.settings import Settings
from pmb.spec import PROCEDURES, Progress, Report, RunSpec
from pmb.strategies import (
    SCORED,
    Scores,
    check_drop_count,
    check_kept_layers,
    drop_counts,
    kept_above_threshold,
    kept_layers,
    strategies_of,
)

SCORE_SENTENCES = 1000  # of train, for what is measured on the layers
GREEDY_SENTENCES = 600  # of train: every cut that greedy choice looks at is computed over all of them


@dataclass(frozen=True, slots=True)
class Plan:
    """A cut: which layers of the model stay."""

    model: BaseModel
    kept_layers: tuple[int, ...]

    @property
    def dropped_layers(self) -> tuple[int, ...]:
        """The layers that go."""
        return tuple(i for i in range(self.model.num_hidden_layers) if i not in self.kept_layers)

    @property
    def title(self) -> str:
        """The model and what is left of it."""
        return f"{self.model.title}, {f'cut to {len(self.kept_layers)}' if self.dropped_layers else 'whole'}"


def plan_whole(model: BaseModel) -> Plan:
    """The cut that drops nothing."""
    return Plan(model, tuple(range(model.num_hidden_layers)))


def plan_strategy(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    strategy: str,
    drop_count: int,
    report: Report = lambda _: None,
) -> Plan:
    """The cut that a strategy makes; measures contribution scores where they are needed and not known yet."""
    depth = model.num_hidden_layers
    check_drop_count(strategy, depth, drop_count)
    scores = strategy_scores(store, settings, model, task, strategy, report) if strategy in SCORED else None
    return plan_kept(model, kept_layers(strategy, depth, drop_count, scores))


def plan_threshold(store: Store, settings: Settings, model: BaseModel, task: Task, threshold: float) -> Plan:
    """The paper's own form of contribution: every layer whose similarity is above the threshold goes."""
    return plan_kept(model, kept_above_threshold(layer_scores(store, settings, model, task), threshold))


def plan_kept(model: BaseModel, kept: Sequence[int]) -> Plan:
    """A cut of one's own; raises BadInput.

    Where all layers are the same weights it does not matter which of them go, so that equal depths are one cut.
    """
    checked = check_kept_layers(kept, model.num_hidden_layers)
    if model.shared:
        checked = tuple(range(len(checked)))
    check_places(model, checked)
    return Plan(model, checked)


def plan_baselines(store: Store, settings: Settings, model: BaseModel, pinned: bool = False) -> list[Plan]:
    """What stands beside the cuts of a model: other models, whole or cut to their lowest layers; raises BadInput."""
    return [
        plan_kept(find_model(store, settings, baseline.model, pinned), range(baseline.depth))
        for baseline in BASELINES.get(model.id, ())
    ]


def spec_of(plan: Plan, task: Task, recipe: str, seed: int, procedure: str = PROCEDURES[0]) -> RunSpec:
    """The run of a plan; raises BadInput. Of the whole model there is nothing to fine-tune again after a cut."""
    return RunSpec(
        model=plan.model.id,
        model_revision=plan.model.revision,
        task=task.id,
        task_revision=task.revision,
        num_hidden_layers=plan.model.num_hidden_layers,
        kept_layers=plan.kept_layers,
        recipe=find_recipe(recipe, plan.model, task),
        seed=seed,
        procedure=procedure if plan.dropped_layers else PROCEDURES[0],
    )


def plan_sweep(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    strategies: Sequence[str],
    drops: Sequence[int] | None,
) -> list[Plan]:
    """Every distinct cut of the strategies at the drop counts that each can reach, the whole model first.

    A cut that the model's architecture does not allow is left out. Raises BadInput for a drop count that none of the
    strategies can reach.
    """
    depth = model.num_hidden_layers
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
            if drop_count in drop_counts(strategy, depth) and (
                plan := possible_plan(store, settings, model, task, strategy, drop_count)
            ):
                plans.setdefault(plan.kept_layers, plan)
    return list(plans.values())


def possible_plan(
    store: Store, settings: Settings, model: BaseModel, task: Task, strategy: str, drop_count: int
) -> Plan | None:
    """The cut that a strategy makes; None where the architecture does not allow it. Raises BadInput."""
    try:
        return plan_strategy(store, settings, model, task, strategy, drop_count)
    except BadInput:
        if not model.kinds:
            raise
        return None


def with_data(
    store: Store, settings: Settings, task: Task, specs_on: Callable[[Task], list[RunSpec]], report: Report
) -> list[RunSpec]:
    """The runs on a task, whose data are fetched first where a run needs them: what is known is not fetched for.

    Raises WeightsMissing where a run needs weights that a person has to download first.
    """
    specs = specs_on(task)
    if not (task.unfetched or any(spec.model in downloaded_models() for spec in specs)):
        return specs
    missing = queue.unfinished(store, specs)
    check_weights(store, settings, [spec.model for spec in missing])
    if task.unfetched and missing:
        report(Progress("starting"))
        return specs_on(find_task(store, settings, task.id, pinned=True, report=report))
    return specs


def retry(store: Store, settings: Settings, keys: Sequence[str]) -> None:
    """Queue failed and cancelled runs again; raises WeightsMissing, NotAllowed."""
    check_weights(store, settings, [row["model"] for row in runs_by_key(store, keys)])
    queue.retry(store, keys)


def strategy_scores(
    store: Store, settings: Settings, model: BaseModel, task: Task, strategy: str, report: Report = lambda _: None
) -> Scores:
    """What a strategy of SCORED chooses by, from the store, else measured now in a child process and remembered."""
    if strategy == "contribution":
        return layer_scores(store, settings, model, task, report)
    known = known_block_scores(store, model, task)
    if strategy not in known:
        store.check_may_write()
        model.check_weights(settings.assets)
        report(Progress("starting"))
        if task.unfetched:
            task = find_task(store, settings, task.id, pinned=True, report=report)
        kind, sentences = ("greedy", GREEDY_SENTENCES) if strategy == "greedy" else ("blocks", SCORE_SENTENCES)
        known = _asked(settings, model, task, kind, sentences, report)
        save_block_scores(store, identity_of_scores(model, task) | {"sentences": sentences}, known)
    scores: Scores = known[strategy]
    return scores


def layer_scores(
    store: Store, settings: Settings, model: BaseModel, task: Task, report: Report = lambda _: None
) -> tuple[float, ...]:
    """Contribution scores from the store, else measured now in a child process (seconds) and remembered."""
    identity = identity_of_scores(model, task)
    scores = get_layer_scores(store, identity, model.num_hidden_layers)
    if scores is None:
        store.check_may_write()
        model.check_weights(settings.assets)
        report(Progress("starting"))
    if scores is None and task.unfetched:
        task = find_task(store, settings, task.id, pinned=True, report=report)
        identity = identity_of_scores(model, task)
        scores = get_layer_scores(store, identity, model.num_hidden_layers)
    if scores is None:
        scores = tuple(_asked(settings, model, task, "similarity", SCORE_SENTENCES, report))
        save_layer_scores(store, identity, scores)
    return scores


def _asked(settings: Settings, model: BaseModel, task: Task, kind: str, sentences: int, report: Report) -> Any:
    from pmb.lab.executors import ask  # time to import that a cached answer needs not take

    job = {"kind": kind, "model": asdict(model), "task": asdict(task), "assets": str(settings.assets)}
    return ask(job | {"sentences": sentences}, report)["scores"]


def known_layer_scores(store: Store, model: BaseModel, task: Task) -> tuple[float, ...] | None:
    """Contribution scores where they have been measured already."""
    return get_layer_scores(store, identity_of_scores(model, task), model.num_hidden_layers)


def known_block_scores(store: Store, model: BaseModel, task: Task) -> dict[str, Scores]:
    """What the strategies beside the paper's six choose by, by strategy, where it has been measured already."""
    return more_scores(store, identity_of_scores(model, task), model.num_hidden_layers)


def more_scores(store: Store, identity: Row, depth: int) -> dict[str, Scores]:
    """The same by the identity of contribution scores, whatever number of sentences they rest on."""
    known = get_block_scores(store, identity, depth)
    return known | get_block_scores(store, identity | {"sentences": GREEDY_SENTENCES}, depth)


def strategies_of_plan(store: Store, plan: Plan, task: Task) -> tuple[str, ...]:
    """The names of the strategies that lead to this cut, as far as is known."""
    scores = known_layer_scores(store, plan.model, task)
    more = known_block_scores(store, plan.model, task)
    return strategies_of(plan.kept_layers, plan.model.num_hidden_layers, scores, more)


def scores_identity(spec: RunSpec) -> Row:
    """Under what the contribution scores of a run's model and task are remembered."""
    names = ("model", "model_revision", "task", "task_revision")
    return {name: getattr(spec, name) for name in names} | {"sentences": SCORE_SENTENCES}


def identity_of_scores(model: BaseModel, task: Task) -> Row:
    """Under what the contribution scores of a model on a task are remembered."""
    return {
        "model": model.id,
        "model_revision": model.revision,
        "task": task.id,
        "task_revision": task.revision,
        "sentences": SCORE_SENTENCES,
    }
