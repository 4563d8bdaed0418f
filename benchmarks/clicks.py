"""How long until a page is painted, and until a click is answered, with many finished runs and a fine-tune going on?

Run: python -m benchmarks.clicks [--runs 10000] [--times 20] [--write]   (with nothing else running; needs Chromium)
A real browser in front of the dashboard as `make run` starts it. A page is painted when its title stands in a new tab,
from where the tab begins to load: in a browser that has shown the dashboard before, and in one that has to fetch and
compile Streamlit's own five megabytes first; it is whole when nothing on it changes any more. A page of Streamlit's
with a title and nothing else is painted beside them: what of the time is not the lab's. A click is answered when the
page's script has ended and its last element has reached the browser. A borrowed machine is quicker at one hour than at
another: a fixed loop of plain Python, timed before each page, tells how quick it was.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import insert, select

from benchmarks.results import publish
from docs.screenshots import ARGUMENTS, settled
from pmb.catalog.models import find_model
from pmb.catalog.tasks import find_task
from pmb.lab import queue
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.schema import runs
from pmb.lab.store import open_store
from pmb.settings import Settings, from_environment
from tests.server import served

PORT = 8599
WARM_SECONDS = 15.0
BARE = 'import streamlit as st\n\nst.set_page_config(layout="wide")\nst.title("A title and nothing else")\n'
LOOP_STEPS = 5_000_000
# By page what is clicked in turn: the role and the names of the controls, of which the second undoes the first; none
# where a page has boxes alone.
CLICKS: dict[str, tuple[str, tuple[str, str]] | None] = {
    "": ("radio", ("3", "2")),
    "strategies": ("radio", ("2", "3")),
    "tasks": ("radio", ("2", "3")),
    "cost": ("radio", ("2", "3")),
    "layers": None,
    "paper": ("radio", ("XLNet", "BERT")),
    "compare": ("switch", ("Show the sentences", "Show the sentences")),
    "runs": ("button", ("failed", "failed")),
}
# The sidebar changes each second.
PAINTED = """
new MutationObserver(changes => {
  if (document.querySelector('h1')) window.painted ??= performance.now();
  if (changes.some(change => change.target.closest?.('[data-testid=stMain]'))) window.whole = performance.now();
}).observe(document, {childList: true, subtree: true});
"""
# The sidebar's progress is drawn anew each second, which may end at any moment around a click: the answer's end is the
# first after which nothing follows for so long. A script may also be so short that the page never says that it runs:
# then the change that it made on the page is its end.
QUIET_MILLISECONDS = 150
ANSWERED = """
([element, quietMilliseconds]) => new Promise((resolve, reject) => {
  const app = document.querySelector('[data-testid=stApp]');
  const runs = () => app.getAttribute('data-test-script-state') !== 'notRunning';
  const start = performance.now();
  let began = runs(), quiet = null;
  const ended = () => {
    const end = performance.now();
    clearTimeout(quiet);
    quiet = setTimeout(() => resolve(end - start), quietMilliseconds);
  };
  new MutationObserver(() => {  // and not a look at each frame: what lies between two would be missed
    if (runs()) { began = true; clearTimeout(quiet); } else if (began) { ended(); }
  }).observe(app, {attributeFilter: ['data-test-script-state']});
  new MutationObserver(() => { if (!began && !runs()) { began = true; ended(); } })
    .observe(document.querySelector('[data-testid=stMain]'), {childList: true, subtree: true});
  setTimeout(() => reject(new Error('the click was not answered')), 20000);
  element.click();
})
"""


def fill(settings: Settings, count: int) -> None:
    """Copies of the shipped runs with other seeds, so that there are so many."""
    store = open_store(settings)
    with store.connect() as connection:
        shipped = [dict(row) for row in connection.execute(select(runs)).mappings()]
        chance, seeds = random.Random(0), itertools.count(1000)
        for start in range(len(shipped), count, 500):
            rows = []
            for row in itertools.islice(itertools.cycle(shipped), start, min(start + 500, count)):
                seed = next(seeds)
                score = row["score"] + chance.gauss(0, 0.01)
                rows.append(row | {"key": f"{seed:064x}", "seed": seed, "score": score, "source": "measured"})
            connection.execute(insert(runs), rows)
    model, task = find_model("minilm-l6"), find_task("rotten-tomatoes")
    whole = plan_kept(model, range(6))
    queue.submit(store, [spec_of(whole, task, "stable", seed) for seed in range(5000, 5010)])
    store.close()


@contextmanager
def dashboard(count: int) -> Iterator[str]:
    """The product in a home of its own, with so many finished runs and a fine-tune that goes on."""
    found = from_environment()
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(found.assets, Path(home) / "assets")
        fill(Settings(Path(home), "", "local", found.shipped, None), count)
        command = [sys.executable, "-m", "pmb", "dashboard", "--port", str(PORT)]
        with served(command, PORT, os.environ | {"PMB_HOME": home, "PMB_JOBS": "1"}) as url:
            time.sleep(WARM_SECONDS)
            yield url


@contextmanager
def bare_page() -> Iterator[str]:
    """A page of Streamlit's that has nothing but a title."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text(BARE, encoding="utf-8")
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
        command += ["--server.address", "127.0.0.1", "--server.port", str(PORT + 1)]
        with served(command, PORT + 1, os.environ) as url:
            yield url


def paints(browser: Browser, url: str, times: int, new_browser: bool) -> tuple[list[float], list[float]]:
    """Seconds from when a new tab begins to load to its title, and until it is whole.

    Each in a browser with empty caches or all in one.
    """
    titles: list[float] = []
    wholes: list[float] = []
    context = None
    for _ in range(times + 1):
        if context is None or new_browser:
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.add_init_script(PAINTED)
        page = context.new_page()
        page.goto(url, wait_until="commit")
        page.get_by_role("heading", level=1).wait_for()
        settled(page)
        titles.append(page.evaluate("window.painted") / 1000)
        wholes.append(page.evaluate("window.whole") / 1000)
        page.close()
        if new_browser:
            context.close()
    return titles[1:], wholes[1:]  # the first warms the server, and the one browser's caches


def answers(page: Page, path: str, times: int) -> list[float]:
    """Seconds from a click to its answer."""
    if (clicks := CLICKS[path]) is None:
        return []
    role, names = clicks
    seconds = []
    for name in itertools.islice(itertools.cycle(names), times + 2):
        control: Any = page.locator("[data-testid=stMain]").get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        element = control.first.element_handle()
        seconds.append(page.evaluate(ANSWERED, [element, QUIET_MILLISECONDS]) / 1000)
        page.wait_for_timeout(300)
    return seconds[2:]  # each choice once before: what is computed once a choice is not the click


def loop_seconds() -> float:
    """Seconds of a loop of LOOP_STEPS steps of plain Python."""
    start, total = time.perf_counter(), 0
    for step in range(LOOP_STEPS):
        total += step * step
    return time.perf_counter() - start


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} | {statistics.quantiles(seconds, n=20)[-1]:.2f}" if seconds else "– | –"


def _painted(browser: Browser, url: str, times: int) -> str:
    """The cells of a page's painting."""
    known, whole = paints(browser, url, times // 2, new_browser=False)
    new, _ = paints(browser, url, max(5, times // 4), new_browser=True)
    return f"{_spread(known)} | {statistics.median(whole):.2f} | {statistics.median(new):.2f}"


@click.command()
@click.option("--runs", "count", type=click.IntRange(0), default=10_000, show_default=True)
@click.option("--times", type=click.IntRange(10), default=20, show_default=True)
@click.option("--page", "paths", multiple=True, help="Only these pages; the first is ''.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(count: int, times: int, paths: tuple[str, ...], write: bool) -> None:
    """Measure every page and print a table."""
    lines = [
        "| page | painted, s, median | 95th percentile | whole, s, median | painted in a new browser, s, median | "
        "click answered, s, median | 95th percentile |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    with dashboard(count) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        loops = []
        for path in paths or CLICKS:
            loops.append(loop_seconds())
            painted = _painted(browser, f"{url}/{path}", times)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{url}/{path}")
            settled(page)
            clicked = answers(page, path, times)
            page.close()
            lines.append(f"| {path or 'explore'} | {painted} | {_spread(clicked)} |")
            click.echo(lines[-1])
        with bare_page() as bare:
            lines.append(f"| a bare page of Streamlit's | {_painted(browser, bare, times)} | {_spread([])} |")
        click.echo(lines[-1])
        browser.close()
    command = (
        f"`python -m benchmarks.clicks --runs {count} --times {times} --write`: {count:,} finished runs, one going on. "
        f"A loop of {LOOP_STEPS:,} steps in Python took {min(loops):.2f} to {max(loops):.2f} s meanwhile."
    )
    publish("Painting and clicking", [command, "", *lines], write)


if __name__ == "__main__":
    main()
