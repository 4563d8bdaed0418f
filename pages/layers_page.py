"""What do the layers do? What each changes, what fine-tuning changes in it, and what can be read off it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import find_recipe, recipe_label
from pmb.catalog.tasks import Task
from pmb.charts import layers as charts
from pmb.charts.layers import Shown
from pmb.charts.style import Theme
from pmb.errors import PmbError
from pmb.insight import layers
from pmb.insight.metrics import metric_of
from pmb.insight.summary import SOURCES
from pmb.insight.zero_layers import ZeroLayerScores
from pmb.lab import probes
from pmb.lab.plan import SCORE_SENTENCES, known_layer_scores
from pmb.lab.sources import find_model, known_models
from pmb.lab.store import Row, change_mark
from pmb.screen import controls, offers, ui, view
from pmb.screen.download_row import download_row
from pmb.screen.finished import load_undertrained, load_zero_layers
from pmb.screen.selection import Selection, selectable_table, selection
from pmb.screen.zero_rows import names_of, tell_zero_layers, with_zero_rows

# =============================================================================
# Constants
# =============================================================================

FIRST_SEEDS = 3
MORE_SEEDS = 2
ROW_PIXELS = 64  # of the buttons or the progress: nothing below jumps
NUMBERING = """\
Layers are counted from 0, the lowest, as on every page; emb. is the output of the embeddings, whose sentence token is \
the same for every sentence, so that a classifier there can only guess."""
MATCHED = " Models of different depth are matched by this number."
DROPPING = """\
A layer that changes little, and above which a classifier gains nothing, is a candidate for dropping; what dropping it \
costs, only the cut itself shows (Explore)."""
METHOD = """\
**Sentence token**: the first; of a model that is padded on the left (XLNet) the last. **Changes**: 1 - cosine of each \
layer's output and input, mean of {sentences:,} train sentences, pre-trained model. **Leaves**: cosine of each \
layer's output in the pre-trained and in the fine-tuned model, mean of the first 1,000 dev examples. **Reads off**: \
{metric} on {dev} dev examples of a linear classifier (logistic regression, or ridge regression for numbers; \
standardised features, L2 with C = 0.01) fitted on {train} train examples; the whole model is first fine-tuned on them \
with recipe {recipe} and then held fixed. This is not a model cut to that layer and fine-tuned. **Interval**: 95 %; \
over seeds Student's t; where scores do not vary over seeds, or there is 1 seed, over the dev examples. The \
pre-trained model is the same with every seed. **Not clearly worse**: the 95 % interval of the difference, paired by \
seed, holds 0; of few seeds that says little, and more may tell the layers apart. **Source**: {sources}."""


Draw = Callable[[Sequence[Shown], Theme], alt.LayerChart]
Words = Callable[[Sequence[Shown]], str]


# =============================================================================
# Data loading
# =============================================================================


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model on the page, with what was measured on it."""

    model: BaseModel
    drawn: Shown
    probes: list[Row]  # those that are done


@ui.loaded(max_entries=32)
def load_layers(model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]) -> tuple[pd.DataFrame, list[Row]]:
    """What is measured on a model's layers, and the rows it comes from; `mark` changes when the store does."""
    store = ui.the_store()
    done = [row for row in probes.probes_of(store, model, task, recipe) if row["state"] == "done"]
    return layers.by_layer(done, known_layer_scores(store, model, task), model.num_hidden_layers), done


def load(models: Sequence[BaseModel], task: Task, recipe: str, mark: tuple[Any, ...]) -> list[Chosen]:
    """The models of the page, under their titles, or their names where titles are equal."""
    same = len({model.title for model in models}) < len(models)
    found = []
    for model in models:
        table, done = load_layers(model, task, recipe, mark)
        whole = layers.whole_model(done) if done else None
        found.append(Chosen(model, Shown(model.id if same else model.title, table, whole), done))
    return found


# =============================================================================
# Parts of the page
# =============================================================================


def choose_beside(model: BaseModel) -> BaseModel | None:
    """A second model, or none."""
    store = ui.the_store()
    name = st.selectbox(
        "Beside",
        known_models(store),
        index=None,
        key="beside",
        bind="query-params",
        width=controls.PIXELS,
        accept_new_options=ui.may_write(),
        placeholder="None",
        help="A second model in the same charts; of the catalog, a Hub id, or the path of a folder.",
    )
    found = find_model(store, settings.from_environment(), name) if name else None
    return None if found is None or found.id == model.id else found


def measuring(chosen: Sequence[Chosen], task: Task, recipe: str) -> None:
    """The buttons, or how far the measurements are; looks again every second while they go on."""
    watched = [row["key"] for row in asked(chosen, task, recipe)]
    ui.live(lambda: _live(chosen, task, recipe, watched), ui.LIVE_SECONDS if watched else None)


def asked(chosen: Sequence[Chosen], task: Task, recipe: str) -> list[Row]:
    """What was asked for on this page and is not measured yet, what goes on first."""
    rows = [row for one in chosen for row in probes.probes_of(ui.the_store(), one.model, task, recipe)]
    return sorted((row for row in rows if row["state"] == "asked"), key=lambda row: row["progress"] is None)


def _live(chosen: Sequence[Chosen], task: Task, recipe: str, watched: list[str]) -> None:
    active = [row for row in asked(chosen, task, recipe) if row["key"] in watched]
    if len(active) < len(watched):
        st.rerun()  # one more is measured: the charts show it
    with st.container(height=ROW_PIXELS, border=False):
        if active:
            progress_row(active)
        else:
            button_row(chosen, task, recipe)


def progress_row(active: Sequence[Row]) -> None:
    """How far the first measurement is, and Cancel for all."""
    with st.container(horizontal=True, vertical_alignment="center"):
        more = f" ({len(active) - 1} more to come)" if len(active) > 1 else ""
        text = f"Seed {active[0]['seed']}: {probes.progress_text(active[0])}{more}"
        st.progress(ui.share_done(active[0]), text=ui.plain(text))
        if ui.action("Cancel", key="cancel", icon=":material/stop:"):
            probes.cancel(ui.the_store(), [row["key"] for row in active])
            st.rerun()


def button_row(chosen: Sequence[Chosen], task: Task, recipe: str) -> None:
    """What measures the layers, or more seeds of them."""
    seeds = {one.model.id: {row["seed"] for row in one.probes} for one in chosen}
    first = any(not found for found in seeds.values())
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        if first:
            label, icon = "Measure the layers", ":material/play_arrow:"
            help = f"Fine-tunes the whole model with {FIRST_SEEDS} seeds, about 2 minutes each for a small model."
        else:
            label, icon, help = "Add two seeds", ":material/add:", "Narrows the intervals."
        pressed = ui.action(label, type="primary" if first else "secondary", key="measure", icon=icon, help=help)
        with st.popover("Command", icon=":material/terminal:"):
            st.code(
                ui.said("\n".join(probe_command(one.model, task, recipe) for one in chosen)),
                language="bash",
            )
    if pressed:
        with place.container():
            for one in chosen:
                if not first or not seeds[one.model.id]:
                    wanted = FIRST_SEEDS if first else MORE_SEEDS
                    known = seeds[one.model.id]
                    free = [seed for seed in range(len(known) + wanted) if seed not in known]
                    ask_for(one.model, task, recipe, free[:wanted])
        st.rerun()


def probe_command(model: BaseModel, task: Task, recipe: str) -> str:
    """The command that measures the layers with three seeds."""
    named = {"model": model.id, "task": task.id, "recipe": recipe}
    return " ".join(["python -m pmb probe", *(f"--{name} {shlex.quote(value)}" for name, value in named.items())])


def ask_for(model: BaseModel, task: Task, recipe: str, seeds: list[int]) -> None:
    """Ask for measurements; a problem is told when the page is drawn again."""
    try:
        with ui.told(f"Fetching what {ui.plain(model.title)} on {ui.plain(task.title)} needs") as report:
            probes.ask_for(ui.the_store(), settings.from_environment(), model, task, recipe, seeds, report)
    except PmbError as error:
        st.session_state["told_problem"] = str(error)


def panels(chosen: Sequence[Chosen], zero: ZeroLayerScores | None, *of: Hashable) -> None:
    """The three charts, beside each other where there is room; one that has nothing to draw says so.

    `of`: what their numbers are of, and what of them is selected.
    """
    measured = [one.drawn for one in chosen if one.probes]
    scored = [one.drawn for one in chosen if one.drawn.table["change"].notna().any()]
    parts: tuple[tuple[str, list[Shown], Draw, Words], ...] = (
        ("What each layer changes", scored, charts.change_chart, charts.change_alt_text),
        ("What fine-tuning leaves", measured, charts.similarity_chart, charts.similarity_alt_text),
        (
            "What a classifier reads off",
            measured,
            lambda drawn, theme: charts.score_chart(drawn, zero, theme),
            lambda drawn: charts.score_alt_text(drawn, zero),
        ),
    )
    for column, (title, drawn, draw, alt_text) in zip(st.columns(3, gap="medium"), parts, strict=True):
        with column:
            panel(title, drawn, draw, alt_text, of)


def panel(
    title: str,
    drawn: list[Shown],
    draw: Draw,
    alt_text: Words,
    of: tuple[Hashable, ...],
) -> None:
    """One chart with its heading."""
    view.heading(title)
    if drawn:
        view.draw_once(lambda: draw(drawn, ui.theme()), title, lambda: alt_text(drawn), *of)
    else:
        st.info("Not measured yet." + ui.by_right(" Press Measure the layers."))


def row_names(one: Chosen) -> list[str]:
    """Such as "minilm-l6.3", and "minilm-l6.emb"."""
    return [f"{one.model.id}.{'emb' if layer == layers.EMBEDDINGS else layer}" for layer in one.drawn.table["layer"]]


def faded(one: Chosen, of: Selection) -> Chosen:
    """The same with how each layer is drawn."""
    table = one.drawn.table.assign(opacity=of.opacity(row_names(one)))
    return replace(one, drawn=replace(one.drawn, table=table))


def layer_table(chosen: Sequence[Chosen], zero: ZeroLayerScores | None, of: Selection) -> None:
    """What the charts draw, a row a model and layer, and zero layers."""
    every = pd.concat([one.drawn.table.assign(model=one.drawn.title) for one in chosen], ignore_index=True)
    columns = {
        "change": ("change", 1),
        "similarity": ("similarity", 1),
        "similarity from": ("similarity_low", 1),
        "similarity to": ("similarity_high", 1),
        "fine-tuned × 100": ("tuned", 100),
        "fine-tuned from": ("tuned_low", 100),
        "fine-tuned to": ("tuned_high", 100),
        "pre-trained × 100": ("pretrained", 100),
        "pre-trained from": ("pretrained_low", 100),
        "pre-trained to": ("pretrained_high", 100),
    }
    numbers = {name: (factor * every[column]).astype(float) for name, (column, factor) in columns.items()}
    names = every["layer"].map(lambda layer: "emb." if layer == layers.EMBEDDINGS else str(layer))
    shown = pd.DataFrame({"layer": names, "model": every["model"]} | numbers)
    shown = shown.assign(seeds=every["seeds"], source=every["source"])
    ends = ("fine-tuned from", "fine-tuned to")
    shown = with_zero_rows(shown, zero, "model", "fine-tuned × 100", ends)
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.3f" if factor == 1 else "%.1f")
        for name, (_, factor) in columns.items()
    }
    config |= {"layer": st.column_config.TextColumn(pinned=True)}
    selectable_table(of, shown, config, "What the charts draw.")


def method(chosen: Sequence[Chosen], task: Task, recipe: str) -> None:
    """How the numbers came about."""
    rows = [row for one in chosen for row in one.probes]
    planned = find_recipe(recipe, chosen[0].model, task).train_sentences
    sources = ", ".join(sorted({SOURCES[row["source"]] for row in rows}))
    devices = ui.plain(", ".join(sorted({row["device"] for row in rows})))
    dates = sorted({datetime.fromtimestamp(row["measured_at"], UTC).date().isoformat() for row in rows})
    view.method(
        METHOD.format(
            sentences=SCORE_SENTENCES,
            metric=metric_of(task.metric).name,
            dev=f"{rows[0]['num_dev']:,}" if rows else "the",
            train=f"{rows[0]['num_train']:,}" if rows else f"at most {planned:,}",
            recipe=recipe_label(recipe),
            sources=f"{sources}, on {devices}, {dates[0]} to {dates[-1]}" if rows else "none yet",
        )
    )


# =============================================================================
# Page
# =============================================================================

with controls.row():
    model, task = controls.choose_model(), controls.choose_task()
    recipe = controls.choose_recipe(model, task)
    beside = choose_beside(model)

mark = change_mark(ui.the_store())
chosen = load([model] if beside is None else [model, beside], task, recipe, mark)
for one in chosen:
    sentence = layers.answer_sentence(one.drawn.table)
    view.answer(f"{f'{ui.plain(one.drawn.title)}: ' if beside else ''}{sentence}")
probed = [row for one in chosen for row in one.probes]
fewest = min((len(one.probes) for one in chosen if one.probes), default=None)
reasons = [load_undertrained(one.model, task, recipe, mark) for one in chosen]
undertrained = "; ".join(
    f"{one.drawn.title}: {reason}" if beside else reason for one, reason in zip(chosen, reasons, strict=True) if reason
)
view.badges({row["source"] for row in probed}, fewest, ui.plain(undertrained))
view.note(DROPPING)
for one in chosen:
    download_row(one.model, one.model.id)
measuring(chosen, task, recipe)
offers.tell_problem()
for one in chosen:
    for row in probes.probes_of(ui.the_store(), one.model, task, recipe):
        if row["state"] == "failed":
            st.warning(ui.plain(f"Seed {row['seed']} of {one.drawn.title}: {row['error']}"), icon=":material/warning:")
zero = load_zero_layers(model, task, recipe, mark)
selected = selection([*(name for one in chosen for name in row_names(one)), *names_of(zero)])
shown = [faded(one, selected) for one in chosen]
models = tuple((one.model.id, one.model.revision) for one in chosen)
panels(shown, zero, models, task.id, task.revision, recipe, mark, selected.chosen)
view.note(NUMBERING + (MATCHED if beside else ""))
tell_zero_layers(zero, model, task, recipe)
layer_table(chosen, zero, selected)
method(chosen, task, recipe)
view.made([probe_command(one.model, task, recipe) for one in chosen], lambda: probed)
