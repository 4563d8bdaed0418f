"""A search in words: its goal, its verdict and what is known so far."""

from __future__ import annotations

import math

from pmb.insight.search import (
    BEYOND,
    BROKEN,
    CLOSE,
    FAILED,
    FORETOLD,
    OPEN,
    SPENT,
    SURE,
    TOLERANCE_POINTS,
    UNDECIDABLE,
    Goal,
    Question,
    Standing,
    Step,
)
from pmb.wording import counted


def sentence_of(question: Question, step: Step) -> str:
    """What is known, with the verdict where there is one."""
    if step.verdict == FAILED:
        return "The whole model could not be fine-tuned, so that there is nothing to compare with."
    parts = _opening(question, step), _others(question, step)
    return " ".join(filter(None, parts))


def goal_text(goal: Goal, total: int) -> str:
    """A goal as it follows "find …"."""
    if goal.points is not None:
        return f"the smallest model within {counted(goal.points, 'point')}"
    return f"the best model of at most {goal.most_layers} of {total} layers"


def _opening(question: Question, step: Step) -> str:
    """The verdict, or what seems so."""
    standings, answer, verdict = step.standings, step.answer, step.verdict
    if answer is None:
        return "The budget is spent, and nothing is known yet." if verdict == SPENT else "Nothing is known yet."
    goal, total = question.goal, question.num_hidden_layers
    found = next((one for one in standings if one.cut == answer), None)
    aim = (
        f"within {counted(goal.points, 'point')}"
        if goal.points is not None
        else f"with at most {goal.most_layers} layers"
    )
    if found is None:
        if verdict == SURE:
            return f"Sure at 95 %: no cut is {aim}."
        measured = any(one.seeds for one in standings)
        doubt = f"none of the cuts that were measured is likely {aim}." if measured else "no cut has been measured."
    else:
        what = f"layers {' '.join(map(str, answer))} ({len(answer)} of {total}), {_lost(found)}"
        if goal.points is None:
            most = f"none {aim} is better by more than {counted(TOLERANCE_POINTS, 'point')} than"
            if verdict == SURE:
                return f"Sure at 95 %: {most} {what}."
            doubt = f"the best {aim} seems to be {what}."
        else:
            if verdict == SURE:
                return f"Sure at 95 %: the smallest {aim} is {what}."
            doubt = f"the smallest {aim} seems to be {what}."
    if verdict == UNDECIDABLE:
        examples = f"{len(question.labels):,} dev examples and {question.most_seeds} seeds a cut at most"
        return f"Not decidable with {examples}: {doubt}"
    return f"The budget is spent: {doubt}" if verdict == SPENT else f"So far {doubt}"


def _lost(one: Standing) -> str:
    if math.isnan(one.loss):
        return f"which scores {100 * one.score:.1f}"
    word, low, high = ("losing", one.low, one.high) if one.loss >= 0 else ("gaining", -one.high, -one.low)
    interval = "" if math.isnan(low) else f"; {low:.1f} to {high:.1f}"
    return f"{word} {abs(one.loss):.1f} points ({counted(one.seeds, 'seed')}{interval})"


def _others(question: Question, step: Step) -> str:
    """How the other cuts stand that matter: the smaller ones, or all that are small enough."""
    standings, answer = step.standings, step.answer
    smaller = question.goal.points is not None
    fewest = len(answer) if answer is not None and smaller else question.num_hidden_layers + 1
    rest = [one for one in standings if one.cut != answer and len(one.cut) < fewest]
    if not rest:
        return ""
    measured = sum(one.state == OPEN and one.seeds > 0 for one in rest)
    tried = sum(one.state == OPEN and not one.seeds and one.tried > 0 for one in rest)
    counts = {
        "clearly beyond" if smaller else "clearly not": sum(one.state == BEYOND for one in rest),
        "left out by preview alone": sum(one.state == FORETOLD for one in rest),
        "too close to be told": sum(one.state == CLOSE for one in rest),
        "measured and open": measured,
        "tried with few epochs": tried,
        "not measured": sum(one.state == OPEN for one in rest) - measured - tried,
        "failed": sum(one.state == BROKEN for one in rest),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    if not parts:
        return ""
    kind = "smaller cut" if smaller else "other cut"
    return f"Of {counted(len(rest), kind)}: {', '.join(parts)}."
