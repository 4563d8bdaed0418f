"""Times every depth of a base model on this machine afresh and puts it into the store, in place of older timings.

Run: python -m benchmarks.latency [--model minilm-l6] [--write]   (with nothing else running)
The lab times a depth with its first run; this is for results that are to be shipped.
"""

from __future__ import annotations

from dataclasses import asdict

import click
import numpy as np
from sqlalchemy import delete

from benchmarks.results import publish
from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.lab.executors import ask
from pmb.lab.plan import Plan, spec_of
from pmb.lab.schema import latencies
from pmb.lab.store import open_store, save_latencies
from pmb.settings import from_environment
from pmb.spec import Latency


def table(measured: list[Latency], whole_depth: int) -> list[str]:
    """Ratios by depth and batch, and what of a pass does not depend on the depth."""
    lines = ["| batch | layers kept | times as fast | of what the depth allows |", "| --- | --- | --- | --- |"]
    for batch in sorted({row.batch for row in measured}):
        rows = sorted((row for row in measured if row.batch == batch), key=lambda row: row.depth)
        for row in rows:
            share = row.ratio / (whole_depth / row.depth)
            lines.append(
                f"| {batch} | {row.depth} of {whole_depth} | {row.ratio:.2f} ({row.low:.2f} to {row.high:.2f}) | "
                f"{share:.2f} |"
            )
    lines.append("")
    for batch in sorted({row.batch for row in measured}):
        rows = [row for row in measured if row.batch == batch]
        depths = [*(row.depth for row in rows), whole_depth]
        seconds = [*(row.cut_seconds for row in rows), float(np.median([row.whole_seconds for row in rows]))]
        layer, fixed = np.polyfit(depths, seconds, 1)
        allowed = 2 * (fixed + layer * whole_depth / 2) / (fixed + layer * whole_depth)
        lines.append(
            f"Batch {batch}: a layer takes {1000 * layer:.2f} ms, everything else of transformers' forward pass "
            f"{1000 * fixed:.2f} ms, whatever the depth; with half of the layers that leaves {1 / allowed:.2f} of what "
            "the depth allows."
        )
    return lines


@click.command()
@click.option("--model", default="minilm-l6", show_default=True)
@click.option("--task", default="rotten-tomatoes", show_default=True)
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(model: str, task: str, write: bool) -> None:
    """Time depth 1 to L-1 and print the ratios."""
    settings = from_environment()
    store = open_store(settings)
    row = find_model(model)
    depth_of_all = row.num_hidden_layers
    depths = list(range(1, depth_of_all))
    rows = {"model": asdict(row), "task": asdict(find_task(task))}
    job = {"kind": "latency", "depths": depths, "device": None, "assets": str(settings.assets)} | rows
    measured = [Latency(**found) for found in ask(job)["latencies"]]
    with store.connect() as connection:
        same = (latencies.c.model == model, latencies.c.device == measured[0].device)
        connection.execute(delete(latencies).where(*same))
    save_latencies(store, spec_of(Plan(row, (0,)), find_task(task), "quick", 0), measured)
    command = (
        "`python -m benchmarks.latency --write`: inference, whole and cut model in turn, 32 tokens a sentence, "
        "median of the pairs (10th to 90th percentile)."
    )
    publish("Inference by depth", [command, "", *table(measured, depth_of_all)], write)
    store.close()


if __name__ == "__main__":
    main()
