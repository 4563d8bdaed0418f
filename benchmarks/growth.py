"""How do time and memory grow with sentences, length, layers, batch size and stored runs? Nothing should bend upwards.

Run: python -m benchmarks.growth [--write]   (with nothing else running; some minutes)
Each point of a training is a process of its own, so that its peak memory is its own: the embedded model with random
tokens, two layers, 512 sentences of 32 tokens in batches of 32 unless the axis says otherwise. Stored runs: what a page
does with all of them. --write also draws benchmarks/growth.svg.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import altair as alt
import click
import pandas as pd
from sqlalchemy import update

from benchmarks.results import publish
from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import find_task
from pmb.insight.summary import configurations
from pmb.lab.executors import CHILD_ENVIRONMENT
from pmb.lab.plan import plan_sweep, spec_of
from pmb.lab.queue import submit
from pmb.lab.schema import runs
from pmb.lab.store import list_runs, open_store
from pmb.settings import REPOSITORY, Settings, from_environment
from pmb.spec import RunResult
from pmb.strategies import STRATEGIES

MODEL, TASK = "minilm-l6", "rotten-tomatoes"
DRAWING = Path(__file__).parent / "growth.svg"
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """One training to be measured."""

    sentences: int = 512
    length: int = 32
    layers: int = 2
    batch: int = 32


AXES = {
    "sentences": (128, 256, 512, 1024, 2048),
    "length": (16, 32, 64, 128, 256),
    "layers": (1, 2, 3, 4, 5, 6),
    "batch": (4, 8, 16, 32, 64),
}
STORED_RUNS = (300, 1000, 3000, 10000)


def measure_training(shape: Shape) -> dict[str, float]:
    """Seconds of a fine-tuning of that shape, the best of REPEATS, and the peak memory of this process."""
    import torch

    from pmb.engine import assets, finetune, surgery
    from pmb.engine.batches import Encoded
    from pmb.engine.device import pick_device
    from pmb.engine.run import quieten

    quieten()
    row = find_model(MODEL)
    folder = assets.unpacked(from_environment().assets, row.wheel, row.folder)
    torch.manual_seed(0)
    model = surgery.cut(surgery.load_classifier(folder, ("no", "yes")), range(shape.layers))
    rng = random.Random(0)
    ids = tuple(tuple(rng.randrange(1000, 3000) for _ in range(shape.length)) for _ in range(shape.sentences))
    train = Encoded(ids, tuple(i % 2 for i in range(shape.sentences)), 0)
    recipe = replace(RECIPES["quick"], epochs=1, batch_size=shape.batch)
    times = [finetune.fine_tune(model, train, recipe, 0, pick_device(), lambda _: None).seconds for _ in range(REPEATS)]
    return {"seconds": min(times), "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


def trainings(axis: str, values: Sequence[int]) -> list[dict[str, object]]:
    """One row a value of the axis."""
    rows: list[dict[str, object]] = []
    for value in values:
        shape = replace(Shape(), **{axis: value})
        command = [sys.executable, "-m", "benchmarks.growth", "--shape", json.dumps(asdict(shape))]
        environment = os.environ | CHILD_ENVIRONMENT
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, env=environment)
        rows.append({"axis": axis, "value": value} | json.loads(done.stdout.splitlines()[-1]))
        click.echo(str(rows[-1]), err=True)
    return rows


def stored_runs(counts: Sequence[int]) -> list[dict[str, object]]:
    """Seconds to read all finished runs and make the table of configurations of them."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(Path(home), "", "local", from_environment().shipped, None)
        store = open_store(settings)
        plans = plan_sweep(store, settings, find_model(MODEL), find_task(TASK), STRATEGIES, None)
        result = RunResult(
            "accuracy", 0.75, (), (0, 1) * 1000, 1, 1, 1.0, 1.0, 1.0, 1.0, (0.5,), True, "cpu", "machine", {}
        )
        seed = 0
        for count in counts:
            while (present := len(list_runs(store, "done"))) < count:
                seed += 1
                submit(store, [spec_of(plan, find_task(TASK), "quick", seed) for plan in plans][: count - present])
                values = asdict(replace(result, score=0.7 + (seed % 7) / 100)) | {"state": "done"}
                values = {name: value for name, value in values.items() if name in runs.c}
                with store.connect() as connection:
                    connection.execute(update(runs).where(runs.c.state == "queued").values(values))
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                configurations([row for row in list_runs(store, "done") if row["recipe"] == "quick"])
                times.append(time.perf_counter() - start)
            rows.append({"axis": "stored runs", "value": count, "seconds": min(times), "megabytes": None})
            click.echo(str(rows[-1]), err=True)
        store.close()
    return rows


def exponent(rows: Sequence[dict[str, object]], measure: str) -> float:
    """The power with which the measure grows from the last value but one to the last; 1 is linear."""
    (low, high) = ((math.log(float(str(row["value"]))), math.log(float(str(row[measure])))) for row in rows[-2:])
    return (high[1] - low[1]) / (high[0] - low[0])


def draw(rows: Sequence[dict[str, object]]) -> None:
    """Time and memory against each axis as small charts in one file."""
    frame = pd.DataFrame(list(rows))
    charts = []
    for measure, title in (("seconds", "seconds"), ("megabytes", "peak megabytes")):
        row = []
        for axis in [*AXES, "stored runs"]:
            part = frame[(frame["axis"] == axis) & frame[measure].notna()]
            if len(part):
                x = alt.X("value:Q", title=axis, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
                y = alt.Y(f"{measure}:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
                row.append(alt.Chart(part).mark_line(point=True).encode(x=x, y=y).properties(width=170, height=130))
        charts.append(alt.hconcat(*row))
    alt.vconcat(*charts).configure_view(stroke=None).configure(background="white").save(DRAWING)


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md and draw growth.svg.")
@click.option("--shape", hidden=True)
def main(write: bool, shape: str | None) -> None:
    """Measure every axis and print a table."""
    if shape:
        click.echo(json.dumps(measure_training(Shape(**json.loads(shape)))))
        return
    of_axis = {axis: trainings(axis, values) for axis, values in AXES.items()}
    of_axis["stored runs"] = stored_runs(STORED_RUNS)
    lines = ["| axis | values | seconds | power at the end | peak megabytes |", "| --- | --- | --- | --- | --- |"]
    for axis, rows in of_axis.items():
        values = ", ".join(f"{row['value']:,}" for row in rows)
        seconds = ", ".join(f"{row['seconds']:.2f}" for row in rows)
        megabytes = ", ".join(f"{row['megabytes']:.0f}" for row in rows if row["megabytes"] is not None)
        lines.append(f"| {axis} | {values} | {seconds} | {exponent(rows, 'seconds'):.2f} | {megabytes} |")
    command = (
        "`python -m benchmarks.growth --write`: one epoch of a training by sentences, their length in tokens, "
        "layers kept and batch size (the others at "
        f"{', '.join(f'{value} {name}' for name, value in asdict(Shape()).items())}); and the table of "
        "configurations by stored runs. The power is that of the last step: 1 is linear, below 1 is better."
    )
    if write:
        draw([row for rows in of_axis.values() for row in rows])
    drawing = ["", "![Time and memory against each axis](growth.svg)"]
    publish("How cost grows", [command, "", *lines, *drawing], write)


if __name__ == "__main__":
    main()
