"""How long until a page is painted, and until a click is answered, with many finished runs and a fine-tune going on?

Run: python -m benchmarks.clicks [--runs 10000] [--times 40] [--write]   (with nothing else running; needs Chromium)
A real browser in front of the dashboard as `make run` starts it. A page is painted in a new tab: its first paint is the
browser's own, which has Streamlit's empty frame; then its title stands; each from where the tab begins to load. In a
browser that has shown the dashboard before, and in one that has to fetch and compile Streamlit's own five megabytes
first. A page of Streamlit's with a title and nothing else is painted in turn with it: what of the time is not the
lab's. A click is answered when the page's script has ended and its last element has reached the browser. Either is
whole when its last chart is drawn. A borrowed machine is quicker at one hour than at another: a fixed loop of plain
Python, timed before each page, tells how quick it was.
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
from collections.abc import Iterator, Sequence
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
# By page what is clicked in turn: the role and the names of the controls, of which the second undoes the first. Options
# are those of the box BOX, which is opened before.
BOX = "Task"
CLICKS: dict[str, tuple[str, tuple[str, str]]] = {
    "": ("radio", ("3", "2")),
    "strategies": ("radio", ("2", "3")),
    "tasks": ("radio", ("2", "3")),
    "cost": ("radio", ("2", "3")),
    "layers": ("option", ("sst2", "rotten-tomatoes")),
    "paper": ("radio", ("XLNet", "BERT")),
    "compare": ("switch", ("Show the sentences", "Show the sentences")),
    "runs": ("button", ("failed", "failed")),
}
PAINTS = "[performance.getEntriesByName('first-paint')[0].startTime, window.painted, window.whole]"
# The sidebar changes each second; into a table's canvas goes, after all that is seen, what is read aloud of it.
PAINTED = """
new MutationObserver(changes => {
  if (document.querySelector('h1')) window.painted ??= performance.now();
  const seen = changes.filter(change => change.target.tagName !== 'CANVAS');
  if (seen.some(change => change.target.closest?.('[data-testid=stMain]'))) window.whole = performance.now();
}).observe(document, {childList: true, subtree: true});
"""
# The sidebar's progress is drawn anew each second, by a script that may run at any moment around a click: the click's
# own has ended when something on the page has changed and no script runs. Charts that are others are drawn after it.
QUIET_MILLISECONDS = 400
ANSWERED = """
([element, quietMilliseconds]) => new Promise((resolve, reject) => {
  const app = document.querySelector('[data-testid=stApp]');
  const start = performance.now();
  let changed = null, answered = null, quiet = null;
  const look = () => {
    if (changed && app.getAttribute('data-test-script-state') === 'notRunning') answered ??= performance.now() - start;
    clearTimeout(quiet);
    if (answered) quiet = setTimeout(() => resolve([answered, changed]), quietMilliseconds);
  };
  const draw = changes => {
    if (changes.every(change => change.target.tagName === 'CANVAS')) return;
    changed = performance.now() - start;
    look();
  };
  new MutationObserver(draw)
    .observe(document.querySelector('[data-testid=stMain]'), {childList: true, characterData: true, subtree: true});
  new MutationObserver(() => { if (!answered) look(); }).observe(app, {attributeFilter: ['data-test-script-state']});
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


def paints(browser: Browser, urls: Sequence[str], times: int, new_browser: bool) -> list[list[tuple[float, ...]]]:
    """By address, in turn: seconds from when a new tab begins to load to first paint, to its title, and to the whole.

    Each in a browser with empty caches or all in one.
    """
    seconds: list[list[tuple[float, ...]]] = [[] for _ in urls]
    context = None
    for _ in range(times + 1):
        if context is None or new_browser:
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.add_init_script(PAINTED)
        for url, found in zip(urls, seconds, strict=True):
            page = context.new_page()
            page.goto(url, wait_until="commit")
            settled(page)
            found.append(tuple(milliseconds / 1000 for milliseconds in page.evaluate(PAINTS)))
            page.close()
        if new_browser:
            context.close()
    return [found[1:] for found in seconds]  # the first warms the server, and the one browser's caches


def answers(page: Page, path: str, times: int) -> list[tuple[float, float]]:
    """Seconds from a click to its answer, and until charts that are others are drawn."""
    role, names = CLICKS[path]
    main, seconds = page.locator("[data-testid=stMain]"), []
    for name in itertools.islice(itertools.cycle(names), times + 2):
        if role == "option":
            main.get_by_role("combobox", name=BOX, exact=True).click()
        place: Any = page if role == "option" else main  # a box's options lie over the page
        control = place.get_by_role(role, name=name, exact=True)
        element = control.first.element_handle()
        answered, whole = page.evaluate(ANSWERED, [element, QUIET_MILLISECONDS])
        seconds.append((answered / 1000, max(answered, whole) / 1000))
    return seconds[2:]  # each choice once before: what is computed once a choice is not the click


def loop_seconds() -> float:
    """Seconds of a loop of LOOP_STEPS steps of plain Python."""
    start, total = time.perf_counter(), 0
    for step in range(LOOP_STEPS):
        total += step * step
    return time.perf_counter() - start


def _cells(times: Sequence[tuple[float, ...]]) -> str:
    """Median and 95th percentile of each but the last, and the median of that."""
    *firsts, whole = zip(*times, strict=True)
    cells = [cell for first in firsts for cell in (statistics.median(first), statistics.quantiles(first, n=20)[-1])]
    return " | ".join(f"{cell:.2f}" for cell in [*cells, statistics.median(whole)])


def _painted(browser: Browser, url: str, bare: str, times: int) -> str:
    """The cells of a page's painting."""
    page, empty = paints(browser, [url, bare], times // 2, new_browser=False)
    (new,) = paints(browser, [url], max(4, times // 10), new_browser=True)
    others = (statistics.median(title for _, title, _ in found) for found in (empty, new))
    return " | ".join([_cells(page), *(f"{other:.2f}" for other in others)])


@click.command()
@click.option("--runs", "count", type=click.IntRange(0), default=10_000, show_default=True)
@click.option("--times", type=click.IntRange(20), default=40, show_default=True, help="Clicks on each page.")
@click.option("--page", "paths", multiple=True, help="Only these pages; the first is ''.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(count: int, times: int, paths: tuple[str, ...], write: bool) -> None:
    """Measure every page and print a table."""
    lines = [
        "| page | first paint, s, median | 95th percentile | title, s, median | 95th percentile | whole | "
        "title of a bare page beside it | title in a new browser | "
        "click answered, s, median | 95th percentile | whole |",
        f"|{' --- |' * 11}",
    ]
    with dashboard(count) as url, bare_page() as bare, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        loops = []
        for path in paths or CLICKS:
            loops.append(loop_seconds())
            painted = _painted(browser, f"{url}/{path}", bare, times)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{url}/{path}")
            settled(page)
            clicked = answers(page, path, times)
            page.close()
            lines.append(f"| {path or 'explore'} | {painted} | {_cells(clicked)} |")
            click.echo(lines[-1])
        browser.close()
    command = (
        f"`python -m benchmarks.clicks --runs {count} --times {times} --write`: {count:,} finished runs, one going on. "
        f"A loop of {LOOP_STEPS:,} steps in Python took {min(loops):.2f} to {max(loops):.2f} s meanwhile."
    )
    publish("Painting and clicking", [command, "", *lines], write)


if __name__ == "__main__":
    main()
