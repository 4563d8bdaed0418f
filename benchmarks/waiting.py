"""How long from a click to the first training step, with a warm worker, and how long a cached answer by command takes?

Run: python -m benchmarks.waiting [--times 9] [--write]   (with nothing else running)
The click is `queue.submit`, which the page's button calls; the step counts when its progress stands in the store, where
the page reads it. The worker is a process of its own, as under `make run`, idle and with its next child started.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.results import publish
from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.lab import queue
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.store import Store, get_run, open_store
from pmb.settings import REPOSITORY, Settings, from_environment

WARM_SECONDS = 10.0  # after which an idle worker's next child is ready
LOOK_SECONDS = 0.01
ANSWER = "run --strategy top --drop 3 --recipe standard --json"  # it comes with the repository


def click_seconds(store: Store, seed: int) -> float:
    """From the submission of a new run to its first training step; the run is cancelled then."""
    spec = spec_of(plan_kept(find_model("minilm-l6"), [0, 1, 2]), find_task("rotten-tomatoes"), "quick", seed)
    start = time.perf_counter()
    queue.submit(store, [spec])
    while True:
        row = get_run(store, spec.key)
        if row and row["progress"] and row["progress"]["step"] >= 1:
            break
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - start
    queue.cancel(store, [spec.key])
    while queue.count_waiting(store) or (row := get_run(store, spec.key)) is None or row["state"] == "running":
        time.sleep(LOOK_SECONDS)
    return seconds


def clicks(times: int, settings: Settings) -> list[float]:
    """Click so many times in a home of its own; the first, which tokenizes, is not counted."""
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(settings.assets, Path(home) / "assets")
        environment = os.environ | {"PMB_HOME": home}
        worker = subprocess.Popen([sys.executable, "-m", "pmb", "worker"], cwd=REPOSITORY, env=environment)
        store = open_store(Settings(Path(home), "", "local", settings.shipped, None))
        try:
            seconds = []
            for seed in range(1000, 1001 + times):
                time.sleep(WARM_SECONDS)
                seconds.append(click_seconds(store, seed))
            return seconds[1:]
        finally:
            store.close()
            worker.terminate()
            worker.wait()


def cached_answers(times: int) -> list[float]:
    """Whole processes that print a cached answer."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pmb", *ANSWER.split()], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - start)
        assert json.loads(done.stdout)["cached"]
    return seconds[1:]


@click.command()
@click.option("--times", type=click.IntRange(5), default=9, show_default=True)
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(times: int, write: bool) -> None:
    """Measure both and print a table."""
    lines = ["| what | seconds, median (least to most) |", "| --- | --- |"]
    for name, seconds in (
        ("click to first training step, warm worker", clicks(times, from_environment())),
        (f"`python -m pmb {ANSWER}`, whole process, cached", cached_answers(times)),
    ):
        lines.append(f"| {name} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) |")
    command = f"`python -m benchmarks.waiting --times {times} --write`: {times} times each."
    publish("Waiting", [command, "", *lines], write)


if __name__ == "__main__":
    main()
