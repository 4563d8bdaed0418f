"""How long until a preview's first curve and its last are there, and how often its bands hold?

Run: python -m benchmarks.preview [--times 5] [--write]   (with nothing else running)
Each time in a home of its own, the embedded model on the embedded task, all strategies at every drop count. Of the page
the child was started before the button was pressed, as Explore does; the step counts when it stands in the store, where
the page reads it once a second. The command counts from its start to its end, imports and all. The bands are those of
the shipped runs, one configuration left out in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.results import publish
from pmb.catalog.models import BaseModel, cuts_by, find_model
from pmb.catalog.tasks import Task, find_task
from pmb.insight import predict, summary
from pmb.lab import previews
from pmb.lab.plan import known_layer_scores
from pmb.lab.results import finished_runs
from pmb.lab.sources import find_task as find_task_here
from pmb.lab.store import Store, open_store
from pmb.settings import Settings, from_environment
from pmb.spec import Progress
from pmb.strategies import STRATEGIES

MODEL, TASK, RECIPE = "minilm-l6", "rotten-tomatoes", "standard"
CALIBRATED = (TASK, "sst2", "mrpc", "cola", "rte", "stsb")
READY_SECONDS = 60.0

Cut = tuple[int, ...]


def preview_seconds(found: Settings) -> tuple[float, float]:
    """Seconds until the first strategy's curve is there, and until all cuts are, in a home that knows none."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "assets").symlink_to(found.assets)
        store = open_store(replace(found, home=Path(home), database_url=""))
        model, task = find_model(MODEL), find_task(TASK)
        first = len(cuts_by(model, STRATEGIES[:1], None))
        child = previews.new_child()
        child.ready(READY_SECONDS)
        moments: list[float] = []

        def note(progress: Progress) -> None:
            if progress.phase == "previewing" and progress.step >= first:
                moments.append(time.perf_counter())

        start = time.perf_counter()
        previews.preview(store, found, model, task, STRATEGIES, report=note, start=lambda: child)
        end = time.perf_counter()
        store.close()
        return moments[0] - start, end - start


def command_seconds(found: Settings) -> float:
    """Seconds that `pmb preview` takes from its start to its end, in a home that knows none."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "assets").symlink_to(found.assets)
        open_store(replace(found, home=Path(home), database_url="")).close()  # made at the first command of a home
        command = [sys.executable, "-m", "pmb", "preview", "--model", MODEL, "--task", TASK]
        start = time.perf_counter()
        subprocess.run(command, env=os.environ | {"PMB_HOME": home}, check=True, capture_output=True)
        return time.perf_counter() - start


def calibrations(store: Store, found: Settings) -> Mapping[str, predict.Calibration]:
    """How well measured cuts are predicted, by task, as far as its data are here and enough is measured."""
    calibrated = {}
    model = find_model(MODEL)
    for name in CALIBRATED:
        task = find_task_here(store, found, name)
        table = summary.configurations(finished_runs(store, model, task, RECIPE))
        measured = dict(zip(table["kept_layers"], table["mean"], strict=True))
        if task.unfetched or len(measured) < predict.MIN_CONFIGURATIONS:
            continue
        if calibration := predict.calibrate(previewed(store, found, model, task, list(measured)), measured):
            calibrated[name] = calibration
    return calibrated


def previewed(store: Store, found: Settings, model: BaseModel, task: Task, also: Sequence[Cut]) -> dict[Cut, float]:
    """The scores of the frozen features of all strategies' cuts and more."""
    if known_layer_scores(store, model, task) is not None:
        previews.preview(store, found, model, task, STRATEGIES, also)
    return {kept: row["score"] for kept, row in previews.known_previews(store, model, task).items()}


def time_lines(times: int, found: Settings) -> list[str]:
    """A row for the page, whose child was started ahead, and one for the command."""
    first, every = zip(*(preview_seconds(found) for _ in range(times)), strict=True)
    return [
        "| preview | first curve, s: median (least to most) | all cuts, s: median (least to most) |",
        "| --- | --- | --- |",
        f"| on the page, from the press | {_spread(first)} | {_spread(every)} |",
        f"| `pmb preview`, from start to end | | {_spread([command_seconds(found) for _ in range(times)])} |",
    ]


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def band_lines(found: Settings) -> list[str]:
    """A row a task, and one for all."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "assets").symlink_to(found.assets)
        own = replace(found, home=Path(home), database_url="")
        store = open_store(own)
        calibrated = calibrations(store, own)
        store.close()
    lines = [
        "| task | cuts left out in turn | within their band | points off | by layers alone |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in calibrated.items():
        off = f"{100 * one.error:.1f} | {100 * one.depth_error:.1f}"
        lines.append(f"| {name} | {one.left_out} | {one.covered} | {off} |")
    counts = [sum(getattr(one, field) for one in calibrated.values()) for field in ("left_out", "covered")]
    return [*lines, f"| all | {counts[0]} | {counts[1]} | | |"]


@click.command()
@click.option("--times", type=click.IntRange(1), default=5, show_default=True)
@click.option("--write", is_flag=True, help="Put the tables into benchmarks/RESULTS.md.")
def main(times: int, write: bool) -> None:
    """Measure both and print two tables."""
    found = from_environment()
    command = f"`python -m benchmarks.preview --times {times} --write`: {previews.TRAIN_SENTENCES} train and "
    command += f"{previews.DEV_SENTENCES} dev sentences, {len(STRATEGIES)} strategies at every drop count."
    publish("Preview", [command, "", *time_lines(times, found), "", *band_lines(found)], write)


if __name__ == "__main__":
    main()
