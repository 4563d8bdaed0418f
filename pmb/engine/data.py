"""A task's examples, from wherever its row says that they are."""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from pmb.catalog.tasks import Task
from pmb.engine import assets
from pmb.engine.examples import Example, TaskData, revision_of
from pmb.engine.glue import load_glue, load_hub_glue
from pmb.spec import Progress, Report

BYTES_A_MEGABYTE = 1_000_000


def load_task(task: Task, assets_folder: Path, report: Report = lambda _: None) -> TaskData:
    """Read a task's examples, downloaded where they are not here; raises PmbError."""
    if task.table:
        from pmb.engine.tables import load_table  # pandas: time that no other task needs

        return load_table(task.table).data
    if task.folder:
        return load_glue(task.id, Path(task.folder))
    if task.hub:
        from pmb.engine import hub

        folder = hub.download(task.hub, task.commit, hub.glue_files(task.id), in_megabytes(report))
        return load_hub_glue(task.id, folder)
    return _embedded(task, assets_folder)


def is_here(task: Task, assets_folder: Path) -> bool:
    """Whether `load_task` would read the examples without a download."""
    if task.wheel:
        return (assets_folder / task.wheel).is_file()
    if task.table or task.folder or not task.hub:
        return True
    from pmb.engine import hub

    return bool(task.commit) and hub.here(task.hub, task.commit, hub.glue_files(task.id)) is not None


def in_megabytes(report: Report) -> Callable[[int, int], None]:
    """What a download calls with bytes, as progress."""
    return lambda done, total: report(
        Progress("downloading", done // BYTES_A_MEGABYTE, math.ceil(total / BYTES_A_MEGABYTE))
    )


def inspect_task(task: Task, assets_folder: Path, report: Report) -> tuple[Task, tuple[str, ...]]:
    """The task with everything filled in that its data say, and notes on them; raises PmbError.

    Of a dataset on the Hub the newest commit is fetched. Its revision is the digest of what is in it, as of a folder.
    """
    if task.table:
        from pmb.engine.tables import load_table

        chosen = load_table(task.table)
        found = chosen.data
        metrics = ("accuracy", "macro f1") if chosen.labels else ("pearson", "spearman")
        task = replace(task, table=chosen.table, labels=chosen.labels, metrics=metrics, pair=bool(chosen.table.pair))
    else:
        if task.unfetched:
            from pmb.engine import hub

            task = replace(task, commit=hub.newest_commit(task.hub, hub.glue_files(task.id)))
        found = load_task(task, assets_folder, report)
    filled = replace(
        task,
        revision=task.revision if task.wheel else revision_of(found),
        train_examples=len(found.train),
        dev_examples=len(found.dev),
        mean_characters=round(mean(len("".join(example.texts)) for example in found.train), 1),
    )
    return filled, found.notes


def dev_examples(
    task: Task, rows: Sequence[int], assets_folder: Path, report: Report
) -> tuple[list[int | float], list[tuple[str, ...]]]:
    """The labels of all dev examples, in the order of a run's predictions, and the texts of some; raises PmbError."""
    dev = load_task(task, assets_folder, report).dev
    return [example.label for example in dev], [dev[row].texts for row in rows]


def _embedded(task: Task, assets_folder: Path) -> TaskData:
    packed = assets.wheel_bytes(assets_folder, task.wheel, task.file)
    rows = csv.DictReader(io.StringIO(bz2.decompress(packed).decode("utf-8"), newline=""))
    by_movie: dict[str, list[Example]] = defaultdict(list)
    seen: set[str] = set()
    for row in rows:
        text = row["text"].strip()
        if row["category"] in task.labels and text and text not in seen:
            seen.add(text)
            by_movie[row["movie_name"]].append(Example((text,), task.labels.index(row["category"])))
    return split_by_group(by_movie, task.dev_examples or 0, len(task.labels))


def split_by_group(groups: dict[str, list[Example]], dev_sentences: int, num_labels: int) -> TaskData:
    """Split into balanced train and dev so that no group has sentences in both.

    Whole groups (films), in the order of the hash of their names, fill dev; sentences of those groups beyond the
    balance are left out. Hashes and not a random generator: the split is the same everywhere and for ever.
    """
    per_label = dev_sentences // num_labels
    dev_pool: list[Example] = []
    train_pool: list[Example] = []
    for name in sorted(groups, key=_digest):
        counts = [sum(e.label == label for e in dev_pool) for label in range(num_labels)]
        (dev_pool if min(counts) < per_label else train_pool).extend(groups[name])
    return TaskData(train=_balanced(train_pool, num_labels, None), dev=_balanced(dev_pool, num_labels, per_label))


def _balanced(pool: list[Example], num_labels: int, per_label: int | None) -> tuple[Example, ...]:
    """Equally many of each label, in turn, each label's sentences in the order of their hashes."""
    by_label = [sorted((e for e in pool if e.label == i), key=lambda e: _digest(e.texts[0])) for i in range(num_labels)]
    count = min([len(examples) for examples in by_label] + ([per_label] if per_label is not None else []))
    return tuple(example for turn in zip(*(examples[:count] for examples in by_label), strict=True) for example in turn)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
