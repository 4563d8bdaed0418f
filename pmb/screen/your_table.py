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
HEADERS = {"yes": "names the columns", "no": "is data"}
KINDS = {"classes": "classes", "number": "a number"}
ENCODINGS = ("utf-8", "cp1252", "cp1250", "cp1251", "gb18030", "shift_jis", "utf-16")
LIMITS = (
    f"CSV, TSV, JSON lines or Parquet: at most {MOST_MEGABYTES} MB, {MOST_ROWS:,} rows and {MOST_CLASSES} classes, "
    "each of at least 4 rows. It stays on this machine, in the folder uploads of PMB_HOME."
)


class ToChoose(BadInput):
    """Something is left to be chosen before a table can be used."""


@st.dialog("Your table", width="large", icon=":material/upload_file:")
def your_table(present: Table | None) -> None:
    """Choose a file, or look at the present one again, then its columns; what is wrong is said and nothing is lost."""
    st.caption(LIMITS)
    file = st.file_uploader("Table", type=TYPES, key="table_file")
    with st.expander("Dev rows in a file of their own, and the encoding"):
        dev_file = st.file_uploader("Dev rows", type=TYPES, key="dev_file")
        encoding = st.selectbox(
            "Encoding", ENCODINGS, index=None, placeholder="found out by itself", accept_new_options=True
        )
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
        table = replace(table, encoding=encoding or table.encoding)
        with st.spinner("Reading the table"):
            seen = load_preview(table.path, stamp(table.path), table.header, table.encoding)
        noticed = seen.header
        if (header := st.session_state.get(f"header-{table.path}", noticed)) != noticed:
            table = replace(table, header=header)
            with st.spinner("Reading the table"):
                seen = load_preview(table.path, stamp(table.path), table.header, table.encoding)
        tell(seen)
        table, is_number = choose_columns(seen, table, noticed)
        look_at(seen, table, is_number)
        if st.button("Use this table", type="primary", icon=":material/check:", key="use_table"):
            use(table)
    except ToChoose as error:
        st.info(ui.plain(str(error)), icon=":material/touch_app:")
    except PmbError as error:
        st.warning("That table cannot be used as it is.", icon=":material/warning:")
        st.text(ui.said(error))


@st.cache_data(max_entries=8, show_spinner=False)
def load_preview(path: str, stamp: tuple[int, int], header: str, encoding: str) -> TablePreview:
    """What is in a file as it is now."""
    return uploads.preview(Table(path, header=header, encoding=encoding))


def stamp(path: str) -> tuple[int, int]:
    """Changes when the file does; raises BadInput where it is gone."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise BadInput(f"{path} is not there.") from error
    return found.st_mtime_ns, found.st_size


def tell(seen: TablePreview) -> None:
    """How the file was read."""
    st.caption(ui.plain(" ".join(seen.notes)))


def choose_columns(seen: TablePreview, table: Table, noticed: str) -> tuple[Table, bool]:
    """The table with what the controls say, and whether its label is a number.

    They say at first what the table names, else what was guessed; `noticed`: whether there was a header at first.
    Raises ToChoose.
    """
    names = [column.name for column in seen.columns]
    first = table if table.text in names and table.label in names else seen
    key = f"{table.path}-{seen.header}"
    with st.container(horizontal=True):
        if noticed:
            st.segmented_control(
                "First row",
                HEADERS,
                default=noticed,
                required=True,
                format_func=lambda name: HEADERS[name],
                key=f"header-{table.path}",
            )
        text = _column("Text", names, first.text, f"text-{key}")
        pair = _column("Second text", [NO_PAIR, *names], first.pair or NO_PAIR, f"pair-{key}")
        label = _column("Label", names, first.label, f"label-{key}")
        column = next((column for column in seen.columns if column.name == label), None)
        kind, usual = None, column.kind if column else ""
        if column and column.numeric:
            kind = st.segmented_control(
                "Labels are",
                KINDS,
                default=(table.kind if label == table.label else "") or usual or None,
                format_func=lambda name: KINDS[name],
                key=f"kind-{key}-{label}",
            )
    if not text or not label or not column:
        raise ToChoose("Choose a column of text and one of labels.")
    second = "" if pair == NO_PAIR else pair or ""
    if len({text, label, second}) < 3:
        raise ToChoose("Text, second text and label have to be different columns.")
    if column.numeric and not kind:
        raise ToChoose(
            f"Choose what the {column.distinct:,} different numbers in {label!r} are: classes, of which there can be "
            f"{MOST_CLASSES}, or a number to predict."
        )
    said = "" if kind == usual else kind or ""
    return replace(table, text=text, pair=second, label=label, kind=said), kind == "number"


def _column(words: str, names: list[str], chosen: str, key: str) -> str | None:
    at = names.index(chosen) if chosen in names else None
    return st.selectbox(words, names, index=at, key=key, placeholder="Choose a column")


def look_at(seen: TablePreview, table: Table, is_number: bool) -> None:
    """Its labels, the lengths of its texts and its first rows."""
    columns = {column.name: column for column in seen.columns}
    label, text = columns[table.label], columns[table.text]
    share = "the rows" if is_number else "each class"
    split = "the file of dev rows is dev" if table.dev else f"a fixed fifth of {share} is set aside as dev"
    st.markdown(f"**{seen.rows:,} rows, {label_kind(label, is_number)}**; {split}.")
    left, right = st.columns(2)
    with left:
        st.caption("Labels")
        if is_number and label.numbers:
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


def label_kind(label: ColumnPreview, is_number: bool) -> str:
    """What kind of task the labels make."""
    if not is_number:
        return f"{label.distinct:,} classes"
    return f"a number from {label.numbers.low:g} to {label.numbers.high:g}" if label.numbers else "a number"


def use(table: Table) -> None:
    """Check every row, then show the page with this task; raises PmbError."""
    name = table_id(table)
    with st.spinner("Checking every row"):
        find_task(ui.the_store(), settings.from_environment(), name)
    st.session_state["brought_task"] = name
    st.rerun()
