"""Rows of a page's table that stand out in its charts: what is selected is in the address, the rest fades."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from pmb.charts.style import FADED
from pmb.screen import view
from pmb.screen.links import Link

PARAMETER = "select"  # of the address, once a row


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a table by their names, and which of them are selected."""

    key: str
    names: tuple[str, ...]
    chosen: tuple[str, ...]

    def has(self, names: Iterable[str]) -> list[bool]:
        """Whether each of these rows is selected."""
        return [name in self.chosen for name in names]

    def opacity(self, names: Iterable[str]) -> list[float]:
        """How each of these rows is drawn: all alike while none is selected."""
        return [1.0 if not self.chosen or name in self.chosen else FADED for name in names]


def selection(names: Sequence[str]) -> Selection:
    """What is selected of the rows of these names; to be called before the charts, `selectable_table` after them.

    The browser's table tells positions, which are taken only where there is such a row. The address wins where it is
    not what this session last wrote there: a link that was opened, or the way back. Names that no row has are ignored.
    """
    state, key = st.session_state, f"rows-{zlib.crc32(chr(10).join(names).encode())}"
    asked = st.query_params.get_all(PARAMETER)
    if key in state and asked == state.get("select_written"):
        chosen = tuple(names[row] for row in sorted(set(state[key]["selection"]["rows"])) if 0 <= row < len(names))
    else:
        chosen = tuple(name for name in names if name in asked)
        state[key] = {"selection": {"rows": [names.index(name) for name in chosen]}}
    _write(chosen)
    return Selection(key, tuple(names), chosen)


def selectable_table(
    of: Selection, shown: pd.DataFrame, config: dict[str, Any], alt: str, links: Sequence[Link] = ()
) -> None:
    """The table of what the charts draw, with how many rows are selected, a button that clears it, and ways on."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if of.chosen:
            st.caption(f"**{len(of.chosen)} of {len(of.names)} rows selected**, the others fade.", width="content")
        else:
            st.caption("Select rows to make them stand out in the charts.", width="content")
        st.button(
            "Clear",
            key="clear_selection",
            icon=":material/close:",
            type="tertiary",
            disabled=not of.chosen,
            on_click=_clear,
            args=(of.key,),
        )
        for link in links:
            st.page_link(link.file, label=link.label, icon=link.icon, query_params=link.query)
    st.dataframe(
        shown,
        key=of.key,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config=config,
        placeholder="–",
        alt=alt,
    )
    view.keep_table(shown, config)


def _write(chosen: Sequence[str]) -> None:
    if st.query_params.get_all(PARAMETER) != list(chosen):
        if chosen:
            st.query_params[PARAMETER] = list(chosen)
        else:
            st.query_params.pop(PARAMETER, None)
    st.session_state["select_written"] = list(chosen)


def _clear(key: str) -> None:
    st.session_state[key] = {"selection": {"rows": []}}
