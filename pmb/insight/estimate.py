"""How long runs will take, judged by those that have ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pmb.catalog.tasks import Task

WORDS = 30_000  # of a usual vocabulary
CHARACTERS_A_TOKEN = 4.2  # of English in a vocabulary of 30,000 word pieces
# What a step takes besides, in tokens; of 0 to 400, among the best on the shipped runs, judged by other tasks.
STEP_TOKENS = 240
# Of so many of the newest runs that are like one, so many nearest to it in work tell how long it will take. Of 4 to 30
# and 1 to 5, these are among the best on the shipped runs, where each is judged by those that had ended before.
LIKE_RUNS, NEAREST_RUNS = 8, 2
SAVED_OF_LAST = 0.5  # of the last layer: what it would compute for tokens that the classifier never reads is left out


def layer_parameters(parameters: int, num_hidden_layers: int) -> float:
    """About how many of an encoder's parameters are in its layers.

    A layer of width h has about 12 h² and the word vectors about 30,000 h; their sum gives h.
    """
    squares = 12 * num_hidden_layers
    width = (math.sqrt(WORDS**2 + 4 * squares * parameters) - WORDS) / (2 * squares)
    return squares * width**2


def seconds_per_work(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of the clock by work while these runs went on; None without any.

    Work is examples times parameters of the layers that stayed. Seconds in which several runs went on side by side
    count once: what waits will run side by side too.
    """
    runs = [run for run in runs if run["recipe_values"]["train_sentences"]]
    done = sum(
        work(run["recipe_values"], run["whole_model_parameters"], run["num_hidden_layers"], len(run["kept_layers"]))
        for run in runs
    )
    return clock_seconds(runs) / done if done else None


def seconds_left(
    live: Sequence[Mapping[str, Any]], rate: float | None, parameters: Mapping[str, int | None]
) -> float | None:
    """About how long the runs that wait and go on will take; None where something is not known.

    `live`: runs, or several that are alike in one row with their `count`. `parameters`: of whole models, by name.
    """
    known = all(parameters.get(run["model"]) and run["recipe_values"]["train_sentences"] for run in live)
    if rate is None or not known:
        return None
    return rate * sum(
        work(run["recipe_values"], parameters[run["model"]] or 0, run["num_hidden_layers"], len(run["kept_layers"]))
        * (1 - share_done(run["progress"]))
        * run.get("count", 1)
        for run in live
    )


def run_seconds(
    wanted: Mapping[str, Any], ended: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task]
) -> float | None:
    """About how long one run takes from start to result; None without a run of the kind that has ended.

    By work, from the NEAREST_RUNS of the newest LIKE_RUNS of the same model and task: sentences of one task are about
    as long as those of another run of it, and what a run does besides grows with nothing. Without any, those of the
    model, by how long their sentences are where that is known; all of one machine, which a change of threads makes
    another one. `ended`: the newest first; `tasks`: by id, those that are known.
    """
    of_model = [run for run in ended if run["model"] == wanted["model"] and run["recipe_values"]["train_sentences"]]
    of_task = [run for run in of_model if run["task"] == wanted["task"]]
    long = {id: task for id, task in tasks.items() if task.mean_characters and task.dev_examples}
    of_long = [run for run in of_model if {run["task"], wanted["task"]} <= long.keys()]
    like, by_length = of_task or of_long or of_model, bool(of_long and not of_task)
    if not like or not wanted["recipe_values"]["train_sentences"]:
        return None

    def amount(run: Mapping[str, Any]) -> float:
        recipe, depths = run["recipe_values"], (run["num_hidden_layers"], len(run["kept_layers"]))
        done = work(recipe, like[0]["whole_model_parameters"], *depths)
        return done * tokens_an_example(recipe, long[run["task"]]) if by_length else done

    to_do = amount(wanted)
    newest = [run for run in like if run["machine"] == like[0]["machine"]][:LIKE_RUNS]
    done = [(amount(run), run["total_seconds"]) for run in newest]
    nearest = sorted(done, key=lambda one: abs(math.log(one[0] / to_do)))[:NEAREST_RUNS]
    return median(seconds / amount for amount, seconds in nearest) * to_do


def clock_seconds(runs: Sequence[Mapping[str, Any]]) -> float:
    """Seconds in which at least one of these ended runs went on."""
    seconds, end = 0.0, 0.0
    for run in sorted(runs, key=lambda run: run["started_at"]):
        seconds += max(0.0, run["finished_at"] - max(end, run["started_at"]))
        end = max(end, run["finished_at"])
    return seconds


def share_done(progress: Mapping[str, Any] | None) -> float:
    """How much of a run's steps is done, 0 to 1; other phases than training are short or come before it."""
    if not progress or not progress["steps"] or progress["phase"] != "training":
        return 0.0
    return min(1.0, progress["step"] / progress["steps"])


def work(recipe: Mapping[str, Any], parameters: int, num_hidden_layers: int, depth: int) -> float:
    """What a fine-tuning costs, in examples times parameters."""
    share = (depth - SAVED_OF_LAST) / (num_hidden_layers - SAVED_OF_LAST)
    return recipe["train_sentences"] * recipe["epochs"] * share * layer_parameters(parameters, num_hidden_layers)


def tokens_an_example(recipe: Mapping[str, Any], task: Task) -> float:
    """What each of a recipe's train examples costs, in tokens; of a task with fewer of them, the less.

    Its own tokens, its part of what a step takes besides, and its part of dev, which goes forward alone.
    """
    tokens = min((task.mean_characters or 0.0) / CHARACTERS_A_TOKEN, recipe["max_length"])
    wanted = recipe["train_sentences"]
    share = min(wanted, task.train_examples or wanted) / wanted
    dev = (task.dev_examples or 0) / (3 * wanted * recipe["epochs"])
    return share * (tokens + STEP_TOKENS / recipe["batch_size"]) + dev * tokens


def duration(seconds: float) -> str:
    """About how long, such as "50 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{round(seconds / 3600)} h"
