"""What do I save? Parameters, file, fine-tuning and inference against layers dropped, beside the ideal."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pmb import controls, ui
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.charts import cost as charts
from pmb.insight import cost
from pmb.insight.summary import SOURCES
from pmb.lab.results import finished_runs
from pmb.lab.store import change_mark, list_latencies
from pmb.spec import PROCEDURES
from pmb.strategies import drop_counts

# =============================================================================
# Constants
# =============================================================================

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
classifier, which no cut saves. Of the last layer only the sentence token is computed, so that fine-tuning can gain \
more than in proportion. **File**: float32 weights. Peak memory is not measured yet. **Source**: {sources}."""


# =============================================================================
# Data loading
# =============================================================================


@st.cache_data(max_entries=32, show_spinner=False)
def load_costs(model: BaseModel, task: Task, recipe: str, mark: tuple[Any, ...]) -> tuple[pd.DataFrame, str]:
    """The costs by drop count, and where and on what they were measured."""
    store = ui.the_store()
    runs = finished_runs(store, model, task, recipe, PROCEDURES[:1])
    latencies = list_latencies(store, model.id, model.revision)
    rows = [*runs, *latencies]
    words = sorted({SOURCES[row["source"]] for row in rows})
    devices = sorted({row["device"] for row in rows})
    return cost.costs(runs, latencies, model.num_hidden_layers), f"{', '.join(words)}, on {', '.join(devices)}"


# =============================================================================
# Parts of the page
# =============================================================================


def panels(table: pd.DataFrame, total: int) -> None:
    """One chart a quantity, two beside each other where there is room."""
    outside = cost.outside_layers(table)
    columns = st.columns(2, gap="large")
    drawn = 0
    sizes = {"parameters": ("Parameters", "parameters, millions"), "megabytes": ("File size", "megabytes")}
    for name, (heading, title) in sizes.items():
        if table[name].notna().any():
            with columns[drawn % 2]:
                st.markdown(f"**{heading}**")
                chart = charts.size_chart(table, name, title, outside, total, ui.theme())
                ui.draw(chart, charts.size_alt_text(table, name, title))
            drawn += 1
    for name, heading in SPEEDUPS.items():
        if table[name].notna().any():
            with columns[drawn % 2]:
                st.markdown(f"**{heading}**")
                chart = charts.speedup_chart(table, name, total, ui.theme())
                ui.draw(chart, charts.speedup_alt_text(table, name, total))
            drawn += 1


def cost_table(table: pd.DataFrame) -> None:
    """The same, a row a drop count."""
    shown = pd.DataFrame(
        {
            "dropped": table["drop_count"],
            "layers kept": table["depth"],
            "parameters, M": table["parameters"] / 1e6,
            "file, MB": table["megabytes"],
        }
    )
    for name, heading in SPEEDUPS.items():
        shown[f"{heading}, times"] = table[name]
        shown[f"{name} from"], shown[f"{name} to"] = table[f"{name} low"], table[f"{name} high"]
    formats: dict[str, Any] = {
        str(name): st.column_config.NumberColumn(format="%.1f" if str(name).endswith((", M", ", MB")) else "%.2f")
        for name in shown.columns[2:]
    }
    formats["dropped"] = st.column_config.NumberColumn(pinned=True)
    st.dataframe(shown, hide_index=True, column_config=formats, placeholder="–", alt="What the charts draw.")


# =============================================================================
# Page
# =============================================================================

st.title("What do I save?", anchor=False)

with st.container(horizontal=True, vertical_alignment="bottom"):
    model, task = controls.choose_model(), controls.choose_task()
    total = model.num_hidden_layers
    drop_count = controls.choose_drop([k for k in drop_counts("top", total) if k], total // 2, key="k")
    recipe = controls.choose_recipe()

table, sources = load_costs(model, task, recipe, change_mark(ui.the_store()))
st.markdown(f"##### {cost.cost_sentence(table, drop_count, total)}")
if model.shared:
    st.caption("All layers of this model are the same weights: dropping some saves time, but no parameters.")
if table.empty:
    st.info(
        "Nothing has been measured for this choice yet. Run a cut on Explore: its size and its times come with it, and "
        "inference is timed with the first run of each depth."
    )
else:
    if outside := cost.outside_layers(table):
        st.caption(f"{100 * outside:.0f} % of the whole model's parameters are outside its layers: no cut saves them.")
    if controls.wants_table():
        cost_table(table)
    else:
        st.caption("Dashed: in sizes what no cut saves; in speed-ups what would be in proportion to depth.")
        panels(table, total)
    with st.expander("How this was measured", icon=":material/info:"):
        st.markdown(METHOD.format(sources=ui.plain(sources)))
