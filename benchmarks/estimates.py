"""Is the time that is told before Run is pressed right within a factor of 1.3? Replayed on shipped runs.

Run: python -m benchmarks.estimates [--write]
Each run is judged by others of its machine: by those that had ended before it began, as on a page, and by all others
(leave one out). --write puts the table into benchmarks/RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from benchmarks.results import publish
from benchmarks.shipped import shipped_rows
from pmb.catalog.tasks import TASKS
from pmb.insight.estimate import run_seconds

FACTOR = 1.3
Row = dict[str, Any]


def before(run: Row, others: Sequence[Row]) -> list[Row]:
    """The runs that had ended when this one began, the newest first."""
    ended = [other for other in others if other["finished_at"] <= run["started_at"]]
    return sorted(ended, key=lambda other: -other["finished_at"])


def nearest(run: Row, others: Sequence[Row]) -> list[Row]:
    """All others, those nearest in time first."""
    return sorted(others, key=lambda other: abs(other["started_at"] - run["started_at"]))


def ratios(
    rows: Sequence[Row], order: Callable[[Row, Sequence[Row]], list[Row]], of_task: tuple[bool, ...]
) -> list[float]:
    """Estimate by truth, of each run of which there is an estimate by runs of its task (True), or of others (False)."""
    found = []
    for run in rows:
        others = [row for row in rows if row["key"] != run["key"] and row["machine"] == run["machine"]]
        ended = [row for row in order(run, others) if (row["task"] == run["task"]) in of_task]
        seconds = run_seconds(run, ended, TASKS)
        if seconds is not None:
            found.append(seconds / run["total_seconds"])
    return found


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The section."""
    yield f"`python -m benchmarks.estimates --write`: {len(rows)} shipped runs, from start to result."
    yield ""
    yield f"| judged by | runs | within a factor {FACTOR} | median of estimate by truth |"
    yield "| --- | --- | --- | --- |"
    for name, order, of_task in (
        ("others of the task, left out in turn, nearest in time", nearest, (True,)),
        ("runs of the task that had ended before", before, (True,)),
        ("runs of other tasks alone that had ended before", before, (False,)),
        ("all that had ended before, as on a page", before, (True, False)),
    ):
        found = sorted(ratios(rows, order, of_task))
        right = sum(1 / FACTOR <= ratio <= FACTOR for ratio in found)
        yield f"| {name} | {len(found)} | {right} ({right / len(found):.0%}) | {found[len(found) // 2]:.2f} |"
    yield ""
    yield "How many runs judge was chosen on the second row, what a step takes besides its tokens on the third. The"
    yield "machine had other work too while these ran: two runs of CoLA took five times as long as their like."


@click.command()
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(write: bool) -> None:
    """Judge every shipped run."""
    publish("Time before Run is pressed", lines(shipped_rows("runs")), write)


if __name__ == "__main__":
    main()
