"""Times every depth of a base model on this machine afresh and puts it into the store, in place of older timings.

Run: python -m benchmarks.latency [--model minilm-l6]   (with nothing else running)
The lab times a depth with its first run; this is for results that are to be shipped.
"""

from __future__ import annotations

import click
from sqlalchemy import delete

from pmb.catalog.models import find_model
from pmb.lab.executors import ask
from pmb.lab.plan import Plan, spec_of
from pmb.lab.schema import latencies
from pmb.lab.store import open_store, save_latencies
from pmb.settings import from_environment
from pmb.spec import Latency


@click.command()
@click.option("--model", default="minilm-l6", show_default=True)
@click.option("--task", default="rotten-tomatoes", show_default=True)
def main(model: str, task: str) -> None:
    """Time depth 1 to L-1 and print the ratios."""
    settings = from_environment()
    store = open_store(settings)
    depth_of_all = find_model(model).num_hidden_layers
    depths = list(range(1, depth_of_all))
    job = {"kind": "latency", "model": model, "task": task, "depths": depths, "assets": str(settings.assets)}
    measured = [Latency(**row) for row in ask(job)["latencies"]]
    with store.connect() as connection:
        same = (latencies.c.model == model, latencies.c.device == measured[0].device)
        connection.execute(delete(latencies).where(*same))
    save_latencies(store, spec_of(Plan(model, depth_of_all, (0,)), task, "quick", 0), measured)
    for row in measured:
        share = row.ratio / (depth_of_all / row.depth)
        click.echo(
            f"depth {row.depth} of {depth_of_all}, batch {row.batch}: {row.ratio:.2f} times as fast "
            f"({row.low:.2f} to {row.high:.2f}), {share:.2f} of what the depth allows"
        )
    store.close()


if __name__ == "__main__":
    main()
