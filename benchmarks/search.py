"""Does the search find what the whole grid finds, in a fifth of its fine-tuning steps? Replayed on shipped runs.

Run: PMB_GLUE_DIR=../shared/glue python -m benchmarks.search [--write]
Nothing is trained: where a search asks for a run, its stored answers are given. Previews are computed in a home of
their own, and say something where PMB_GLUE_DIR has the task. The grid is every stored cut with three seeds, without
the random draws; it contradicts an answer where its own 95 % interval, over sentences and seeds, says so. How often it
contradicts any answer stands beside it: a grid that tells nothing contradicts nobody. --write puts the table into
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean

import click

from benchmarks.preview import previewed
from benchmarks.results import publish
from benchmarks.shipped import shipped_rows
from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.insight.evidence import Answers, Cut, Evidence
from pmb.insight.intervals import TAIL
from pmb.insight.predict import MIN_CONFIGURATIONS
from pmb.insight.search import FORETOLD, SURE, UNDECIDABLE, Budget, Goal, Question, Run, Step, bands, decide
from pmb.lab.sources import find_task
from pmb.lab.store import open_store
from pmb.settings import from_environment

GOALS = (Goal(points=1), Goal(points=2), Goal(points=3), Goal(most_layers=3), Goal(most_layers=4))
SHARE = 1 / 5  # of the grid's steps
AT_ONCE = 2
RECIPE = RECIPES["first-2000"]
MODEL, LAYERS = "minilm-l6", 6
SEEDS = 3


@dataclass(frozen=True)
class Grid:
    """The stored runs of a task."""

    task: str
    metric: str
    labels: Answers
    runs: dict[Run, Answers]
    scores: dict[Run, float]

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """All that were measured, the whole model among them."""
        return tuple(sorted({run.cut for run in self.runs}))

    @cached_property
    def evidence(self) -> Evidence:
        """What all of the runs say."""
        answers: dict[Cut, dict[int, Answers]] = defaultdict(dict)
        for run, given in self.runs.items():
            answers[run.cut][run.seed] = given
        return Evidence(self.metric, self.labels, answers)


@dataclass(frozen=True, slots=True)
class Replay:
    """One search and what the grid says of its answer."""

    task: str
    goal: Goal
    step: Step
    runs: tuple[Run, ...]
    contradicted: bool
    same: bool  # as deep as, or the same cut as, what the grid's means choose
    any_contradicted: float  # of all possible answers, the share that the grid contradicts
    any_same: float


def grids() -> Iterator[Grid]:
    """The stored grid of each task."""
    labels = {(row["task"], row["task_revision"]): tuple(row["labels"]) for row in shipped_rows("dev_labels")}
    by_task = defaultdict(list)
    for row in shipped_rows("runs"):
        if row["recipe"] == RECIPE.name and row["num_hidden_layers"] == LAYERS:
            by_task[row["task"], row["task_revision"], row["metric"]].append(row)
    for (task, revision, metric), rows in sorted(by_task.items()):
        seeds = Counter(tuple(row["kept_layers"]) for row in rows)  # random draws have one
        rows = [row for row in rows if seeds[tuple(row["kept_layers"])] == SEEDS]
        of_run = {Run(tuple(row["kept_layers"]), row["seed"], RECIPE.epochs): row for row in rows}
        runs = {run: tuple(row["predictions"]) for run, row in of_run.items()}
        scores = {run: float(row["score"]) for run, row in of_run.items()}
        yield Grid(task, metric, labels[task, revision], runs, scores)


def frozen_of(found: list[Grid]) -> dict[str, dict[Cut, float]]:
    """What previews read off every cut, by task; nothing of a task whose data are not here."""
    own, frozen = from_environment(), {}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "assets").symlink_to(own.assets)
        own = replace(own, home=Path(home), database_url="")
        store = open_store(own)
        for grid in found:
            task = find_task(store, own, grid.task)
            if not task.unfetched:
                frozen[grid.task] = previewed(store, own, find_model(MODEL), task, grid.cuts)
        store.close()
    return frozen


def replay(grid: Grid, goal: Goal, most_runs: float, frozen: Mapping[Cut, float]) -> Replay:
    """Search with stored runs until the verdict."""
    whole = tuple(range(LAYERS))
    candidates = tuple(cut for cut in grid.cuts if cut != whole)
    question = Question(goal, candidates, LAYERS, grid.metric, grid.labels, RECIPE.epochs, most_seeds=SEEDS)
    known: dict[Run, Answers] = {}
    while True:
        scores: dict[Cut, list[float]] = defaultdict(list)
        for run in known:
            scores[run.cut].append(grid.scores[run])
        question = replace(question, predicted=bands(frozen, scores, LAYERS, grid.metric))
        step = decide(question, known, (), (), Budget(most_runs, len(known), lambda run: 1.0), AT_ONCE)
        if step.verdict:
            break
        known |= {run: grid.runs[run] for run in step.next_runs}
    assert step.answer is not None
    possible = question.eligible if goal.points is None else grid.cuts
    judged = {cut: judge(grid, question, cut) for cut in possible}
    any_contradicted, any_same = (mean(one[i] for one in judged.values()) for i in (0, 1))
    return Replay(grid.task, goal, step, tuple(known), *judged[step.answer], any_contradicted, any_same)


def judge(grid: Grid, question: Question, answer: Cut) -> tuple[bool, bool]:
    """Whether the grid contradicts an answer, and whether its means choose the same."""
    evidence, whole, threshold = grid.evidence, question.whole, question.threshold

    def ends(cut: Cut, other: Cut) -> tuple[float, float]:
        found = evidence.difference(cut, other)
        reach = found.reach(1 - TAIL)
        return found.mean - reach, found.mean + reach

    if question.goal.points is None:
        others = [cut for cut in question.eligible if cut != answer]
        best = max(question.eligible, key=evidence.mean)
        return any(ends(cut, answer)[0] > 0 for cut in others), answer == best
    too_bad = answer != whole and ends(answer, whole)[1] < threshold
    smaller = [cut for cut in question.candidates if len(cut) < len(answer)]
    too_large = any(ends(cut, whole)[0] > threshold for cut in smaller)
    within = [len(cut) for cut in question.candidates if evidence.difference(cut, whole).mean >= threshold]
    return too_bad or too_large, len(answer) == min(within, default=LAYERS)


def layer_steps(runs: tuple[Run, ...] | dict[Run, Answers]) -> int:
    """Steps by the layers that they go through."""
    return sum(len(run.cut) for run in runs)


def goal_name(goal: Goal) -> str:
    """Such as "1 point"."""
    if goal.points is None:
        return f"best of at most {goal.most_layers} layers"
    return f"within {goal.points:g} point{'' if goal.points == 1 else 's'}"


def share_of_steps(replays: list[Replay], sizes: dict[str, tuple[int, int]]) -> float:
    """Their runs of all that the grids have."""
    return sum(len(one.runs) for one in replays) / sum(sizes[one.task][0] for one in replays)


def to_the_end(replays: list[Replay], sizes: dict[str, tuple[int, int]]) -> str:
    """How searches without a budget ended."""
    sure = sum(one.step.verdict == SURE for one in replays)
    undecidable = sum(one.step.verdict == UNDECIDABLE for one in replays)
    wrong, same = sum(one.contradicted for one in replays), sum(one.same for one in replays)
    foretold = sum(standing.state == FORETOLD for one in replays for standing in one.step.standings)
    return (
        f"{sure} sure, {undecidable} not decidable, after {share_of_steps(replays, sizes):.0%} of the steps; "
        f"{foretold} cuts left out by preview alone; {wrong} contradicted, {same} as the grid's means choose."
    )


def lines(
    limited: list[Replay],
    unlimited: list[Replay],
    without: list[Replay],
    sizes: dict[str, tuple[int, int]],
    previews_of: list[str],
) -> Iterator[str]:
    """The section."""
    work = sum(layer_steps(one.runs) for one in limited) / sum(sizes[one.task][1] for one in limited)
    contradicted, same = sum(one.contradicted for one in limited), sum(one.same for one in limited)
    yield (
        f"`python -m benchmarks.search --write`: {len(limited)} searches on stored runs of `{RECIPE.name}`, "
        f"{AT_ONCE} at a time. The grid of a task: all its stored cuts with 3 seeds (20 cuts on Rotten Tomatoes, 10 on "
        f"the others). Previews of {', '.join(previews_of) or 'no task'}; they foretell from {MIN_CONFIGURATIONS} "
        "measured cuts on."
    )
    yield (
        f"`{RECIPE.name}` has {RECIPE.epochs} epochs and so no third of one: few epochs before many is not in this "
        "replay."
    )
    yield ""
    yield "| task | goal | runs | of the grid's | answer | verdict | contradicted by the grid | as the grid's means |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in limited:
        answer = " ".join(map(str, one.step.answer or ()))
        yes = ["no", "yes"]
        yield (
            f"| {one.task} | {goal_name(one.goal)} | {len(one.runs)} | {len(one.runs) / sizes[one.task][0]:.0%} | "
            f"{answer} | {one.step.verdict} | {yes[one.contradicted]} | {yes[one.same]} |"
        )
    yield ""
    yield (
        f"With a fifth of the grid's steps as budget: {share_of_steps(limited, sizes):.1%} of the steps ({work:.1%} by "
        f"layers gone through), **{contradicted} of {len(limited)} answers contradicted**, {same} as the grid's means "
        "choose (the same depth; the same cut where the depth is given). Of an answer drawn at random the grid would "
        f"contradict {mean(one.any_contradicted for one in limited):.0%}, and choose "
        f"{mean(one.any_same for one in limited):.0%}."
    )
    yield f"Without a budget, and with {SEEDS} seeds a cut at most: {to_the_end(unlimited, sizes)}"
    yield f"The same without previews: {to_the_end(without, sizes)}"


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(write: bool) -> None:
    """Replay every goal on every task."""
    found = list(grids())
    frozen = frozen_of(found)
    sizes = {grid.task: (len(grid.runs), layer_steps(grid.runs)) for grid in found}
    limited, unlimited, without = [], [], []
    for grid in found:
        for goal in GOALS:
            limited.append(replay(grid, goal, SHARE * len(grid.runs), frozen.get(grid.task, {})))
            unlimited.append(replay(grid, goal, float("inf"), frozen.get(grid.task, {})))
            without.append(replay(grid, goal, float("inf"), {}))
    publish("Search", lines(limited, unlimited, without, sizes, [*frozen]), write)


if __name__ == "__main__":
    main()
