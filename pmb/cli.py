"""The command line: python -m pmb VERB.

Verbs: plan run sweep preview search probe baseline runs cancel retry export try reproduce worker dashboard doctor
assets ship. Errors go to stderr in one line and exit with 2; `--json` prints one object.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from pmb import api, settings
from pmb.api import DEFAULT_MODEL, DEFAULT_TASK, RUN_RECIPE, Cut, opened_store
from pmb.bounds import MOST_DIGITS
from pmb.catalog.models import BaseModel, cuts_by_strategy, downloaded_models, find_downloaded
from pmb.catalog.recipes import DEFAULT_RECIPE, RECIPES, SETTINGS, check_recipe, find_recipe
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput, PmbError
from pmb.insight.metrics import metric_of, shown
from pmb.lab import queue
from pmb.lab.answer import answer
from pmb.lab.lengths import say_longer
from pmb.lab.listing import Filter, exported_runs, plain, write_csv
from pmb.lab.plan import (
    known_layer_scores,
    plan_kept,
    plan_sweep,
    possible_plan,
    spec_of,
    with_data,
)
from pmb.lab.plan import retry as retry_runs
from pmb.lab.sources import find_model, find_task
from pmb.lab.store import Row, Store, list_runs, runs_by_key, write_shipped
from pmb.spec import PROCEDURES, Progress, progress_words
from pmb.strategies import CUSTOM, DRAWS, EVERY_STRATEGY, RANDOM, STRATEGIES, check_strategy, drop_counts

SEARCH_RUNS = 12.0  # a fifth of six strategies at every drop count of six layers with three seeds


class Numbers(click.ParamType[list[int]]):
    """A comma-separated list of whole numbers, such as 0,1,2."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Read the list; fails with the part that is no number."""
        if isinstance(value, list):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if bad := [part for part in parts if not part.isdecimal() or len(part) > MOST_DIGITS]:
            self.fail(f"{bad[0]!r} in {value!r} is not a whole number; write for example 0,1,2.", param, ctx)
        return [int(part) for part in parts]


class Names(click.ParamType[list[str]]):
    """A comma-separated list of names."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Read the list."""
        return value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]


def options(*chosen: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(chosen):
            function = option(function)
        return function

    return decorate


model_option = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Of the catalog, a Hub id, or a folder."
)
task_option = click.option("--task", default=DEFAULT_TASK, show_default=True, help=f"{', '.join(TASKS)}, or csv:PATH.")
RECIPE_HELP = f"{', '.join(RECIPES)}; with changes as in full,epochs=8."
recipe_option = click.option(
    "--recipe", default=RUN_RECIPE, show_default=True, callback=lambda *given: check_recipe(given[-1]), help=RECIPE_HELP
)
page_recipe_option = click.option(
    "--recipe",
    default=DEFAULT_RECIPE,
    show_default=True,
    callback=lambda *given: check_recipe(given[-1]),
    help=f"For which recipe: {RECIPE_HELP}",
)


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --recipe and an option for each of its settings; the command gets the recipe's text."""

    @functools.wraps(command)
    def with_recipe(*arguments: Any, recipe: str, **options: Any) -> None:
        given = {name: options.pop(name.replace("-", "_")) for name in SETTINGS}
        command(*arguments, recipe=changed_recipe(recipe, given), **options)

    decorated: Callable[..., None] = with_recipe
    for setting in reversed(SETTINGS.values()):
        option = f"--{setting.name}/--no-{setting.name}" if setting.kind is bool else f"--{setting.name}"
        decorated = click.option(option, default=None, metavar=setting.range, help=setting.about)(decorated)
    return recipe_option(decorated)


def changed_recipe(recipe: str, given: Mapping[str, Any]) -> str:
    """The recipe's text with the settings that were given as options; raises BadInput."""
    spelled = {True: "yes", False: "no"}
    changes = [f"{name}={spelled.get(value, value)}" for name, value in given.items() if value is not None]
    return check_recipe(",".join([recipe, *changes]))


procedure_option = click.option(
    "--procedure",
    type=click.Choice(PROCEDURES),
    default=PROCEDURES[0],
    show_default=True,
    help="Cut and fine-tune; or fine-tune the whole model, cut it and fine-tune again.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
cut_options = options(
    model_option,
    task_option,
    click.option("--strategy", help=f"{', '.join(EVERY_STRATEGY)}."),
    click.option("--drop", type=int, help="Drop count K: how many layers the strategy drops; 0 is the whole model."),
    click.option("--threshold", type=float, help="Contribution without --drop: similarity above which a layer goes."),
    click.option("--keep", type=Numbers(), help="The layers that stay, counted from 0, instead of a strategy."),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Poor Man's BERT Lab: how many layers of a pre-trained encoder can be thrown away?"""


@cli.command()
@cut_options
@json_option
def plan(as_json: bool, **cut: Any) -> None:
    """Print which layers stay and which go; trains nothing."""
    values = api.plan(**cut, say=say)
    if as_json:
        click.echo(json.dumps(values))
        return
    click.echo(f"kept     {numbers(values['kept_layers'])}")
    click.echo(f"dropped  {numbers(values['dropped_layers']) or 'none'}")
    click.echo(f"the same as  {', '.join(values['strategy']) or 'no strategy'}")


@cli.command()
@cut_options
@recipe_options
@click.option("--seed", type=int, default=0, show_default=True)
@procedure_option
@json_option
def run(recipe: str, seed: int, procedure: str, as_json: bool, **cut: Any) -> None:
    """Queue one fine-tuning, wait for it and print its result; a cached result prints at once."""
    values = api.ended(Cut(**cut), recipe, seed, procedure, show_progress, warn, say)
    if as_json:
        click.echo(json.dumps(values))
    elif values["state"] == "done":
        print_answer(values)
    api.check_done(values)


@cli.command()
@model_option
@task_option
@click.option(
    "--strategies",
    type=Names(),
    default=",".join(STRATEGIES),
    help=f"Which of {', '.join(EVERY_STRATEGY)}; the paper's six by default.",
)
@click.option("--drops", type=Numbers(), help="Drop counts; every possible one by default.")
@click.option("--seeds", type=Numbers(), default="0,1,2", show_default=True)
@recipe_options
@procedure_option
@click.option("--no-wait", is_flag=True, help="Queue the runs and return.")
@json_option
def sweep(
    model: str,
    task: str,
    strategies: list[str],
    drops: list[int] | None,
    seeds: list[int],
    recipe: str,
    procedure: str,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Queue many runs, shared cuts once and the whole model always, and wait for them."""
    for strategy in strategies:
        check_strategy(strategy)
    with opened_store() as (store, found):
        model_row, task_row = find_model(store, found, model, pinned=True), find_task(store, found, task)
        api.say_of_table(store, task_row, say)
        find_recipe(recipe, model_row, task_row)  # what is wrong with it is said before anything is measured
        plans = plan_sweep(store, found, model_row, task_row, strategies, drops)
        specs = with_data(
            store,
            found,
            task_row,
            lambda data: [spec_of(plan, data, recipe, seed, procedure) for seed in seeds for plan in plans],
            show_fetching,
        )
        say_longer(store, found, model_row, find_task(store, found, task), specs, say, show_fetching)
        submissions = queue.submit(store, specs)
        cached = sum(submission.cached for submission in submissions)
        click.echo(f"{len(plans)} cuts, {len(specs)} runs, {cached} of them cached.", err=True)
        if not no_wait:
            from pmb.lab.waiting import wait_for

            wait_for(store, found, [spec.key for spec in specs], show_progress, warn)
        answers = [answer(store, s.key, s.cached) for s in submissions]
    if as_json:
        click.echo(json.dumps({"runs": answers}))
    for values in [] if as_json else answers:
        score = shown(values["metric"], values["score"]) if values["score"] is not None else values["state"]
        note = "  one answer for all items" if values["note"] else ""
        click.echo(f"{values['run']}  kept {numbers(values['kept_layers']):<12}  seed {values['seed']}  {score}{note}")
    if failed := sum(values["state"] in ("failed", "cancelled") for values in answers):
        raise BadInput(f"{failed} of {len(answers)} runs have no result; `python -m pmb runs --state failed` says why.")


@cli.command()
@model_option
@task_option
@click.option(
    "--strategy",
    help=f"Its cuts alone: {', '.join(EVERY_STRATEGY)}, or random ({len(DRAWS)} draws); the paper's six by default.",
)
@click.option("--keep", type=Numbers(), help="One cut alone: the layers that stay, counted from 0.")
@page_recipe_option
@json_option
def preview(model: str, task: str, strategy: str | None, keep: list[int] | None, recipe: str, as_json: bool) -> None:
    """Predict what every cut would score, in seconds and without fine-tuning; a cached answer prints at once."""
    from pmb.lab import previews  # for this verb alone

    if keep is not None and strategy is not None:
        raise BadInput("--keep names the layers itself; leave out --strategy, or leave out --keep.")
    chosen = previewed_strategies(strategy, keep)
    names = [name for name in chosen if name in STRATEGIES]
    with opened_store() as (store, found), contextlib.ExitStack() as stack:
        model_row, task_row = find_model(store, found, model), find_task(store, found, task)
        api.say_of_table(store, task_row, say)
        start = stack.enter_context(previews.child_ahead(store, model_row, task_row, names))
        from pmb.insight import predict, summary  # while the child imports what it needs
        from pmb.lab.results import finished_runs

        def known() -> tuple[dict[tuple[int, ...], float], dict[str, list[tuple[int, ...]]]]:
            """Mean scores of what is measured, and the strategies' cuts."""
            table = summary.configurations(finished_runs(store, model_row, task_row, recipe, PROCEDURES[:1]))
            cuts = cuts_by_strategy(model_row, names, known_layer_scores(store, model_row, task_row))
            return dict(zip(table["kept_layers"], table["mean"], strict=True)), cuts

        others = {
            name: [
                one.kept_layers
                for count in drop_counts(name, model_row.num_hidden_layers)
                if (one := possible_plan(store, found, model_row, task_row, name, count))
            ]
            for name in chosen
            if name not in STRATEGIES
        }
        if keep is not None:
            others[CUSTOM] = [plan_kept(model_row, keep).kept_layers]
        measured, by_strategy = known()
        also = predict.cuts_beside(measured, by_strategy, others)
        cached = not previews.missing_previews(store, model_row, task_row, names, also)
        if not cached:
            previews.preview(store, found, model_row, task_row, names, also, show_fetching, start=start)
            show_progress("")
            model_row, task_row = find_model(store, found, model), find_task(store, found, task)
            measured, by_strategy = known()
        frozen = {kept: row["score"] for kept, row in previews.known_previews(store, model_row, task_row).items()}
    foretold = predict.preview(frozen, measured, by_strategy | others, model_row.num_hidden_layers, task_row.metric)
    rows = predict.plain_rows(foretold.curves)
    draws = predict.plain_rows(predict.over_draws(foretold.curves)) if strategy == RANDOM else None
    if as_json:
        values: Row = {"model": model_row.id, "task": task_row.id, "recipe": recipe, "metric": task_row.metric}
        values |= {"train_sentences": previews.TRAIN_SENTENCES, "dev_sentences": previews.DEV_SENTENCES}
        values |= {"calibration": predict.calibration_values(foretold.calibration), "sentence": foretold.sentence}
        click.echo(json.dumps(values | {"cached": cached, "cuts": rows, "draws": draws}))
        return
    print_preview(rows)
    for row in draws or []:
        ends = "" if row["low"] is None else f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        click.echo(f"random, {row['drop_count']} dropped: mean of {row['cuts']} cuts {100 * row['value']:.1f}{ends}")
    click.echo(foretold.sentence)


@cli.command()
@model_option
@task_option
@recipe_option
@click.option("--within", type=float, help="The smallest model that loses at most so many points; 1 by default.")
@click.option("--speedup", type=float, help="Instead: the best model that answers so many times as fast.")
@click.option("--megabytes", type=float, help="Instead: the best model whose weights take so many megabytes at most.")
@click.option("--budget-runs", type=float, help=f"At most so many fine-tunings; {SEARCH_RUNS} by default.")
@click.option("--budget-minutes", type=float, help="Instead: so many minutes of fine-tuning.")
@json_option
def search(
    model: str,
    task: str,
    recipe: str,
    within: float | None,
    speedup: float | None,
    megabytes: float | None,
    budget_runs: float | None,
    budget_minutes: float | None,
    as_json: bool,
) -> None:
    """Find the smallest model that is good enough; Ctrl-C stops it, and the same command goes on."""
    from pmb.lab import searches  # for this verb alone
    from pmb.lab.waiting import wait_until_none

    aim = searches.Aim(1.0 if (within, speedup, megabytes) == (None, None, None) else within, speedup, megabytes)
    limit = searches.Limit(
        SEARCH_RUNS if (budget_runs, budget_minutes) == (None, None) else budget_runs, budget_minutes
    )
    with opened_store() as (store, found):
        model_row, task_row = find_model(store, found, model), find_task(store, found, task)
        api.say_of_table(store, task_row, say)
        find_recipe(recipe, model_row, task_row)  # what is wrong with it is said before anything is measured
        if why := searches.look_ahead(store, found, model_row, task_row, show_fetching):
            click.echo(f"No previews: {why}", err=True)
        show_progress("")
        key = searches.start(store, found, model_row, task_row, recipe, aim, limit, report=show_fetching)
        told: list[str] = []

        def look() -> str | None:
            if not as_json and (said := searches.sentence(store, key)) and told[-1:] != [said]:
                show_progress("")
                click.echo(said)
                told.append(said)
            return searches.waiting_line(store, key)

        try:
            wait_until_none(store, found, look, show_progress, warn)
        except KeyboardInterrupt:
            searches.stop(store, key)
            show_progress("")
            click.echo("Stopped; the same command goes on.", err=True)
            sys.exit(130)
        values = searches.answer(store, key)
    if as_json:
        click.echo(json.dumps(values))
    if values["state"] != "done":
        raise BadInput(f"The search stopped: {values['error'] or 'somebody stopped it'}")
    if values["error"]:
        raise BadInput(values["error"])


@cli.command()
@model_option
@task_option
@page_recipe_option
@click.option("--seeds", type=Numbers(), default="0,1,2", show_default=True)
@click.option("--cancel", "to_cancel", is_flag=True, help="Take back what was asked for and is not measured yet.")
@json_option
def probe(model: str, task: str, recipe: str, seeds: list[int], to_cancel: bool, as_json: bool) -> None:
    """Fine-tune the whole model and measure what each of its layers holds; a cached result prints at once."""
    from pmb.lab import probes  # for this verb alone

    with opened_store() as (store, found):
        model_row, task_row = find_model(store, found, model), find_task(store, found, task)
        api.say_of_table(store, task_row, say)
        if to_cancel:
            wanted = [row for row in probes.probes_of(store, model_row, task_row, recipe) if row["seed"] in seeds]
            probes.cancel(store, [row["key"] for row in wanted])
            return
        keys = probes.ask_for(store, found, model_row, task_row, recipe, seeds, show_fetching)
        if any(row["state"] == "asked" for row in probes.probes_by_key(store, keys)):
            from pmb.lab.waiting import wait_until_none

            wait_until_none(store, found, lambda: probes.waiting_line(store, keys), show_progress, warn)
        rows = probes.probes_by_key(store, keys)
        model_row, task_row = find_model(store, found, model), find_task(store, found, task)
        change = known_layer_scores(store, model_row, task_row)
    if failed := [row for row in rows if row["state"] == "failed"]:
        raise BadInput(f"Seed {failed[0]['seed']} failed: {failed[0]['error']}")
    if len(rows) < len(keys):
        raise BadInput("The measurement was cancelled.")
    if as_json:
        names = [
            "seed",
            "metric",
            "score",
            "similarity",
            "tuned",
            "pretrained",
            "num_train",
            "num_dev",
            "device",
            "machine",
            "versions",
            "source",
        ]
        values = {"model": model_row.id, "task": task_row.id, "recipe": recipe, "contribution": change}
        click.echo(json.dumps(values | {"seeds": [{name: row[name] for name in names} for row in rows]}))
        return
    print_layers(rows, change)


@cli.command()
@model_option
@task_option
@page_recipe_option
@click.option("--seeds", type=Numbers(), default="0,1,2", show_default=True)
@json_option
def baseline(model: str, task: str, recipe: str, seeds: list[int], as_json: bool) -> None:
    """Print what zero layers score: a bag of words and one answer to all, fitted on the recipe's train items.

    It takes seconds; a cached result prints at once. Every run measures its own where it is missing.
    """
    from pmb.lab import zero_layers  # for this verb alone

    with opened_store() as (store, found):
        model_row, task_row = find_model(store, found, model), find_task(store, found, task)
        values = find_recipe(recipe, model_row, task_row)
        rows = zero_layers.measure(store, found, task_row, values, seeds, show_fetching)
    show_progress("")
    if as_json:
        names = ("sample", "bag_of_words", "constant", "num_train", "num_dev", "seconds", "versions", "source")
        measured = [{name: row[name] for name in names} for row in rows]
        click.echo(json.dumps({"task": task_row.id, "recipe": values.name, "samples": measured}))
        return
    for row in rows:
        print_zero_layers(row)


@cli.command()
@click.option("--csv", "as_csv", is_flag=True, help="All rows with all columns as CSV, without formulas.")
@click.option("--state", type=click.Choice(["queued", "running", "done", "failed", "cancelled"]))
@json_option
def runs(as_csv: bool, state: str | None, as_json: bool) -> None:
    """List the queue and the results."""
    with opened_store() as (store, _):
        queue.release_lost(store)  # where no worker is left to do it
        states = (state,) if state else ()
        if as_csv and not as_json:
            write_in(sys.stdout, encoding="utf-8")  # whatever the console's is: `reproduce` reads the file
            write_csv(exported_runs(store, Filter(states=states)), sys.stdout)
            return
        rows = list_runs(store, *states)
    if as_json:
        click.echo(json.dumps({"runs": [plain(row) for row in rows]}))
        return
    for row in rows:
        click.echo(run_line(row))
    click.echo(f"{len(rows)} runs.", err=True)


@cli.command()
@click.argument("keys", nargs=-1, required=True, metavar="RUN…")
def cancel(keys: tuple[str, ...]) -> None:
    """Cancel waiting and running runs; the first letters of a run are enough."""
    change_runs(keys, lambda store, _, found: queue.cancel(store, found))


@cli.command()
@click.argument("keys", nargs=-1, required=True, metavar="RUN…")
def retry(keys: tuple[str, ...]) -> None:
    """Queue failed and cancelled runs again."""
    change_runs(keys, retry_runs)


@cli.command()
@click.argument("key", metavar="RUN")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="An ONNX file too, whose logits are compared with PyTorch's.")
@click.option("--int8", is_flag=True, help="And one with weights of 8 bits, with what it costs of the score.")
@json_option
def export(key: str, directory: Path, onnx: bool, int8: bool, as_json: bool) -> None:
    """Write a run's model as a new folder DIR (or DIR.zip) that plain transformers opens; made again where need be."""
    from pmb.lab import exports  # for this verb alone

    with opened_store() as (store, found):
        run_key = queue.find_key(store, key)
        target = directory.expanduser().absolute()
        taken = exports.export(store, found, run_key, target, exports.Forms(onnx, int8), show_fetching)
    show_progress("")
    if as_json:
        click.echo(json.dumps(exports.plain(taken)))
    else:
        click.echo("\n".join(exports.lines(taken)))


@cli.command("try")
@click.argument("keys", nargs=-1, required=True, metavar="RUN…")
@click.option("--text", "first", multiple=True, required=True, help="A sentence; of pairs the first half. Repeatable.")
@click.option("--second", multiple=True, help="Of pairs the second half, as often as --text.")
@json_option
def try_out(keys: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...], as_json: bool) -> None:
    """What finished runs answer to a sentence; their weights are made again where they are not kept."""
    from pmb.insight import tried  # for this verb alone
    from pmb.lab import tries

    held = tries.Tries()
    with opened_store() as (store, found):
        run_keys = [queue.find_key(store, key) for key in keys]
        subjects = tries.subjects_of(store, found, run_keys)
        task = find_task(store, found, subjects[0].run["task"])
        texts = tries.check_texts(
            list(zip(first, second, strict=False)) if second else [(t,) for t in first], task.pair
        )
        if second and len(first) != len(second):
            raise BadInput(f"There are {len(first)} --text and {len(second)} --second; a pair has one of each.")
        if not all(tries.is_kept(found, key) for key in run_keys):
            tries.keep(store, found, run_keys, show_fetching)
            show_progress("")
        try:
            answered = tries.answers(held, store, found, run_keys, texts, task.pair)
        finally:
            held.end()
    if as_json:
        rows = [{"run": key[:12]} | dataclasses.asdict(one) for key, one in zip(run_keys, answered, strict=True)]
        click.echo(json.dumps({"task": task.id, "labels": list(task.labels), "texts": texts, "runs": rows}))
        return
    for number, parts in enumerate(texts):
        click.echo(" / ".join(parts))
        for key, one in zip(run_keys, answered, strict=True):
            click.echo(f"  {key[:12]}  {tried.in_words(one.answers[number], task.labels)}")
    for key, one in zip(run_keys, answered, strict=True):
        click.echo(f"{key[:12]}  {1000 * one.seconds:.1f} ms for the first, on the CPU")


@cli.command()
@click.argument("table", metavar="RESULTS.csv", type=click.Path(path_type=Path))
@click.option("--most", type=click.IntRange(1), help="The first so many of its finished runs; all by default.")
@json_option
def reproduce(table: Path, most: int | None, as_json: bool) -> None:
    """Make the finished runs of an exported table again and compare; exit 1 where a score leaves its interval.

    The store is left as it is. Each run computes on as many threads as then. "same": all answers on dev are; "within
    noise": the new score lies in the 95 % interval of the stored one; "differs": outside of it.
    """
    from pmb.lab import reproduce as again  # for this verb alone

    rows = again.read_table(table)[:most]
    outcomes = []
    with opened_store() as (store, found):
        store.check_may_write()
        for stored in rows:
            outcomes.append(again.make_again(store, found, stored, show_fetching))
            show_progress("")
            if not as_json:
                click.echo(again.line(outcomes[-1]))
    if as_json:
        click.echo(json.dumps({"runs": [again.plain(outcome) for outcome in outcomes]}))
    click.echo(again.summary(outcomes), err=True)
    if any(outcome.verdict in ("differs", "failed") for outcome in outcomes):
        sys.exit(1)


@cli.command()
@click.option("--once", is_flag=True, help="End when nothing waits any more.")
def worker(once: bool) -> None:
    """Work the queue on this machine; Ctrl-C gives the current runs back."""
    from pmb.lab.worker import work

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with opened_store() as (store, found):
        work(store, found, stop, once)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 is everywhere.")
@click.option("--host", "hosts", multiple=True, help="A name by which browsers reach it, such as lab.example.org.")
@click.option("--open-to-everyone", is_flag=True, help="Listen beyond this machine although nobody signs in.")
def dashboard(port: int, address: str, hosts: tuple[str, ...], open_to_everyone: bool) -> None:
    """Serve the dashboard on this machine, and one worker with it."""
    from pmb import serve

    with opened_store() as (_, found):
        place = serve.find_place(address, port, hosts, open_to_everyone)
    serve.serve(found, place)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what works, part by part; exit 0 when the embedded default can run."""
    from pmb.doctor import examine  # imports torch's version through a child; needed here alone

    findings = examine()
    if as_json:
        click.echo(json.dumps({"ok": all(f.ok for f in findings), "findings": [f.to_dict() for f in findings]}))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.ok else 'NO '} {finding.what:<10} {finding.text}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@cli.command()
@click.option("--model", help=f"Instead: download this model of the catalog, {', '.join(downloaded_models())}.")
def assets(model: str | None) -> None:
    """Bring the embedded model and data, or check that they are whole."""
    folder = settings.from_environment().assets
    if model is not None:
        download(find_downloaded(model), folder)
        return
    from pmb.engine import assets as embedded

    embedded.fetch(folder)
    click.echo(f"The embedded model and data are in {folder}.")


def download(row: BaseModel, folder: Path) -> None:
    """Download a model that comes in parts, with a progress bar on a terminal."""
    from pmb.engine import multipart

    with click.progressbar(
        length=row.download_bytes // 10**6, label=row.title, item_show_func=lambda text: text or "", file=sys.stderr
    ) as bar:

        def tell(progress: Progress) -> None:
            words = progress_words(dataclasses.asdict(progress))
            bar.update(max(0, progress.step - bar.pos), words)

        try:
            target = multipart.fetch(folder, row, tell)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; whole parts are kept, and the same command goes on.", err=True)
            sys.exit(130)
    click.echo(f"{row.title} is in {target}.")


@cli.command()
def ship() -> None:
    """Write finished results as the files that come with the repository (cache/shipped).

    What is missing of the true dev labels and of the zero-layer scores is measured first.
    """
    from pmb.lab.dev import dev_labels
    from pmb.lab.zero_layers import measure_for_runs

    with opened_store() as (store, found):
        done = list_runs(store, "done")
        for name in sorted({run["task"] for run in done}):
            task = find_task(store, found, name)
            dev_labels(store, found, task)
            measure_for_runs(store, found, task, [run for run in done if run["task"] == name])
        counts = write_shipped(store, found.shipped)
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


def main() -> None:
    """Run the command line; every error that is meant for a user is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        write_in(stream)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Interrupted; what was queued stays queued.", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        sys.exit(complain(error.format_message()))
    except PmbError as error:
        sys.exit(complain(str(error)))
    except OSError as error:
        sys.exit(complain(f"{error.filename or 'The system'}: {error.strerror or error}."))


def write_in(stream: TextIO, encoding: str | None = None) -> None:
    """Change the encoding of a stream, where one is given; a character that it lacks is written as its number."""
    if isinstance(stream, io.TextIOWrapper):  # what tests and notebooks put in its place takes every character
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def complain(sentence: str) -> int:
    """Print one line to stderr; returns the exit code."""
    click.echo("Error: " + " ".join(sentence.split()), err=True)
    return 2


def change_runs(prefixes: Sequence[str], change: Callable[[Store, settings.Settings, Sequence[str]], None]) -> None:
    """Apply a change to the runs that begin so and print the state each is in then."""
    with opened_store() as (store, found):
        keys = queue.find_keys(store, prefixes)
        change(store, found, keys)
        for row in runs_by_key(store, keys):
            click.echo(run_line(row))


def say(sentence: str) -> None:
    """One line on what is about to be computed; to stderr, so that `--json` prints an object alone."""
    click.echo(sentence, err=True)


class ProgressLine:
    """How far something is: one changing line on a terminal, and elsewhere a line now and then, ever more seldom."""

    first_seconds, most_seconds = 4.0, 60.0

    def __init__(self) -> None:
        """Nothing is waited for yet."""
        self._pause = self.first_seconds
        self._due: float | None = None

    def __call__(self, line: str) -> None:
        """Show the line; an empty one ends the wait."""
        if sys.stderr.isatty():  # a line that the terminal broke would stay there
            click.echo(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}", nl=False, err=True)
        elif not line:
            self._due, self._pause = None, self.first_seconds
        elif self._due is None:
            self._due = time.monotonic() + self._pause
        elif time.monotonic() >= self._due:
            click.echo(line.strip(), err=True)
            self._pause = min(2 * self._pause, self.most_seconds)
            self._due = time.monotonic() + self._pause


show_progress = ProgressLine()


def warn(sentence: str) -> None:
    """A sentence on a line of its own, between those of the progress."""
    if sys.stderr.isatty():
        show_progress("")
    click.echo(sentence, err=True)


def show_fetching(progress: Progress) -> None:
    """How far a download before a run is."""
    show_progress(progress_words(dataclasses.asdict(progress)))


def print_answer(values: Row) -> None:
    """A result for people."""
    low, high = values["score_interval"]
    metric, whole = values["metric"], values["whole_model_score"]
    beside = f"whole model {shown(metric, whole)}" if whole is not None else "whole model not measured: run --drop 0"
    click.echo(f"kept {numbers(values['kept_layers'])}  ({', '.join(values['strategy']) or 'custom'})")
    click.echo(f"{metric}  {shown(metric, values['score'])}  ({100 * low:.1f} to {100 * high:.1f}; {beside})")
    for more in (values["scores"] or [])[1:]:
        ends = f"{100 * more['low']:.1f} to {100 * more['high']:.1f}"
        click.echo(f"{more['metric']}  {shown(more['metric'], more['value'])}  ({ends})")
    if (bag := values["bag_of_words_score"]) is not None:
        constant = shown(metric, values["constant_score"])
        click.echo(f"zero layers  bag of words {shown(metric, bag)}, one answer to all {constant}")
    click.echo(f"parameters  {values['parameters']:,} of {values['whole_model_parameters']:,}")
    if speedup := values["speedup"]:
        spread = f"{speedup['low']:.2f} to {speedup['high']:.2f}; {speedup['device']}"
        click.echo(f"speed-up  {speedup['ratio']:.2f}  ({spread})")
    click.echo(f"training  {values['train_seconds']:.1f} s{', cached' if values['cached'] else ''}")
    if values["note"]:
        click.echo(values["note"])


def print_zero_layers(row: Row) -> None:
    """The scores of a bag of words and of a constant answer, for people."""
    click.echo(f"train items: {row['num_train']:,} ({row['sample']})")
    for bag, constant in zip(row["bag_of_words"], row["constant"], strict=True):
        metric, ends = bag["metric"], f"{100 * bag['low']:.1f} to {100 * bag['high']:.1f}"
        score, given = shown(metric, bag["value"]), shown(metric, constant["value"])
        click.echo(f"  {metric}  bag of words {score} ({ends}), one answer to all {given}")


def previewed_strategies(strategy: str | None, keep: list[int] | None) -> list[str]:
    """Those whose cuts a preview is of; raises BadInput."""
    if keep is not None:
        return []
    if strategy == RANDOM:
        return list(DRAWS)
    if strategy is not None:
        check_strategy(strategy)
        return [strategy]
    return list(STRATEGIES)


def print_preview(rows: Sequence[Row]) -> None:
    """The predicted curves, for people; what is measured stands beside its prediction."""

    def hundredfold(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f}"

    click.echo(f"{'strategy':<15} {'dropped':>7}  {'kept':<18} {'frozen':>6} {'predicted':>9}  {'band':<12} measured")
    for row in rows:
        band = "–" if row["low"] is None else f"{hundredfold(row['low'])} to {hundredfold(row['high'])}"
        click.echo(
            f"{row['strategy']:<15} {row['drop_count']:>7}  {numbers(row['kept_layers']):<18} "
            f"{hundredfold(row['frozen']):>6} {hundredfold(row['predicted']):>9}  {band:<12} "
            f"{hundredfold(row['measured'])}"
        )


def print_layers(rows: Sequence[Row], change: Sequence[float] | None) -> None:
    """What was measured on the layers, for people: means over the seeds."""
    from pmb.insight import layers

    table = layers.by_layer(rows, change, rows[0]["num_hidden_layers"])
    click.echo(layers.answer_sentence(table))
    click.echo("layer       change  similarity  fine-tuned  pre-trained")
    for row in table.to_dict("records"):
        name = "embeddings" if row["layer"] == layers.EMBEDDINGS else str(row["layer"])
        scores = f"{100 * row['tuned']:>10.1f}  {100 * row['pretrained']:>11.1f}"
        click.echo(f"{name:<10}  {row['change']:>6.3f}  {row['similarity']:>10.3f}  {scores}")
    click.echo("change: 1 - cosine of output and input; similarity: of the pre-trained and the fine-tuned model;")
    click.echo(f"fine-tuned, pre-trained: {metric_of(rows[0]['metric']).label} of a classifier on the layer's output.")


def run_line(row: Row) -> str:
    """A run as one line."""
    when = datetime.fromtimestamp(row["finished_at"] or row["queued_at"], UTC).strftime("%Y-%m-%d %H:%M")
    outcome = shown(row["metric"], row["score"]) if row["score"] is not None else (row["error"] or "")
    cut = f"{row['model']} {row['task']} {row['recipe']} kept {numbers(row['kept_layers'])} seed {row['seed']}"
    return f"{row['key'][:12]}  {row['state']:<9}  {when}  {cut}  {outcome}".rstrip()


def numbers(layers: Sequence[int]) -> str:
    """Layer indices as people write them."""
    return ",".join(map(str, layers))
