"""Does the search find what the whole grid finds, in a fifth of its fine-tuning steps? Replayed on shipped runs.

Run: python -m benchmarks.search [--write]
Nothing is trained: where a search asks for a run, its stored answers are given. The grid is every stored cut with three
seeds; it contradicts an answer where its own 95 % interval, over sentences and seeds, says so. How often it contradicts
any answer stands beside it: a grid that tells nothing contradicts nobody. --write puts the table into
benchmarks/RESULTS.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

import click

from benchmarks.results import publish
from benchmarks.shipped import shipped_rows
from pmb.catalog.recipes import RECIPES
from pmb.insight.evidence import Answers, Cut, Evidence
from pmb.insight.intervals import TAIL
from pmb.insight.search import SURE, UNDECIDABLE, Budget, Goal, Question, Run, Step, decide

GOALS = (Goal(points=1), Goal(points=2), Goal(points=3), Goal(most_layers=3), Goal(most_layers=4))
SHARE = 1 / 5  # of the grid's steps
AT_ONCE = 2
RECIPE = RECIPES["standard"]
LAYERS = 6
SEEDS = 3


@dataclass(frozen=True)
class Grid:
    """The stored runs of a task."""

    task: str
    metric: str
    labels: Answers
    runs: dict[Run, Answers]

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
        runs = {Run(tuple(r["kept_layers"]), r["seed"], RECIPE.epochs): tuple(r["predictions"]) for r in rows}
        yield Grid(task, metric, labels[task, revision], runs)


def replay(grid: Grid, goal: Goal, most_runs: float) -> Replay:
    """Search with stored runs until the verdict."""
    whole = tuple(range(LAYERS))
    candidates = tuple(cut for cut in grid.cuts if cut != whole)
    question = Question(goal, candidates, LAYERS, grid.metric, grid.labels, RECIPE.epochs, most_seeds=SEEDS)
    known: dict[Run, Answers] = {}
    while True:
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


def lines(limited: list[Replay], unlimited: list[Replay], sizes: dict[str, tuple[int, int]]) -> Iterator[str]:
    """The section."""
    steps = sum(len(one.runs) for one in limited) / sum(sizes[one.task][0] for one in limited)
    work = sum(layer_steps(one.runs) for one in limited) / sum(sizes[one.task][1] for one in limited)
    contradicted, same = sum(one.contradicted for one in limited), sum(one.same for one in limited)
    yield (
        f"`python -m benchmarks.search --write`: {len(limited)} searches on stored runs of `{RECIPE.name}`, "
        f"{AT_ONCE} at a time. The grid of a task: all its stored cuts with 3 seeds (20 cuts on Rotten Tomatoes, 10 on "
        "the others)."
    )
    yield (
        f"`{RECIPE.name}` has {RECIPE.epochs} epochs and so no third of one: few epochs before many, and previews, are "
        "not in this replay."
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
        f"With a fifth of the grid's steps as budget: {steps:.1%} of the steps ({work:.1%} by layers gone through), "
        f"**{contradicted} of {len(limited)} answers contradicted**, {same} as the grid's means choose (the same "
        "depth; the same cut where the depth is given). Of an answer drawn at random the grid would contradict "
        f"{mean(one.any_contradicted for one in limited):.0%}, and choose {mean(one.any_same for one in limited):.0%}."
    )
    ended = [one for one in unlimited if one.step.verdict in (SURE, UNDECIDABLE)]
    share = sum(len(one.runs) for one in ended) / sum(sizes[one.task][0] for one in ended)
    sure = sum(one.step.verdict == SURE for one in ended)
    wrong = sum(one.contradicted for one in ended)
    yield (
        f"Without a budget, and with 3 seeds a cut at most: {sure} sure, {len(ended) - sure} not decidable, after "
        f"{share:.0%} of the steps; {wrong} contradicted, {sum(one.same for one in ended)} as the grid's means choose."
    )


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(write: bool) -> None:
    """Replay every goal on every task."""
    limited, unlimited, sizes = [], [], {}
    for grid in grids():
        sizes[grid.task] = len(grid.runs), layer_steps(grid.runs)
        for goal in GOALS:
            limited.append(replay(grid, goal, SHARE * len(grid.runs)))
            unlimited.append(replay(grid, goal, float("inf")))
    publish("Search", lines(limited, unlimited, sizes), write)


if __name__ == "__main__":
    main()
