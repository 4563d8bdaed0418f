"""What is the difference between these two? Two configurations on the same dev sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.tasks import Task
from pmb.charts import paired as charts
from pmb.errors import PmbError
from pmb.insight import paired
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.insight.zero_layers import ZeroLayerScores
from pmb.lab.answer import command
from pmb.lab.dev import dev_labels, known_dev_labels
from pmb.lab.plan import known_layer_scores
from pmb.lab.results import losses_of, predictions_of
from pmb.lab.sources import find_model
from pmb.lab.store import change_mark, runs_by_key
from pmb.screen import beside, controls, take, ui, view
from pmb.screen.finished import zero_layers_with
from pmb.screen.links import Link, to_explore, to_try
from pmb.spec import Recipe
from pmb.strategies import strategies_of

# =============================================================================
# Constants
# =============================================================================

TO_FETCH = "set PMB_GLUE_DIR, or let a first run on Explore fetch"
MOST_SENTENCES = 20  # shown on each side
TABLE_PIXELS = 220  # of a row a sentence
METHOD = """\
Both answer the same {dev:,} dev sentences; runs are paired in the order of their seeds, at most {seeds} of each. \
**Over sentences**: would other sentences show the same? A paired bootstrap, {resamples:,} times (Efron and \
Tibshirani, 1993). **Over seeds**: would other seeds? Student's t of the pairs' differences. A difference is called \
only where both intervals leave out 0. **McNemar's test** (1947), exact and two-sided, asks of one pair of runs \
whether the sentences that A alone gets right are as many as those that B alone does; its p is corrected for the \
number of pairs (Holm, 1979)."""


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=32)
def load_answers(keys: dict[int, str], task: Task, dev: int) -> dict[int, list[int | float]]:
    """What the runs answered on so many dev examples, by seed; finished runs do not change."""
    found = predictions_of(ui.the_store(), list(keys.values()), task, dev)
    return {seed: found[key] for seed, key in keys.items() if key in found}


@ui.loaded(max_entries=32)
def load_comparison(
    task: Task, _labels: tuple[int | float, ...], a: dict[int, str], b: dict[int, str]
) -> paired.Compared:
    """The comparison of runs that do not change, each side with at least one whose answers can be used."""
    left, right = (load_answers(of_side, task, len(_labels)) for of_side in (a, b))
    return paired.compare(task.metric, _labels, left, right, bool(task.labels))


@ui.loaded(max_entries=16)
def load_losses(keys: tuple[str, ...]) -> list[list[float | None]]:
    """The training losses of those runs."""
    return list(losses_of(ui.the_store(), keys).values())


@ui.loaded(max_entries=32)
def load_zero_layers(task: Task, key: str, mark: tuple[Any, ...]) -> ZeroLayerScores | None:
    """What zero layers score, fitted on the train items of the recipe of a run; None where that is not measured."""
    runs = runs_by_key(ui.the_store(), [key])
    return zero_layers_with(task, Recipe(**runs[0]["recipe_values"])) if runs else None


def first_keys(configuration: dict[str, Any]) -> dict[int, str]:
    """The runs of a configuration by seed, so many as are read."""
    keys: dict[int, str] = configuration["keys"]
    return {seed: keys[seed] for seed in sorted(keys)[: paired.MOST_SEEDS]}


def labels_of(task: Task) -> tuple[int | float, ...] | None:
    """The true dev labels; None where they are neither known nor here."""
    store = ui.the_store()
    labels = known_dev_labels(store, task)
    if labels is None and not task.unfetched and ui.may_write():
        with ui.told(f"Reading the dev labels of {ui.plain(task.title)}, once") as report:
            labels = dev_labels(store, settings.from_environment(), task, report)
    return labels


# =============================================================================
# Parts of the page
# =============================================================================


def cards(found: paired.Compared, zero: ZeroLayerScores | None) -> None:
    """Both scores, the difference, and what zero layers score."""
    count = len(found.pairs)
    a, b = (sum(scores) / count for scores in zip(*((p.score_a, p.score_b) for p in found.pairs), strict=True))
    name = sentence_case(metric_of(found.metric).label)
    with st.grid(3 if zero is None else 4, min_column_width=150):
        view.number(f"A: {name}", shown(found.metric, a))
        view.number(f"B: {name}", shown(found.metric, b))
        view.number("B minus A, points", f"{found.difference:+.1f}")
        if zero:
            bag, constant = (shown(found.metric, mark.mean) for mark in zero.marks)
            view.number(sentence_case(zero.bag_of_words.name), bag, f"{zero.constant.name} {constant}")


def pairs_table(found: paired.Compared, zero: ZeroLayerScores | None) -> None:
    """Each pair of runs, with McNemar's test; and what zero layers score, in a column each."""
    label = metric_of(found.metric).label
    data = pd.DataFrame(
        {
            "seed of A": [pair.seed_a for pair in found.pairs],
            "seed of B": [pair.seed_b for pair in found.pairs],
            f"A, {label}": [100 * pair.score_a for pair in found.pairs],
            f"B, {label}": [100 * pair.score_b for pair in found.pairs],
            "only A right": [pair.only_a for pair in found.pairs],
            "only B right": [pair.only_b for pair in found.pairs],
            "McNemar's p": [paired.p_text(pair.p) for pair in found.pairs],
        }
    )
    marks = {mark.name: 100 * mark.mean for mark in (zero.marks if zero else ())}
    data = data.assign(**marks)
    one_decimal: dict[str, Any] = dict.fromkeys(
        (f"A, {label}", f"B, {label}", *marks), st.column_config.NumberColumn(format="%.1f")
    )
    view.table(data, "Each pair of runs.", one_decimal)


def way_to_explore(configuration: dict[str, Any], task: Task) -> Link | None:
    """To the cut on Explore, where a strategy makes it."""
    store, kept, total = ui.the_store(), tuple(configuration["kept_layers"]), configuration["num_hidden_layers"]
    try:
        model = find_model(store, settings.from_environment(), configuration["model"])
    except PmbError:  # such as a folder that has gone: its results are still here
        return None
    names = strategies_of(kept, total, known_layer_scores(store, model, task))
    recipe, procedure = configuration["recipe"], configuration["procedure"]
    return (
        to_explore("Show on Explore", model.id, names[0], total - len(kept), recipe, task.id, procedure)
        if names
        else None
    )


def side_part(side: str, configuration: dict[str, Any], task: Task) -> None:
    """What a side is, in words, and the way to it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        beside.tell_side(side, configuration, change_mark(ui.the_store()))
        if link := way_to_explore(configuration, task):
            st.page_link(link.file, label=link.label, icon=link.icon, query_params=link.query)


def answers_part(task: Task, labels: tuple[int | float, ...], sides: dict[str, Any]) -> None:
    """What each answers: the confusion of classes, or true numbers against answers."""
    view.section("What each answers")
    for column, (side, answers) in zip(st.columns(2, gap="medium"), sides.items(), strict=True):
        with column:
            answers_of_side(task, labels, side, answers)


def answers_of_side(task: Task, labels: tuple[int | float, ...], side: str, answers: dict[int, Any]) -> None:
    """What one of the two answers."""
    view.heading(side)
    if task.labels:
        names, cells = task.labels, paired.confusion(labels, answers, len(task.labels))
        alt = charts.confusion_alt_text(cells, names, side)
        view.draw(lambda: charts.confusion_chart(cells, names, ui.theme()), f"Answers of {side}", alt)
        table = pd.DataFrame(cells, columns=[f"answered {label}" for label in names])
        table.insert(0, "true label", list(names))
        view.table(table.round(1), alt)
    else:
        means = paired.average(answers)
        view.draw(
            lambda: charts.answers_chart(labels, means, ui.theme()),
            f"Answers of {side}",
            f"True numbers against the mean answers of {side}.",
        )
        table = pd.DataFrame({"true number": labels, "mean answer": means})
        view.table(table, f"True numbers and answers of {side}.", height=TABLE_PIXELS)


def training_part(curves: dict[str, list[list[float | None]]]) -> None:
    """The training losses of the runs of both sides by epoch."""
    view.section("How each was trained")
    view.draw(
        lambda: charts.loss_chart(curves, ui.theme()),
        "Training loss",
        "Mean training loss by epoch of the runs of A and of B.",
    )
    rows = [
        {"run": f"{side}, {number}"} | {f"loss in epoch {epoch}": loss for epoch, loss in enumerate(losses, 1)}
        for side, of_runs in curves.items()
        for number, losses in enumerate(of_runs, 1)
    ]
    table = pd.DataFrame(rows)
    three: dict[str, Any] = dict.fromkeys(table.columns[1:], st.column_config.NumberColumn(format="%.3f"))
    view.table(table, "The training losses of each run.", three)


def commands_part(task: Task, sides: dict[str, dict[str, Any]]) -> None:
    """The command that makes each again."""
    for column, (side, one) in zip(st.columns(2, gap="medium"), sides.items(), strict=True):
        dropped = [layer for layer in range(one["num_hidden_layers"]) if layer not in one["kept_layers"]]
        with column:
            st.markdown(f"**{side}**")
            take.command_lines(command_for(one, task), dropped)


def command_for(configuration: dict[str, Any], task: Task) -> str:
    """The command of its first seed."""
    one = configuration
    facts = (one["kept_layers"], one["recipe"], min(one["keys"]), one["procedure"])
    return command(one["model"], task.id, *facts)


def sentences_part(task: Task, labels: tuple[int | float, ...], sides: dict[str, Any]) -> None:
    """The sentences on which the two part ways, read when asked for."""
    view.section("Sentences that flipped")
    lost, won = paired.flipped(labels, sides["A"], sides["B"], bool(task.labels))
    what = ("right", "wrong") if task.labels else ("nearer", "farther")
    view.words(f"**{len(lost):,}** where A is {what[0]} and B {what[1]}, **{len(won):,}** the other way round.")
    if task.unfetched:
        st.caption("The sentences are not on this machine" + ui.by_right(f": {TO_FETCH} them.", "."))
        return
    if st.toggle("Show the sentences", key="sentences", bind="query-params"):
        with st.container():
            flips = {f"A {what[0]}, B {what[1]}": lost, f"B {what[0]}, A {what[1]}": won}
            sentences_tables(task, labels, sides, flips)
    else:
        # In the container's place, since Streamlit does not clear what a fragment no longer draws when the sidebar's
        # timer comes in the same moment.
        st.empty()


def sentences_tables(
    task: Task, labels: tuple[int | float, ...], sides: dict[str, Any], flips: dict[str, list[int]]
) -> None:
    """The first sentences of each kind of flip, with what was answered."""
    try:
        with st.spinner("Reading the sentences"):
            rows = tuple(row for found in flips.values() for row in found[:MOST_SENTENCES])
            texts = dict(zip(rows, beside.load_texts(task, rows), strict=True))
    except PmbError as error:
        st.text(ui.said(error))
        return
    decide = paired.majority if task.labels else paired.average
    answers = {side: decide(of_seeds) for side, of_seeds in sides.items()}
    for heading, found in flips.items():
        view.heading(heading)
        data = pd.DataFrame(
            {
                "sentence": [" / ".join(texts[row]) for row in found[:MOST_SENTENCES]],
                "true": [name_of(task, labels[row]) for row in found[:MOST_SENTENCES]],
                "A": [name_of(task, answers["A"][row]) for row in found[:MOST_SENTENCES]],
                "B": [name_of(task, answers["B"][row]) for row in found[:MOST_SENTENCES]],
            }
        )
        wide = {"sentence": st.column_config.TextColumn(width="large")}
        view.table(data, f"Sentences: {heading}.", wide)
        if len(found) > MOST_SENTENCES:
            view.note(f"and {len(found) - MOST_SENTENCES:,} more")


def name_of(task: Task, label: float) -> str:
    """A label's name, or a number."""
    return task.labels[int(label)] if task.labels else f"{label:.2f}"


def comparison(
    task: Task,
    labels: tuple[int | float, ...],
    keys: dict[str, dict[int, str]],
    sides: dict[str, Any],
    both: Sequence[dict[str, Any]],
) -> None:
    """All that is told of two configurations: of "A" and "B" the runs' keys by seed, and what they answered."""
    found = load_comparison(task, labels, keys["A"], keys["B"])
    view.answer(paired.compare_sentence(found))
    ui.badges({source for one in both for source in one["sources"]}, min(len(one["keys"]) for one in both))
    zero = load_zero_layers(task, min(both[0]["keys"].values()), change_mark(ui.the_store()))
    cards(found, zero)
    pairs_table(found, zero)
    answers_part(task, labels, sides)
    curves = {side: load_losses(tuple(of_side.values())) for side, of_side in keys.items()}
    training_part(curves)
    commands_part(task, {"A": both[0], "B": both[1]})
    view.live(lambda: sentences_part(task, labels, sides), None)  # the toggle waits for nothing else of the page
    view.method(METHOD.format(dev=len(labels), seeds=paired.MOST_SEEDS, resamples=paired.RESAMPLES))
    store, behind = ui.the_store(), [key for of_side in keys.values() for key in of_side.values()]
    view.made([command_for(one, task) for one in both], lambda: runs_by_key(store, behind))


# =============================================================================
# Page
# =============================================================================

task = controls.choose_task()
configurations = beside.load_configurations(task, change_mark(ui.the_store()))
labels = labels_of(task) if len(configurations) > 1 else None
if len(configurations) < 2:
    view.answer("There are not two configurations to compare on this task yet.")
    run_them = "Run the whole model and a cut on Explore; both appear here when they end."
    st.info(ui.by_right(run_them, "Choose another task above."))
elif labels is None:
    view.answer("The true labels of this task are not on this machine.")
    st.info(ui.by_right(f"To have them, {TO_FETCH} the data from the Hub.", "Choose another task above."))
else:
    names, (first, second) = list(configurations), beside.defaults(configurations)
    left, right = st.columns(2, gap="medium")
    with left:
        a = st.selectbox("A", names, index=first, key="a", bind="query-params")
        side_part("A", configurations[a], task)
    with right:
        b = st.selectbox("B", names, index=second, key="b", bind="query-params")
        side_part("B", configurations[b], task)
    keys = {side: first_keys(configurations[name]) for side, name in (("A", a), ("B", b))}
    sides = {side: load_answers(of_side, task, len(labels)) for side, of_side in keys.items()}
    if empty := [side for side, answers in sides.items() if not answers]:
        view.answer(f"What {' and '.join(empty)} answered cannot be used: choose another configuration.")
    else:
        link = to_try("Try both on a sentence", task.id, a, b)
        st.page_link(link.file, label=link.label, icon=link.icon, query_params=link.query)
        comparison(task, labels, keys, sides, (configurations[a], configurations[b]))
