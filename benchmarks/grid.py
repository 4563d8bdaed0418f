"""Did the shipped grid change when training was made faster? Two files of finished runs, cut by cut.

Run: python -m benchmarks.grid OLD.jsonl NEW.jsonl [--write]
`git show REVISION:cache/shipped/runs.jsonl > OLD.jsonl` brings an earlier grid.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.results import write_section
from pmb.insight.intervals import difference_interval

Cut = tuple[int, ...]


def runs_of(path: Path, recipe: str) -> dict[Cut, dict[int, dict[str, Any]]]:
    """The runs of a recipe by cut and seed."""
    found: dict[Cut, dict[int, dict[str, Any]]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["recipe"] == recipe:
            found[tuple(row["kept_layers"])][row["seed"]] = row
    return found


@click.command()
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--recipe", default="standard", show_default=True)
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(old: Path, new: Path, recipe: str, write: bool) -> None:
    """Compare the scores and the times of two grids and print a table."""
    before, after = runs_of(old, recipe), runs_of(new, recipe)
    lines = [
        "| kept layers | before | now | difference of the means (95 % interval) | training before | now |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    differences: list[float] = []
    alike = outside = 0
    seconds = {"before": 0.0, "now": 0.0}
    cuts = sorted(before.keys() & after.keys(), key=lambda cut: (-len(cut), cut))
    for cut in cuts:
        seeds = sorted(before[cut].keys() & after[cut].keys())
        olds, news = ([100 * grid[cut][seed]["score"] for seed in seeds] for grid in (before, after))
        differences += [b - a for a, b in zip(olds, news, strict=True)]
        alike += sum(before[cut][seed]["predictions"] == after[cut][seed]["predictions"] for seed in seeds)
        gap = difference_interval(news, olds)
        outside += not gap.low <= 0 <= gap.high
        times = [sum(grid[cut][seed]["train_seconds"] for seed in seeds) for grid in (before, after)]
        seconds["before"] += times[0]
        seconds["now"] += times[1]
        lines.append(
            f"| {', '.join(map(str, cut))} | {sum(olds) / len(olds):.2f} | {sum(news) / len(news):.2f} | "
            f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f}) | {times[0] / len(seeds):.0f} s | "
            f"{times[1] / len(seeds):.0f} s |"
        )
    text = "\n".join(
        [
            f"`python -m benchmarks.grid OLD.jsonl cache/shipped/runs.jsonl --write`: `{recipe}`, accuracy in per "
            "cent, means over the seeds; seconds a run.",
            "",
            *lines,
            "",
            f"Over all {len(differences)} runs the score changed by {sum(differences) / len(differences):+.2f} points "
            f"on average; in {alike} of them every dev sentence has the label of before. The interval of {outside} of "
            f"{len(cuts)} cuts leaves out 0; at 95 % one in twenty does by chance. Training took "
            f"{seconds['before'] / 3600:.2f} hours added up, now {seconds['now'] / 3600:.2f}: "
            f"{seconds['before'] / seconds['now']:.2f} times as fast. "
            f"{datetime.now(UTC).date().isoformat()}.",
        ]
    )
    click.echo(text)
    if write:
        write_section("The shipped grid before and after", text)


if __name__ == "__main__":
    main()
