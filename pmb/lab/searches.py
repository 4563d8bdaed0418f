"""Searches that go on by themselves: started, stepped by the worker whenever a run has ended, stopped, gone on with.

One row a model, task, recipe and goal. What a search knows is what the store has: every finished run of its cuts
counts, whoever asked for it, and costs it nothing. Two workers that step the same search come to the same runs, and a
run asked for twice is one. What previews foretell of a cut is asked anew at each step: whoever starts a search has them
computed beside it, and each further measured cut calibrates them better.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import select

from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import check_recipe, find_recipe, with_change
from pmb.catalog.tasks import Task
from pmb.errors import BadInput, PmbError, RunFailed
from pmb.insight import estimate
from pmb.insight.evidence import Answers, Cut
from pmb.insight.search import FAILED, Band, Budget, Goal, Question, Run, Step, bands, decide, rungs
from pmb.insight.search_words import sentence_of
from pmb.lab import previews, queue
from pmb.lab.answer import HEADLINE_SHAPE
from pmb.lab.dev import dev_labels
from pmb.lab.plan import plan_sweep
from pmb.lab.results import recent_runs
from pmb.lab.rows import are_answers
from pmb.lab.schema import dev_labels as dev_table
from pmb.lab.schema import runs
from pmb.lab.schema import searches as table
from pmb.lab.sources import find_model, find_task, tasks_by_id
from pmb.lab.store import Row, Store, about, list_latencies, matching, runs_by_key
from pmb.settings import Settings
from pmb.spec import PROCEDURES, Recipe, Report, RunSpec
from pmb.strategies import STRATEGIES
from pmb.wording import counted

OPEN, STOPPED, DONE = "open", "stopped", "done"
ENDED = ("done", "failed")  # runs, without those that were cancelled
MOST_AT_ONCE = 8  # runs; more would be asked for before the first have told anything
RATE_RUNS = 200  # the newest so many tell how quick this machine is
MEGABYTES_A_PARAMETER = 4e-6  # float32


@dataclass(frozen=True, slots=True)
class Aim:
    """What a search is for: a loss in points of the smallest model, or a speed-up or a size of the best one."""

    within: float | None = None
    speedup: float | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in asdict(self).values() if value is not None]
        if len(given) != 1:
            raise BadInput("A search has one goal: --within, --speedup or --megabytes.")
        if not (math.isfinite(given[0]) and given[0] > 0):
            raise BadInput(f"Goal {given[0]:g} cannot be searched for: a number above 0 can.")


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a search may use: so many runs of the full recipe, or so many minutes in which its runs go on."""

    runs: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in asdict(self).values() if value is not None]
        if len(given) != 1:
            raise BadInput("A search has one budget: --budget-runs or --budget-minutes.")
        if not (math.isfinite(given[0]) and given[0] > 0):
            raise BadInput(f"Budget {given[0]:g} buys nothing: a number above 0 does.")


def start(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    recipe: str,
    aim: Aim,
    limit: Limit,
    report: Report = lambda _: None,
) -> str:
    """Start a search, or go on with the same one, and return its key; raises PmbError.

    The model is looked up, data are fetched and contribution scores measured where need be. With a greater budget a
    search that spent its own goes on.
    """
    store.check_may_write()
    check_recipe(recipe)
    model = find_model(store, settings, model.id, pinned=True)
    model.check_weights(settings.assets)
    if task.unfetched:
        task = find_task(store, settings, task.id, pinned=True, report=report)
    chosen = find_recipe(recipe, model, task)
    dev_labels(store, settings, task, report)
    plans = plan_sweep(store, settings, model, task, STRATEGIES, None)
    whole = tuple(range(model.num_hidden_layers))
    goal = {name: float(value) for name, value in asdict(aim).items() if value is not None}  # 3 is 3.0
    about = {
        "model": model.id,
        "model_revision": model.revision,
        "task": task.id,
        "task_revision": task.revision,
        "recipe_values": chosen.values,
        "goal": goal,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    most_layers = None if aim.within is not None else _most_layers(store, model, aim)
    budget = {name: value for name, value in asdict(limit).items() if value is not None}
    values = about | {
        "key": key,
        "num_hidden_layers": model.num_hidden_layers,
        "parameters": model.parameters or None,
        "metric": task.metric,
        "recipe": chosen.name,
        "recipe_values": chosen.to_dict(),
        "goal": goal | {"most_layers": most_layers},
        "candidates": [list(plan.kept_layers) for plan in plans if plan.kept_layers != whole],
        "budget": budget,
        "state": OPEN,
        "started_by": store.user or None,
    }
    damaged = get_search(store, key) is None  # or not there
    with store.connect() as connection:
        if damaged:
            connection.execute(table.delete().where(table.c.key == key))
        now = store.now(connection)
        first = {"steps": 0, "asked": [], "waits_for": [], "started_at": now, "changed_at": now}
        connection.execute(store.insert_new(table), values | first)
        again: Row = values | {"waits_for": [], "changed_at": now, "error": None}
        connection.execute(table.update().where(table.c.key == key).values(again))
    return key


def look_ahead(store: Store, settings: Settings, model: BaseModel, task: Task, report: Report = lambda _: None) -> str:
    """Compute what previews of a search's cuts are missing; why there are none where that fails: it goes on without."""
    try:
        previews.preview(store, settings, model, task, STRATEGIES, report=report)
    except RunFailed as error:
        return str(error)
    return ""


def _most_layers(store: Store, model: BaseModel, aim: Aim) -> int:
    """The deepest cut that is quick or small enough, by what was measured, else in proportion to depth.

    Raises BadInput where none is.
    """
    depths = range(model.num_hidden_layers - 1, 0, -1)
    if aim.speedup is not None:
        ratios = {depth: model.num_hidden_layers / depth for depth in depths}
        for row in sorted(list_latencies(store, model.id, model.revision), key=lambda row: row["measured_at"]):
            if (row["batch"], row["length"]) == HEADLINE_SHAPE:
                ratios[row["depth"]] = row["ratio"]
        fitting = [depth for depth in depths if ratios[depth] >= aim.speedup]
        if not fitting:
            raise BadInput(f"No cut is {aim.speedup:g} times as fast: one layer is {ratios[1]:.1f} times as fast.")
        return fitting[0]
    assert aim.megabytes is not None
    sizes = _sizes(store, model)
    fitting = [depth for depth in depths if sizes[depth] <= aim.megabytes]
    if not fitting:
        raise BadInput(f"No cut has {aim.megabytes:g} MB or less: one layer leaves {sizes[1]:.0f} MB.")
    return fitting[0]


def _sizes(store: Store, model: BaseModel) -> dict[int, float]:
    """Megabytes by depth: from any finished cut, else about as an encoder of so many parameters has them."""
    total = model.num_hidden_layers
    query = select(runs.c.key, runs.c.kept_layers, runs.c.megabytes, runs.c.whole_model_megabytes).where(
        runs.c.model == model.id, runs.c.model_revision == model.revision, runs.c.state == "done"
    )
    whole, layer = None, None
    for row in store.read(runs, query):
        if len(row["kept_layers"]) < total:
            whole = row["whole_model_megabytes"]
            layer = (whole - row["megabytes"]) / (total - len(row["kept_layers"]))
    if whole is None or layer is None:
        if not model.parameters:
            raise BadInput(f"How large cuts of {model.id} are is not known before one has been fine-tuned.")
        whole = model.parameters * MEGABYTES_A_PARAMETER
        layer = estimate.layer_parameters(model.parameters, total) * MEGABYTES_A_PARAMETER / total
    return {depth: whole - (total - depth) * layer for depth in range(1, total + 1)}


def get_search(store: Store, key: str) -> Row | None:
    """A search, in any state; None where it is not there or its row is damaged."""
    return next(iter(store.read(table, select(table).where(table.c.key == key))), None)


def searches_of(store: Store, model: BaseModel, task: Task, recipe: str) -> list[Row]:
    """The searches of a model on a task with a recipe as they are now, the last changed first."""
    query = select(table).where(*matching(table, about(model, task)))
    wanted = find_recipe(recipe, model, task)
    rows = store.read(table, query.order_by(table.c.changed_at.desc()))
    return [row for row in rows if wanted.is_stored_as(row["recipe_values"])]


def sentence(store: Store, key: str) -> str:
    """What a search knows, in words; empty before it has looked."""
    row = get_search(store, key)
    return row["found"]["sentence"] if row and row["found"] else ""


def waiting_line(store: Store, key: str) -> str | None:
    """How far a search is and what it is measuring, in a line; None when it does not go on any more."""
    row = get_search(store, key)
    if row is None or row["state"] != OPEN:
        return None
    live = runs_by_key(store, row["waits_for"])
    count = row["found"]["runs"] if row["found"] else 0
    done = f"{counted(count, 'run')} done"
    return f"{done}, measuring {measuring(row, live)}" if live else f"{done}, choosing what to measure"


def measuring(row: Row, live: Sequence[Row]) -> str:
    """The runs that a search waits for and how far they are, such as "layers 0 1 2, seed 1, 1 of 3 epochs (40 %)"."""
    full = row["recipe_values"]["epochs"]
    words = []
    for run in live:
        epochs = run["recipe_values"]["epochs"]
        fewer = f", {epochs} of {full} epochs" if epochs < full else ""
        words.append(f"layers {' '.join(map(str, run['kept_layers']))}, seed {run['seed']}{fewer}{_far(run)}")
    return "; ".join(words)


def _far(run: Row) -> str:
    """How far a run is, in parentheses; nothing of one that waits."""
    if run["state"] != "running" or not run["progress"]:
        return ""
    training = run["progress"]["phase"] == "training"
    return f" ({100 * estimate.share_done(run['progress']):.0f} %)" if training else f" ({run['progress']['phase']})"


def answer(store: Store, key: str) -> Row:
    """A search as the plain values that `search --json` prints; raises BadInput."""
    row = get_search(store, key)
    if row is None:
        raise BadInput(f"Search {key[:12]} is not in this store, or its row is damaged.")
    names = ("model", "task", "recipe", "goal", "budget", "state", "error")
    nothing: Row = {"verdict": "", "answer": None, "sentence": "", "runs": 0, "spent": 0.0, "standings": []}
    return {"search": key[:12]} | {name: row[name] for name in names} | (row["found"] or nothing)


def stop(store: Store, key: str) -> None:
    """Stop a search and cancel what it asked for and has not ended; what is measured stays. Raises NotAllowed."""
    store.check_may_write()
    with store.connect() as connection:
        stopped = {"state": STOPPED, "waits_for": [], "changed_at": store.now(connection)}
        connection.execute(table.update().where(table.c.key == key, table.c.state == OPEN).values(stopped))
        asked = connection.execute(select(table.c.asked).where(table.c.key == key)).scalar() or []
    queue.cancel(store, asked)


def go_on(store: Store, key: str) -> None:
    """Go on with a search that was stopped. Raises NotAllowed."""
    store.check_may_write()
    with store.connect() as connection:
        again: Row = {"state": OPEN, "waits_for": [], "error": None, "changed_at": store.now(connection)}
        connection.execute(table.update().where(table.c.key == key, table.c.state == STOPPED).values(again))


def step_open(store: Store, at_once: int) -> None:
    """Step every open search of which a run has ended; a glance at the store where there is none."""
    rows = store.read(table, select(table.c.key, table.c.waits_for).where(table.c.state == OPEN))
    waits_for = {key for row in rows for key in row["waits_for"]}
    live_states = select(runs.c.key).where(runs.c.key.in_(waits_for), runs.c.state.in_(("queued", "running")))
    with store.connect() as connection:
        live = set(connection.execute(live_states).scalars()) if waits_for else set()
    for row in rows:
        if not row["waits_for"] or not live.issuperset(row["waits_for"]):
            step(store, row["key"], at_once)


def step(store: Store, key: str, at_once: int) -> None:
    """Look at what has been measured, and ask for the next runs or write the verdict down.

    A run that somebody cancelled stops the search; so does what keeps runs from being queued, with the reason. Without
    a whole model there is no search: why it failed is written down.
    """
    row = get_search(store, key)
    if row is None or row["state"] != OPEN:
        return
    labels = _labels(store, row)
    known = _runs_of(store, row, len(labels))
    live = [run["key"] for run in known if _is_live(run)]
    if cancelled := [run for run in known if run["state"] == "cancelled" and run["key"] in row["waits_for"]]:
        error = f"Run {cancelled[0]['key'][:12]} was cancelled; the search does not ask for it again by itself."
        _write(store, row, {"state": STOPPED, "error": error, "waits_for": []})
        return
    try:
        if not labels:
            raise BadInput(f"The dev labels of {row['task']} are not in this store; start the search again.")
        question = _question(store, row, known, labels)
        found = _decide(store, row, question, known, min(at_once, MOST_AT_ONCE))
        specs = [_spec(row, run) for run in found.next_runs]
        queue.submit(replace(store, user=row["started_by"] or ""), specs)
    except PmbError as error:
        _write(store, row, {"state": STOPPED, "error": str(error), "waits_for": []})
        return
    asked = [*row["asked"], *(spec.key for spec in specs if spec.key not in row["asked"])]
    values = {
        "state": DONE if found.verdict else OPEN,
        "asked": asked,
        "waits_for": [] if found.verdict else [*live, *(spec.key for spec in specs)],
        "error": _why_failed(row, known) if found.verdict == FAILED else None,
        "found": _as_values(row, question, found, known),
    }
    if _write(store, row, values) and found.verdict:
        queue.cancel(store, [key for key in live if key in asked])


def _why_failed(row: Row, known: Sequence[Row]) -> str:
    """Why the search's run of the whole model failed."""
    failed = _failed_whole(row, known)[0]
    return f"Run {failed['key'][:12]} failed: {failed['error']}"


def _failed_whole(row: Row, known: Sequence[Row], few_epochs: bool = False) -> list[Row]:
    """The search's runs of the whole model that failed, with the full recipe or with fewer epochs."""
    whole, full = list(range(row["num_hidden_layers"])), row["recipe_values"]["epochs"]
    return [
        run
        for run in _own(row, known)
        if run["kept_layers"] == whole
        and run["state"] == "failed"
        and (run["recipe_values"]["epochs"] < full) == few_epochs
    ]


def _write(store: Store, row: Row, values: Row) -> bool:
    """Change a search that nobody has stepped, stopped or begun anew meanwhile."""
    same = (table.c.key == row["key"], table.c.state == OPEN, table.c.steps == row["steps"])
    with store.connect() as connection:
        more = {"steps": row["steps"] + 1, "changed_at": store.now(connection)}
        return bool(connection.execute(table.update().where(*same).values(values | more)).rowcount)


def _is_live(run: Row) -> bool:
    return run["state"] in ("queued", "running") and not run["cancel_requested"]


def _recipe(row: Row, epochs: int) -> Recipe:
    """The search's recipe with this number of epochs."""
    full = Recipe(**row["recipe_values"])
    if epochs == full.epochs:
        return full
    return replace(full, epochs=epochs, name=with_change(full.name, "epochs", epochs))


def _spec(row: Row, run: Run) -> RunSpec:
    names = ("model", "model_revision", "task", "task_revision", "num_hidden_layers")
    about = {name: row[name] for name in names}
    return RunSpec(**about, kept_layers=run.cut, recipe=_recipe(row, run.epochs), seed=run.seed)


def _runs_of(store: Store, row: Row, num_dev: int) -> list[Row]:
    """Every run, in any state, that tells something about a search's cuts; with answers to all dev examples or none."""
    query = select(
        *(runs.c[name] for name in ("key", "state", "kept_layers", "seed", "recipe_values", "predictions", "score")),
        *(runs.c[name] for name in ("started_at", "finished_at", "cancel_requested", "error")),
    ).where(
        runs.c.model == row["model"],
        runs.c.model_revision == row["model_revision"],
        runs.c.task == row["task"],
        runs.c.task_revision == row["task_revision"],
        runs.c.procedure == PROCEDURES[0],
    )
    recipes = [_recipe(row, epochs) for epochs in rungs(row["recipe_values"]["epochs"])]
    cuts = [*row["candidates"], list(range(row["num_hidden_layers"]))]
    return [
        run
        for run in store.read(
            runs, query.order_by(runs.c.queued_at, runs.c.key), are_answers("predictions", 0, num_dev)
        )
        if run["kept_layers"] in cuts and any(recipe.is_stored_as(run["recipe_values"]) for recipe in recipes)
    ]


def _run(run: Row) -> Run:
    return Run(tuple(run["kept_layers"]), run["seed"], run["recipe_values"]["epochs"])


def _labels(store: Store, row: Row) -> Answers:
    """The labels of the dev examples; empty where they are not known."""
    about = (dev_table.c.task == row["task"], dev_table.c.task_revision == row["task_revision"])
    found = store.read(dev_table, select(dev_table).where(*about))
    return tuple(found[0]["labels"]) if found else ()


def _question(store: Store, row: Row, known: Sequence[Row], labels: Answers) -> Question:
    goal = row["goal"]
    return Question(
        goal=Goal(points=goal.get("within"), most_layers=goal["most_layers"]),
        candidates=tuple(tuple(cut) for cut in row["candidates"]),
        num_hidden_layers=row["num_hidden_layers"],
        metric=row["metric"],
        labels=labels,
        epochs=row["recipe_values"]["epochs"],
        predicted=_predicted(store, row, known),
        tries_few_epochs=not _failed_whole(row, known, few_epochs=True),
    )


def _predicted(store: Store, row: Row, known: Sequence[Row]) -> dict[Cut, Band]:
    """What previews foretell of the cuts by now."""
    scores: dict[Cut, list[float]] = defaultdict(list)
    for run in known:
        if run["state"] == "done" and run["recipe_values"]["epochs"] == row["recipe_values"]["epochs"]:
            scores[tuple(run["kept_layers"])].append(run["score"])
    return bands(previews.frozen_scores(store, row), scores, row["num_hidden_layers"], row["metric"])


def _decide(store: Store, row: Row, question: Question, known: Sequence[Row], at_once: int) -> Step:
    measured = {_run(run): tuple(run["predictions"]) for run in known if run["state"] == "done"}
    running = [_run(run) for run in known if _is_live(run)]
    failed = {tuple(run["kept_layers"]) for run in _own(row, known) if run["state"] == "failed"}
    if not _failed_whole(row, known):
        failed.discard(question.whole)
    return decide(question, measured, running, failed, _budget(store, row, known, at_once), at_once)


def _budget(store: Store, row: Row, known: Sequence[Row], at_once: int) -> Budget:
    """What is left of it; runs that were there already, or that others asked for, cost nothing."""
    mine = [run for run in _own(row, known) if run["state"] != "cancelled"]
    live = [run for run in mine if _is_live(run)]
    if "runs" in row["budget"]:
        full = row["recipe_values"]["epochs"]
        return Budget(row["budget"]["runs"], _epochs(mine) / full, lambda run: run.epochs / full)
    recent, tasks = recent_runs(store, RATE_RUNS), tasks_by_id(store)

    def cost(run: Run) -> float:
        # Before anything has run here nothing is known, and the first runs tell.
        wanted = _spec(row, run).to_dict() | {"recipe_values": _recipe(row, run.epochs).to_dict()}
        return (estimate.run_seconds(wanted, recent, tasks) or 0.0) / at_once

    spent = _clock_seconds(mine) + sum(cost(_run(run)) for run in live)
    return Budget(60 * row["budget"]["minutes"], spent, cost)


def _own(row: Row, known: Sequence[Row]) -> list[Row]:
    """The runs that the search asked for itself."""
    return [run for run in known if run["key"] in row["asked"]]


def _epochs(known: Sequence[Row]) -> int:
    return sum(run["recipe_values"]["epochs"] for run in known)


def _clock_seconds(known: Sequence[Row]) -> float:
    """In which those that have ended went on."""
    return estimate.clock_seconds([run for run in known if run["state"] in ENDED and run["started_at"] is not None])


def _as_values(row: Row, question: Question, found: Step, known: Sequence[Row]) -> Row:
    """What is known, as JSON has it: None for what is not a number."""
    standings = [
        {name: None if value != value else value for name, value in asdict(one).items()} for one in found.standings
    ]
    ended = [run for run in _own(row, known) if run["state"] in ENDED]
    in_runs = "runs" in row["budget"]
    return {
        "verdict": found.verdict,
        "answer": None if found.answer is None else list(found.answer),
        "sentence": sentence_of(question, found),
        "runs": len(ended),
        "spent": _epochs(ended) / row["recipe_values"]["epochs"] if in_runs else _clock_seconds(ended) / 60,
        "standings": standings,
    }
