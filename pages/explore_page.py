"""How many layers can I drop? Pick a cut, see what it costs and brings, run it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.catalog.models import BaseModel, cuts_by_strategy
from pmb.catalog.recipes import find_recipe, recipe_label, recipe_words
from pmb.catalog.tasks import Task
from pmb.charts import accuracy, predicted, strip
from pmb.charts.zero_layers import bag_of_words_words
from pmb.insight import draws, predict, published, summary
from pmb.insight.intervals import EXAMPLES
from pmb.insight.metrics import metric_of, sentence_case, shown
from pmb.insight.zero_layers import ZeroLayerScores, nothing_shown_sentence
from pmb.lab import previews
from pmb.lab.answer import HEADLINE_SHAPE, command_of, sweep_command
from pmb.lab.plan import (
    Plan,
    known_layer_scores,
    plan_baselines,
    plan_kept,
    plan_whole,
    spec_of,
)
from pmb.lab.previews import Cut
from pmb.lab.results import configuration_name
from pmb.lab.sources import notes_on
from pmb.lab.store import Row, change_mark
from pmb.screen import controls, offers, take, ui, view
from pmb.screen.cut_runs import measure_button, other_models, run_buttons
from pmb.screen.download_row import download_row, weights_missing
from pmb.screen.explore_data import (
    cut_of,
    cuts_without_scores,
    load_baselines,
    load_hollow,
    load_measured,
    load_one_answer,
    load_preview,
    more_scores,
    row_names,
)
from pmb.screen.finished import load_undertrained, load_zero_layers
from pmb.screen.length_row import length_row
from pmb.screen.links import Link, to_compare
from pmb.screen.preview_row import preview_row
from pmb.screen.search_part import search_part
from pmb.screen.selection import Selection, selectable_table, selection
from pmb.screen.your_table import your_table
from pmb.screen.zero_rows import names_of, tell_zero_layers, with_zero_rows
from pmb.spec import PROCEDURES
from pmb.strategies import (
    CHOICES,
    CUSTOM,
    DRAWS,
    RANDOM,
    STRATEGIES,
    drop_counts,
)

# =============================================================================
# Constants
# =============================================================================

DEFAULT_DROP = 2
RULES = {RANDOM: DRAWS[0]}  # what stands in the box, by what makes its cuts
CHART_NOTE = """\
Vertical lines and the band are 95 % intervals. Cuts of one depth stand beside each other. Ring: your cut; connected, \
against speed-up: no other cut is both faster and more accurate. Dotted across: a bag of words, with zero layers."""
HOLLOW_NOTES = {
    predicted.PREDICTED: "Hollow, right of its depth: predicted before training, with a 95 % band.",
    predicted.FROZEN: "Hollow, right of its depth: frozen features, which are no prediction.",
}
PREDICTED = """\
**Frozen**: {metric} on {dev} dev sentences of a linear classifier (logistic regression, or ridge regression for \
numbers; standardised features, L2 with C = 0.01) fitted on {train} train sentences; it reads the sentence token of \
the pre-trained model with these layers, and nothing is fine-tuned. **Predicted**: a plane over the layers kept and \
that score, fitted by least squares to what is measured of this model on this task with this recipe; **band**: its \
95 % prediction interval. A measured cut is predicted from the others alone. Where bands overlap, a prediction does \
not say which cut is better."""
DOTTED_NOTE = " Dotted: of a single seed, over the dev examples."
METHOD = """\
**Score**: {metric} on {dev} dev examples that no choice was made on; the last epoch counts. \
**Interval**: 95 %; over seeds Student's t, which speaks for other seeds and not for other sentences; of a single seed \
over the dev examples, Wilson's of accuracy, else a bootstrap. **Speed-up**: time of the whole model by time of the \
cut one, batch {batch} of {length} \
tokens, median of pairs timed in turn{device}. **Bag of words**: TF-IDF and logistic regression, or ridge regression \
for numbers, fitted on the same train items; of pairs the words of each text, their products and the cosine. **One \
answer to all**: the most frequent label of train, or the mean. **Recipe** {recipe}, the same for every \
depth. **Source**: {sources}."""


# =============================================================================
# Parts of the page
# =============================================================================


def draws_part(plan: Plan, task: Task, table: pd.DataFrame) -> None:
    """What the random draws of this drop count score beside contribution, and a button for those not measured."""
    scores = known_layer_scores(ui.the_store(), plan.model, task)

    def cuts(strategies: Sequence[str]) -> list[Cut]:
        found = cuts_by_strategy(plan.model, strategies, scores)
        return [kept for made in found.values() for kept in made if len(kept) == len(plan.kept_layers)]

    drawn = cuts(DRAWS)
    if sentence := draws.draws_sentence(table, drawn, next(iter(cuts(["contribution"])), None)):
        view.note(sentence)
        if missing := draws.missing_draws(table, drawn):
            measure_button([plan_kept(plan.model, kept) for kept in missing], task)


def cards(row: Row | None, plan: Plan, whole: Row | None, task: Task) -> None:
    """Four large numbers, each beside the whole model's."""
    score = sentence_case(metric_of(task.metric).label)
    with st.grid(4, min_column_width=150):
        if row is None:
            for label in (score, "Speed-up", "Parameters", "File size"):
                view.number(label, "–", "not measured yet")
            return
        timed = pd.notna(row["speedup"])
        beside = {
            score: f"{100 * (row['mean'] - whole['mean']):+.1f} points" if whole else None,
            "Speed-up": f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}" if timed else "not timed yet",
            "Parameters": f"{100 * (row['parameters'] / whole['parameters'] - 1):+.0f} %" if whole else None,
            "File size": f"{row['megabytes'] - whole['megabytes']:+.0f} MB" if whole else None,
        }
        values = {
            score: shown(row["metric"], row["mean"]),
            "Speed-up": f"{row['speedup']:.2f} ×" if timed else "–",
            "Parameters": f"{row['parameters'] / 1e6:.1f} M",
            "File size": f"{row['megabytes']:.0f} MB",
        }
        for label, value in values.items():
            compared = beside[label] or "whole model not measured yet"
            view.number(label, value, compared if plan.dropped_layers else "whole model")


def charts(
    points: pd.DataFrame,
    baselines: pd.DataFrame,
    hollow: pd.DataFrame,
    zero: ZeroLayerScores | None,
    strategy: str,
    drop_count: int,
    of: tuple[Hashable, ...],
) -> None:
    """The score against depth and against speed. `of`: where the points come from, and what of them is selected."""
    name = sentence_case(metric_of(points["metric"].iloc[0]).name)
    left, right = st.columns(2, gap="medium")
    with left:
        view.heading(f"{name} against layers kept")
        view.draw_once(
            lambda: accuracy.accuracy_by_depth(points, baselines, hollow, zero, strategy, drop_count, ui.theme()),
            "Score against layers kept",
            lambda: (
                f"{accuracy.depth_alt_text(points, baselines, zero)} "
                f"{predicted.hollow_alt_text(hollow, task.metric)}".strip()
            ),
            strategy,
            drop_count,
            *of,
        )
    with right:
        view.heading(f"{name} against speed-up")
        if points["speedup"].isna().all():
            st.info("Speed is measured with the first run of each depth on this machine.")
            return
        view.draw_once(
            lambda: accuracy.accuracy_by_speed(with_front(points), zero, strategy, drop_count, ui.theme()),
            "Score against speed-up",
            lambda: accuracy.speed_alt_text(with_front(points), zero),
            strategy,
            drop_count,
            *of,
        )


def with_front(points: pd.DataFrame) -> pd.DataFrame:
    """Those that are timed, and whether no other is both faster and more accurate."""
    timed = points[points["speedup"].notna()]
    return timed.assign(front=summary.pareto_front(timed))


def configuration_table(rows: pd.DataFrame, zero: ZeroLayerScores | None, of: Selection, links: list[Link]) -> None:
    """What the charts draw, one row a strategy and drop count, and zero layers."""
    score = metric_of(rows["metric"].iloc[0]).label
    shown = pd.DataFrame(
        {
            "strategy": rows["strategy"].str.replace("-", " "),
            "dropped": rows["drop_count"],
            "layers kept": rows["kept_layers"].map(ui.layers),
            score: 100 * rows["mean"],
            "from": 100 * rows["low"],
            "to": 100 * rows["high"],
            "loss, points": -100 * rows["difference"],
            "seeds": rows["seeds"].map(len),
            "speed-up": rows["speedup"],
            "parameters, M": rows["parameters"] / 1e6,
            "training, s": rows["train_seconds"],
            "source": rows["sources"].map(lambda sources: ", ".join(summary.SOURCES[name] for name in sources)),
        }
    )
    shown = with_zero_rows(shown, zero, "strategy", score, ("from", "to"))
    if (rows["over"] == EXAMPLES).any():
        marks = zero.marks if zero else ()
        shown.insert(6, "interval over", [*rows["over"], *(mark.over for mark in marks)])
    one_decimal = st.column_config.NumberColumn(format="%.1f")
    names = ("from", "to", score, "loss, points", "parameters, M", "training, s")
    config: dict[str, Any] = dict.fromkeys(names, one_decimal)
    config |= {
        "speed-up": st.column_config.NumberColumn(format="%.2f"),
        "strategy": st.column_config.TextColumn(pinned=True),
    }
    selectable_table(of, shown, config, "The configurations that the charts draw.", links)


def hollow_note(hollow: pd.DataFrame, sentence: str) -> None:
    """What hollow points are and what they are worth, where there are any."""
    if len(hollow):
        view.note(f"{HOLLOW_NOTES[hollow['kind'].iloc[0]]} {sentence}")


def prediction_table(preview: predict.Preview, task: Task) -> None:
    """What is predicted, a row a strategy and drop count, beside what is measured."""
    rows = preview.curves
    shown = pd.DataFrame(
        {
            "strategy": rows["strategy"].str.replace("-", " "),
            "dropped": rows["drop_count"],
            "layers kept": rows["kept_layers"].map(ui.layers),
            "frozen": 100 * rows["frozen"],
            "predicted": 100 * rows["predicted"],
            "band from": 100 * rows["low"],
            "band to": 100 * rows["high"],
            "measured": 100 * rows["measured"],
        }
    )
    if preview.calibration is None:
        shown = shown.drop(columns=["predicted", "band from", "band to"])
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.1f")
        for name in ("frozen", "predicted", "band from", "band to", "measured")
    }
    config["strategy"] = st.column_config.TextColumn(pinned=True)
    title = "Predicted before training" if preview.calibration else "Frozen features, not calibrated"
    with st.expander(title, icon=":material/visibility:"):
        view.heading(title)
        view.table(shown, "What is predicted.", config)
        view.words(
            PREDICTED.format(
                metric=metric_of(task.metric).name, dev=previews.DEV_SENTENCES, train=previews.TRAIN_SENTENCES
            )
        )


def ways_on(rows: pd.DataFrame, of: Selection, model: BaseModel, task: Task) -> list[Link]:
    """To Compare: a selected cut beside the whole model, or two that are selected beside each other."""
    if not of.chosen:
        return []
    choice = st.session_state

    def name(row: Row) -> str:
        procedure = choice.procedure if row["drop_count"] else PROCEDURES[0]
        return configuration_name(model.id, choice.recipe, row["kept_layers"], procedure)

    chosen = {name(row): row for row in ui.records(rows[of.has(rows["row"])])}
    whole = [name(row) for row in ui.records(rows[rows["row"] == "whole"])]
    if len(chosen) == 1 and whole and [*chosen] != whole:
        return [to_compare("Compare with the whole model", task.id, whole[0], *chosen)]
    return [to_compare("Compare the two", task.id, *chosen)] if len(chosen) == 2 else []


def method(table: pd.DataFrame, model: BaseModel, task: Task, recipe: str) -> None:
    """How the numbers came about."""
    timed = table["speed_device"].dropna()
    devices = ui.plain(", ".join(sorted(set(table["device"]))))
    dates = [datetime.fromtimestamp(seconds, UTC).date().isoformat() for seconds in table["finished_at"]]
    batch, length = HEADLINE_SHAPE
    view.method(
        METHOD.format(
            metric=metric_of(task.metric).name,
            dev=f"{task.dev_examples:,}" if task.dev_examples else "the",
            batch=batch,
            length=length,
            device=f" ({ui.plain(timed.iloc[0])})" if len(timed) else "",
            recipe=f"{recipe_label(recipe)} ({recipe_words(find_recipe(recipe, model, task), task)})",
            sources=f"{summary.source_words([table])}, on {devices}, {min(dates)} to {max(dates)}"
            if dates
            else "none yet",
        ),
        f"**{ui.plain(model.title)}**: {ui.plain(model.about)} Licence {model.licence}.",
        f"**{ui.plain(task.title)}**: {ui.plain(task.about)} Licence {task.licence}.",
    )


# =============================================================================
# Page
# =============================================================================

store, found = ui.the_store(), settings.from_environment()
with controls.row():
    model, task, strategy = controls.choose_model(), controls.choose_task(), controls.choose_strategy(CHOICES)
    rule, depth, kept, drop_count = RULES.get(strategy, strategy), model.num_hidden_layers, [], 0
    if strategy == CUSTOM:
        kept = controls.choose_kept(depth, st.session_state.get("shown_cut", range(depth - DEFAULT_DROP)))
    else:
        st.query_params.pop("kept", None)
        drop_count = controls.choose_drop(drop_counts(rule, depth), DEFAULT_DROP)
    if ui.action(
        "Your table",
        icon=":material/upload_file:",
        key="your_table",
        help="Upload a table of your own, or look at the present one.",
    ):
        your_table(task.table)
    with st.popover("More", icon=":material/tune:"):
        recipe = controls.choose_recipe(model, task, width="stretch")
        st.caption(recipe_words(find_recipe(recipe, model, task), task).capitalize() + ".")
        with st.expander("Change the recipe"):
            controls.change_recipe(recipe, model, task)
        procedure = controls.choose_procedure()

plan = plan_kept(model, kept) if strategy == CUSTOM else cut_of(model, task, rule, drop_count)
drop_count = len(plan.dropped_layers)
st.session_state["shown_cut"] = plan.kept_layers  # with which a choice of one's own begins
mark = change_mark(store)
more = more_scores(model, task, strategy)
others = cuts_without_scores(plan, strategy)
asked = (model, task, recipe, procedure, more, others, mark)
measured = load_measured(*asked)
table, points, rows = measured.table, measured.points, measured.rows
baseline_plans = plan_baselines(store, found, model)
baselines = load_baselines(baseline_plans, task, recipe, mark)
zero = load_zero_layers(model, task, recipe, mark)
undertrained = load_undertrained(model, task, recipe, mark)
chosen, whole = measured.by_cut.get(plan.kept_layers), measured.by_cut.get(plan_whole(model).kept_layers)

if chosen is None:
    view.answer(
        f"This cut has not been measured with recipe {recipe_label(recipe)} yet.",
        ui.by_right(" Download the model first." if weights_missing(model) else " Press Run."),
    )
    if undertrained:
        view.badges((), None, undertrained)
else:
    view.answer(summary.answer_sentence(chosen, whole, strategy, chosen["speedup"]))
    with st.container(horizontal=True, vertical_alignment="center"):
        view.badges(chosen["sources"], len(chosen["seeds"]), undertrained)
        take.take_it(spec_of(plan, task, recipe, chosen["seeds"][0], procedure).key)
    keys = [spec_of(plan, task, recipe, seed, procedure).key for seed in chosen["seeds"]]
    if same := load_one_answer(keys, task.labels, mark):
        view.words(ui.plain(same))

shading = strip.shading(strategy, more.get(strategy) or known_layer_scores(store, model, task))
stronger = f" A layer of a stronger colour {shading.words}." if shading else ""
view.note(f"Kept {ui.layers(plan.kept_layers)}; dropped {ui.layers(plan.dropped_layers)}.{stronger}")
if strategy == "variance" and (printed := published.variance_order(model.id)):
    view.note(printed)
view.draw_once(
    lambda: strip.layer_strip(plan.kept_layers, model.num_hidden_layers, shading, ui.theme()),
    "Layers kept and dropped",
    lambda: strip.strip_alt_text(plan.kept_layers, model.num_hidden_layers),
    plan.kept_layers,
    model.num_hidden_layers,
    shading,
    width="content",
)
if model.shared:
    view.note("All layers of this model are the same weights: dropping some saves time, but no parameters.")
if task.unfetched:
    away = f"The sentences of {ui.plain(task.title)} are not on this machine"
    st.caption(away + ui.by_right("; the first run fetches them from the Hub.", "."))
if task.warning:
    st.warning(task.warning, icon=":material/warning:")
for note in notes_on(store, task.id):
    view.note(ui.plain(note))
cards(chosen, plan, whole, task)
download_row(model)
run_buttons(plan, chosen, task)
length_row(model, task, recipe)
if strategy == RANDOM:
    draws_part(plan, task, table)
scores_by_cut = {kept: row["mean"] for kept, row in measured.by_cut.items()}
preview, also, missing = load_preview(*asked, scores_by_cut)
preview_row(model, task, strategy, also, missing)
if chosen is None:
    view.words(predict.answer_sentence(preview, plan.kept_layers))
hollow = load_hollow(asked, strategy, preview.curves, scores_by_cut)
search_commands = search_part(model, task, recipe)
offers.tell_problem()
if points.empty:
    if len(hollow):
        view.heading(f"{sentence_case(metric_of(task.metric).name)} against layers kept")
        view.draw(
            lambda: predicted.predicted_by_depth(
                hollow, zero, strategy, model.num_hidden_layers, task.metric, ui.theme()
            ),
            "Score against layers kept",
            f"{predicted.hollow_alt_text(hollow, task.metric)} {bag_of_words_words(zero)}".strip(),
        )
        hollow_note(hollow, preview.sentence)
    st.info(
        "Nothing has been measured for this choice yet. "
        + ui.by_right("Press Run; the first point appears when it ends.", "Choose another one above.")
    )
else:
    selected = selection([*rows["row"], *names_of(zero)])
    drawn = points.assign(selected=selected.has(row_names(points)))
    of = (model.id, model.revision, task.id, task.revision, recipe, procedure, mark, selected.chosen, plan.kept_layers)
    charts(drawn, baselines, hollow, zero, strategy, drop_count, of)
    view.note(CHART_NOTE + (DOTTED_NOTE if (points["over"] == EXAMPLES).any() else ""))
    hollow_note(hollow, preview.sentence)
    tell_zero_layers(zero, model, task, recipe)
    if nothing_shown := nothing_shown_sentence(ui.records(table), zero):
        view.words(nothing_shown)
    other_models(baseline_plans, baselines, model, task)
    configuration_table(rows, zero, selected, ways_on(rows, selected, model, task))
    method(table, model, task, recipe)
if len(preview.curves):
    prediction_table(preview, task)
names = (*STRATEGIES, rule) if rule not in (*STRATEGIES, CUSTOM) else ()
view.made(
    [
        command_of(spec_of(plan, task, recipe, chosen["seeds"][0] if chosen else 0, procedure)),
        sweep_command(model.id, task.id, recipe, names, (), procedure),
        *search_commands,
    ],
    view.runs_of(model, [task], recipe),
)
