"""What do I save? Parameters, file, memory, fine-tuning and inference against layers dropped, beside the ideal."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import median
from typing import Any

import pandas as pd
import streamlit as st

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.charts import cost as charts
from pmb.insight import cost
from pmb.insight.summary import SOURCES
from pmb.lab.answer import sweep_command
from pmb.lab.results import memories_of
from pmb.lab.store import change_mark, list_latencies
from pmb.screen import controls, ui, view
from pmb.screen.finished import load_runs, load_undertrained
from pmb.screen.links import to_explore
from pmb.screen.selection import Selection, selectable_table, selection
from pmb.spec import PROCEDURES
from pmb.strategies import drop_counts

# =============================================================================
# Constants
# =============================================================================

SIZES = {
    "parameters": ("Parameters", "parameters, millions"),
    "megabytes": ("File size", "megabytes"),
    cost.MEMORY: ("Peak memory while fine-tuning", "megabytes at the peak"),
}
SPEEDUPS = {
    cost.TUNING: "Fine-tuning",
    "batch 32": "Inference, 32 sentences at a time",
    "batch 1": "Inference, one sentence at a time",
}
METHOD = """\
What is saved depends on how many layers go, not on which. **Fine-tuning**: training time of the whole model by that \
of the cut one, runs of the same task, recipe, seed and machine in pairs; median, line from the 10th to the 90th \
percentile. **Inference**: whole and cut model timed in turn, sentences of 32 tokens; median of pairs, the same line. \
**Dashed** in a speed-up: what would be, were time in proportion to depth; in a size: embeddings, pooler and \
classifier, which no cut saves; in memory: the straight line through the deepest and the shallowest model, at no \
layers. Of the last layer only the sentence token is computed, so that fine-tuning can gain more than in proportion. \
**File**: float32 weights. **Peak memory**: the most held at a time from the first to the last training step, after \
the layers were dropped; on a CPU by the whole process, Python and torch included, on a GPU by tensors in its memory; \
runs of one device and number of threads, median, the same line. **Source**: {sources}."""
NOT_MEASURED = """\
Not measured yet. The lab looks at the memory of every run that it does; older runs have none, and some systems do not \
tell."""


# =============================================================================
# Data loading
# =============================================================================


@ui.loaded(max_entries=32)
def load_costs(
    model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]
) -> tuple[pd.DataFrame, set[str], str, str, int]:
    """The costs by drop count, their sources; on what they were measured, and memory; the first seed not run yet."""
    store = ui.the_store()
    runs = load_runs(model, task, recipe, PROCEDURES[0], mark)
    latencies = list_latencies(store, model.id, model.revision)
    memories = cost.on_one_machine(memories_of(store, runs))
    rows = [*runs, *latencies, *memories]
    sources = {row["source"] for row in rows}
    words = sorted(SOURCES[source] for source in sources)
    devices = sorted({row["device"] for row in rows})
    table = cost.costs(runs, latencies, memories, model.num_hidden_layers)
    next_seed = max((run["seed"] for run in runs), default=-1) + 1
    return table, sources, f"{', '.join(words)}, on {', '.join(devices)}", memory_note(memories), next_seed


def memory_note(memories: Sequence[cost.Row]) -> str:
    """What the peaks of one machine were measured on and what is in them; empty where there are none."""
    if not memories:
        return ""
    where = f"{memories[0]['device']}; {memories[0]['machine']}."
    idle = median(row["idle_megabytes"] for row in memories)
    return f"{where} {idle:.0f} MB of the peak are Python and torch, before a model is loaded." if idle else where


# =============================================================================
# Parts of the page
# =============================================================================


def panels(table: pd.DataFrame, total: int, note: str, command: str, of: tuple[Hashable, ...]) -> None:
    """One chart a quantity, two beside each other where there is room; of memory a note, or how to measure it.

    `of`: whose costs, and what is selected.
    """
    shown = [name for name in (*SIZES, *SPEEDUPS) if table[name].notna().any() or name == cost.MEMORY]
    for start in range(0, len(shown), 2):  # a row each, so that they are level, and in this order on a phone
        for name, column in zip(shown[start : start + 2], st.columns(2, gap="medium"), strict=False):
            with column:
                panel(table, name, total, of)
                if name == cost.MEMORY:
                    tell_of_memory(note, command)


def panel(table: pd.DataFrame, name: str, total: int, of: tuple[Hashable, ...]) -> None:
    """The chart of one quantity, as far as it is measured."""
    if name in SIZES:
        heading, title = SIZES[name]
        view.heading(heading)
        if table[name].notna().any():
            outside = cost.outside_layers(table, name)
            view.draw_once(
                lambda: charts.size_chart(table, name, title, outside, total, ui.theme()),
                heading,
                lambda: charts.size_alt_text(table, name, title, outside),
                *of,
            )
    else:
        view.heading(SPEEDUPS[name])
        view.draw_once(
            lambda: charts.speedup_chart(table, name, total, ui.theme()),
            SPEEDUPS[name],
            lambda: charts.speedup_alt_text(table, name, total),
            *of,
        )


def tell_of_memory(note: str, command: str) -> None:
    """On what memory was measured, or how to measure it."""
    if note:
        view.note(ui.plain(note))
        return
    st.caption(NOT_MEASURED + ui.by_right(" A seed that has not run yet measures it:"))
    if ui.may_write():
        st.code(ui.said(command), language="bash", wrap_lines=True)


def row_names(table: pd.DataFrame) -> list[str]:
    """The drop counts."""
    return [str(count) for count in table["drop_count"]]


def cost_table(table: pd.DataFrame, of: Selection) -> None:
    """The same, a row a drop count."""
    shown = pd.DataFrame(
        {
            "dropped": table["drop_count"],
            "layers kept": table["depth"],
            "parameters, M": table["parameters"] / 1e6,
            "file, MB": table["megabytes"],
        }
    )
    times = {name: f"{heading.lower()}, times" for name, heading in SPEEDUPS.items()}
    for name, heading in {cost.MEMORY: "peak memory, MB", **times}.items():
        shown[heading] = table[name]
        shown[f"{name} from"], shown[f"{name} to"] = table[f"{name} low"], table[f"{name} high"]
    in_units = {"parameters, M", "file, MB", "peak memory, MB", f"{cost.MEMORY} from", f"{cost.MEMORY} to"}
    formats: dict[str, Any] = {
        str(name): st.column_config.NumberColumn(format="%.1f" if name in in_units else "%.2f")
        for name in shown.columns[2:]
    }
    formats["dropped"] = st.column_config.NumberColumn(pinned=True)
    choice = st.session_state
    links = [
        to_explore("Show on Explore", choice.model, "top", int(count), choice.recipe, choice.task)
        for count in of.chosen
    ]
    selectable_table(of, shown, formats, "What the charts draw.", links if len(links) == 1 else [])


# =============================================================================
# Page
# =============================================================================

with controls.row():
    model, task = controls.choose_model(), controls.choose_task()
    total = model.num_hidden_layers
    drop_count = controls.choose_drop([k for k in drop_counts("top", total) if k], total // 2)
    recipe = controls.choose_recipe(model, task)

mark = change_mark(ui.the_store())
table, sources, measured_on, note, next_seed = load_costs(model, task, recipe, mark)
view.answer(cost.cost_sentence(table, drop_count, total))
view.badges(sources, None, load_undertrained(model, task, recipe, mark))
if model.shared:
    view.note("All layers of this model are the same weights: dropping some saves time, but no parameters.")
if table.empty:
    st.info(
        "Nothing has been measured for this choice yet. "
        + ui.by_right(
            "Run a cut on Explore: its size, its memory and its times come with it, and inference is timed with the "
            "first run of each depth.",
            "Choose another one above.",
        )
    )
else:
    if outside := cost.outside_layers(table, "parameters"):
        share = 100 * outside / table["parameters"].max()
        view.note(f"{share:.0f} % of the whole model's parameters are outside its layers: no cut saves them.")
    selected = selection(row_names(table))
    view.note("Dashed: in sizes and memory what no cut saves; in speed-ups what would be in proportion to depth.")
    command = f"{sweep_command(model.id, task.id, recipe, ['top'])} --seeds {next_seed}"
    of = (model.id, model.revision, task.id, task.revision, recipe, mark, selected.chosen)
    panels(table.assign(opacity=selected.opacity(row_names(table))), total, note, command, of)
    cost_table(table, selected)
    view.method(METHOD.format(sources=ui.plain(measured_on)))
view.made(
    [sweep_command(model.id, task.id, recipe, ["top"])],
    view.runs_of(model, [task], recipe),
)
