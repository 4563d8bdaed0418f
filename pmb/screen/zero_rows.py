"""Zero layers in the tables of pages: a row for the bag of words and one for the constant answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.insight.zero_layers import Mark, ZeroLayerScores, zero_layer_sentence
from pmb.lab.answer import baseline_command
from pmb.screen import ui, view


def names_of(zero: ZeroLayerScores | None, before: str = "") -> list[str]:
    """What selects the rows, such as "bag-of-words"; `before`: such as "sst2." where a table is of several tasks."""
    return [f"{before}{mark.name.replace(' ', '-')}" for mark in zero.marks] if zero else []


def with_zero_rows(
    shown: pd.DataFrame,
    zero: ZeroLayerScores | None,
    name: str,
    score: str,
    ends: Sequence[str],
    of: str = "",
    more: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """The table with the two rows below: their names in one column, scores a hundredfold and intervals in others.

    `ends`: the columns of an interval's ends, or none; `of`: what stands before the names; `more`: what else is known
    of both, by column.
    """
    if zero is None:
        return shown
    before = f"{of}, " if of else ""
    rows = [_row(mark, score, ends) | {name: f"{before}{mark.name}"} | dict(more or {}) for mark in zero.marks]
    return pd.DataFrame([*shown.to_dict("records"), *rows], columns=shown.columns)


def tell_zero_layers(zero: ZeroLayerScores | None, model: BaseModel, task: Task, recipe: str) -> None:
    """What zero layers score; or that it is not measured, and the command that does it."""
    if zero:
        view.note(zero_layer_sentence(zero))
        return
    hint = ui.by_right(
        f" `{baseline_command(model.id, task.id, recipe)}` measures it in seconds, as every new run does."
    )
    view.note("Zero layers: the bag of words is not measured for this choice.", hint)


def _row(mark: Mark, score: str, ends: Sequence[str]) -> dict[str, Any]:
    return {score: 100 * mark.mean} | dict(zip(ends, (100 * mark.low, 100 * mark.high), strict=False))
