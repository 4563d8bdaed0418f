"""The dialog in which a user brings a table of his own: choose the file and its columns, look at it, use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from pmb import settings
from pmb.bounds import MOST_CLASSES, MOST_MEGABYTES, MOST_ROWS
from pmb.catalog.tasks import TABLE_SUFFIXES, Table, table_id
from pmb.charts import preview as charts
from pmb.errors import BadInput, PmbError
from pmb.lab import uploads
from pmb.lab.sources import find_task
from pmb.screen import ui
from pmb.spec import ColumnPreview, TablePreview

TYPES = [suffix.removeprefix(".") for suffix in TABLE_SUFFIXES]
NO_PAIR = "(none)"
LIMITS = (
    f"CSV, TSV, JSON lines or Parquet: at most {MOST_MEGABYTES} MB, {MOST_ROWS:,} rows and {MOST_CLASSES} classes, "
    "each of at least 4 rows. It stays on this machine, in the folder uploads of PMB_HOME."
)


@st.dialog("Your table", width="large", icon=":material/upload_file:")
def your_table(present: Table | None) -> None:
    """Choose a file, or look at the present one again, then its columns; what is wrong is said and nothing is lost."""
    st.caption(LIMITS)
    file = st.file_uploader("Table", type=TYPES, key="table_file")
    with st.expander("Its dev rows are in a file of their own"):
        dev_file = st.file_uploader("Dev rows", type=TYPES, key="dev_file")
    store, found = ui.the_store(), settings.from_environment()
    try:
        store.check_may_write()
        if file:
            table = Table(str(uploads.keep(store, found, file.name, file.getvalue())))
        elif present:
            table = present
            st.text(ui.said(f"The present table: {present.path}"))
        else:
            st.caption("A file that lies on this machine already is named in the Task box: csv:PATH.")
            return
        if dev_file:
            table = replace(table, dev=str(uploads.keep(store, found, dev_file.name, dev_file.getvalue())))
        with st.spinner("Reading the table"):
            seen = load_preview(table.path, stamp(table.path))
        table = choose_columns(seen, table)
        look_at(seen, table)
        if st.button("Use this table", type="primary", icon=":material/check:", key="use_table"):
            use(table)
    except PmbError as error:
        st.warning("That table cannot be used as it is.", icon=":material/warning:")
        st.text(ui.said(error))


@st.cache_data(max_entries=8, show_spinner=False)
def load_preview(path: str, stamp: tuple[int, int]) -> TablePreview:
    """What is in a file as it is now."""
    return uploads.preview(Path(path))


def stamp(path: str) -> tuple[int, int]:
    """Changes when the file does; raises BadInput where it is gone."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise BadInput(f"{path} is not there.") from error
    return found.st_mtime_ns, found.st_size


def choose_columns(seen: TablePreview, table: Table) -> Table:
    """The columns of text, second text and label: as named before, else as guessed, else as changed."""
    names = [column.name for column in seen.columns]
    pairs = [NO_PAIR, *names]
    guessed = (table.text, table.pair, table.label) if table.text else (seen.text, seen.pair, seen.label)
    at = [
        (options.index(name) if name in options else 0)
        for name, options in zip(guessed, (names, pairs, names), strict=True)
    ]
    with st.container(horizontal=True):
        text = st.selectbox("Text", names, index=at[0], key=f"text-{table.path}")
        pair = st.selectbox("Second text", pairs, index=at[1], key=f"pair-{table.path}")
        label = st.selectbox("Label", names, index=at[2], key=f"label-{table.path}")
    second = "" if pair == NO_PAIR else pair
    if len({text, label, second}) < 3:
        raise BadInput("Text, second text and label have to be different columns.")
    return replace(table, text=text, pair=second, label=label)


def look_at(seen: TablePreview, table: Table) -> None:
    """Its labels, the lengths of its texts and its first rows."""
    columns = {column.name: column for column in seen.columns}
    label, text = columns[table.label], columns[table.text]
    split = "the file of dev rows is dev" if table.dev else "a fixed fifth of each class is set aside as dev"
    st.markdown(f"**{seen.rows:,} rows, {label_kind(label)}**; {split}.")
    left, right = st.columns(2)
    with left:
        st.caption("Labels")
        if is_number(label) and label.numbers:
            chart = charts.histogram(label.numbers, "label", ui.theme())
            ui.draw(chart, "Labels", charts.histogram_alt_text(label.numbers, "label"))
        else:
            ui.draw(charts.class_balance(label.classes, ui.theme()), "Labels", charts.balance_alt_text(label.classes))
            if label.distinct > charts.MOST_BARS:
                st.caption(f"and {label.distinct - charts.MOST_BARS} more")
    with right:
        st.caption("Length of the text")
        chart = charts.histogram(text.words, "words", ui.theme())
        ui.draw(chart, "Length of the text", charts.histogram_alt_text(text.words, "words"))
    used = [name for name in (table.text, table.pair, table.label) if name]
    shown = pd.DataFrame([{name: row[name] for name in used} for row in seen.first])
    st.dataframe(shown, hide_index=True, alt=f"The first {len(shown)} rows.")


def is_number(label: ColumnPreview) -> bool:
    """Whether a label is a number to be predicted: not whole, or of more values than there may be classes."""
    whole = all(name.lstrip("+-").isdigit() for name in label.classes)
    return label.numbers is not None and (not whole or label.distinct > MOST_CLASSES)


def label_kind(label: ColumnPreview) -> str:
    """What kind of task the labels make."""
    if is_number(label) and label.numbers:
        return f"a number from {label.numbers.low:g} to {label.numbers.high:g}"
    return f"{label.distinct:,} classes"


def use(table: Table) -> None:
    """Check every row, then show the page with this task; raises PmbError."""
    name = table_id(table)
    with st.spinner("Checking every row"):
        find_task(ui.the_store(), settings.from_environment(), name)
    st.session_state["brought_task"] = name
    st.rerun()
