"""A task's dev examples: their true labels, remembered, and their texts, read when they are to be shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from pmb.catalog.tasks import Task
from pmb.lab.executors import ask
from pmb.lab.rows import are_answers
from pmb.lab.schema import dev_labels as table
from pmb.lab.sources import find_task
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import Progress, Report

Labels = tuple[int | float, ...]


def dev_labels(store: Store, settings: Settings, task: Task, report: Report = lambda _: None) -> Labels:
    """The labels in the order of a run's predictions, read in a child process where need be; raises PmbError.

    Of a task whose data are still to be fetched, so are they.
    """
    labels = known_dev_labels(store, task)
    if labels is None:
        store.check_may_write()
        report(Progress("reading dev"))
        if task.unfetched:
            task = find_task(store, settings, task.id, pinned=True, report=report)
        labels = tuple(_asked(settings, task, (), report)["labels"])
        save_dev_labels(store, task, labels)
    return labels


def save_dev_labels(store: Store, task: Task, labels: Sequence[int | float]) -> None:
    """Remember labels; what is there already stays."""
    row = {"task": task.id, "task_revision": task.revision, "labels": list(labels), "measured_at": time.time()}
    store.remember(table, [row])


def known_dev_labels(store: Store, task: Task) -> Labels | None:
    """The labels where they have been read already."""
    query = select(table).where(table.c.task == task.id, table.c.task_revision == task.revision)
    found = store.read(table, query, are_answers("labels", len(task.labels), None))
    return tuple(found[0]["labels"]) if found else None


def dev_texts(
    settings: Settings, task: Task, rows: Sequence[int], report: Report = lambda _: None
) -> list[tuple[str, ...]]:
    """The sentence or pair of each of these dev examples; raises PmbError where the data are not here."""
    return [tuple(texts) for texts in _asked(settings, task, rows, report)["texts"]]


def _asked(settings: Settings, task: Task, rows: Sequence[int], report: Report) -> dict[str, Any]:
    return ask({"kind": "dev", "task": asdict(task), "rows": list(rows), "assets": str(settings.assets)}, report)
