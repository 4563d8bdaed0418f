"""Which tasks can bear it? What a strategy loses on each task, and on their average."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pmb import controls, settings, ui
from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import PAPER_AVERAGE, Task
from pmb.charts import losses as loss_charts
from pmb.insight import averages, summary
from pmb.lab.plan import known_layer_scores
from pmb.lab.results import finished_runs
from pmb.lab.sources import find_task, known_tasks
from pmb.lab.store import change_mark
from pmb.spec import PROCEDURES
from pmb.strategies import drop_counts

# =============================================================================
# Constants
# =============================================================================

METHOD = """\
**Loss**: the whole model's score minus the cut one's, in points (scores × 100), each with recipe {recipe}; means over \
seeds. **Interval**: 95 %, Welch's t over seeds. **Score**: GLUE's own for each task, of two the one that the paper \
uses: accuracy; Matthews' correlation for CoLA; Pearson's for STS-B; the matched dev set for MNLI. **Average**: the \
plain mean of the chosen tasks' scores, seed by seed. The paper's GLUE average is over {paper}; CoLA and WNLI are left \
out of it."""


# =============================================================================
# Data loading
# =============================================================================


@st.cache_data(max_entries=32, show_spinner=False)
def load_points(
    model: BaseModel, tasks: tuple[Task, ...], strategy: str, recipe: str, mark: tuple[Any, ...]
) -> dict[str, pd.DataFrame]:
    """By task the strategy's measured points, the default procedure alone; tasks without any are left out."""
    store = ui.the_store()
    points = {}
    for task in tasks:
        own = finished_runs(store, model, task, recipe, [PROCEDURES[0]])
        scores = known_layer_scores(store, model, task)
        curves = summary.curves(summary.configurations(own), model.num_hidden_layers, scores)
        found = curves[curves["strategy"] == strategy]
        if not found.empty:
            points[task.id] = found
    return points


# =============================================================================
# Parts of the page
# =============================================================================


def loss_table(table: pd.DataFrame, titles: dict[str, str]) -> None:
    """The map as a table, a row a task and drop count."""
    shown = pd.DataFrame(
        {
            "task": [titles.get(task, task) for task in table["task"]],
            "dropped": table["drop_count"],
            "points lost": table["loss"],
            "from": table["low"],
            "to": table["high"],
            "score × 100": 100 * table["mean"],
            "seeds": table["seeds"],
        }
    )
    one_decimal = st.column_config.NumberColumn(format="%.1f")
    config: dict[str, Any] = dict.fromkeys(("points lost", "from", "to", "score × 100"), one_decimal)
    config |= {"task": st.column_config.TextColumn(pinned=True)}
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", alt="What the map draws.")


# =============================================================================
# Page
# =============================================================================

st.title("Which tasks can bear it?", anchor=False)

store, found = ui.the_store(), settings.from_environment()
with st.container(horizontal=True, vertical_alignment="bottom"):
    model, strategy = controls.choose_model(), controls.choose_strategy()
    allowed = [count for count in drop_counts(strategy, model.num_hidden_layers) if count]
    drop_count = controls.choose_drop(allowed, model.num_hidden_layers // 2, key="k")
    recipe = controls.choose_recipe()

mark = change_mark(store)
every = {name: find_task(store, found, name) for name in known_tasks(store)}
titles = {name: task.title for name, task in every.items()}
measured = load_points(model, tuple(every.values()), strategy, recipe, mark)
chosen = st.multiselect(
    "Tasks",
    list(every),
    default=[task for task in PAPER_AVERAGE if task in measured] or list(measured),
    key="tasks",
    bind="query-params",
    help="The average is over these; the paper's is over seven of GLUE.",
)
points = {task: measured[task] for task in chosen if task in measured}
table = averages.losses(points)
st.markdown(f"##### {averages.loss_sentence(table, titles, strategy, drop_count, model.num_hidden_layers)}")
paper = ", ".join(titles[task] for task in PAPER_AVERAGE)
if set(chosen) == set(PAPER_AVERAGE) and len(points) == len(chosen):
    st.caption("These are the seven tasks of the paper's GLUE average.")
elif missing := [titles[task] for task in PAPER_AVERAGE if task not in points]:
    st.caption(f"The paper's GLUE average is over seven tasks; not among these here: {', '.join(missing)}.")
if unmeasured := [titles[task] for task in chosen if task not in measured]:
    st.info(
        f"Not measured with strategy {strategy} and recipe {recipe}: {ui.plain(', '.join(unmeasured))}. Explore runs "
        "them one by one; `python -m pmb sweep --task …` runs every drop count."
    )
drawn = table[(table["drop_count"] > 0) & table["loss"].notna()]
if drawn.empty:
    st.info("Nothing can be compared yet: a cut needs the whole model beside it.")
else:
    if controls.wants_table():
        loss_table(table, titles)
    else:
        st.markdown("**Points lost against the whole model**")
        st.caption("Bold: the 95 % interval leaves out 0. Grey: no clear difference from the whole model.")
        st.altair_chart(
            loss_charts.loss_map(table, titles, ui.theme()), theme=None, alt=loss_charts.loss_alt_text(table, titles)
        )
    with st.expander("How this was measured", icon=":material/info:"):
        st.markdown(METHOD.format(recipe=recipe, paper=paper))
