"""Pictures of the pages from a real browser, in both themes, wide and narrow.

Run: python -m docs.screenshots FOLDER [--page "" --page runs] [--theme light] [--width wide]
README's: python -m docs.screenshots docs/pictures --theme light --width wide --page "" --page strategies
The dashboard must be running (`make run`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import click
from playwright.sync_api import Page, sync_playwright

from pmb.screen.guide import COOKIE

WIDTHS = {"wide": 1440, "narrow": 390}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


HEIGHT = "document.querySelector('[data-testid=stMain]').scrollHeight"


def settled(page: Page) -> None:
    """Wait until the page has drawn its title, its script has ended, and nothing moves any more."""
    page.get_by_role("heading", level=1).wait_for(timeout=30_000)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=30_000)
    heights = [-1]
    while heights[-3:].count(heights[-1]) < 3 and len(heights) < 40:  # charts and tables draw after the script
        page.wait_for_timeout(200)
        heights.append(page.evaluate(HEIGHT))


def picture(page: Page, path: Path) -> None:
    """The whole page and not only what fits the window: the app scrolls inside itself."""
    width = page.viewport_size["width"] if page.viewport_size else WIDTHS["wide"]
    page.set_viewport_size({"width": width, "height": max(900, page.evaluate(HEIGHT) + 8)})
    page.wait_for_timeout(500)
    page.screenshot(path=path)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--url", default="http://127.0.0.1:8501", show_default=True)
@click.option(
    "--page",
    "paths",
    multiple=True,
    default=["", "strategies", "tasks", "cost", "layers", "paper", "compare", "try", "runs"],
    show_default=True,
)
@click.option("--theme", "themes", multiple=True, type=click.Choice(THEMES), default=THEMES, show_default=True)
@click.option(
    "--width", "widths", multiple=True, type=click.Choice(list(WIDTHS)), default=list(WIDTHS), show_default=True
)
def main(
    folder: Path,
    url: str,
    paths: tuple[str, ...],
    themes: tuple[Literal["light", "dark"], ...],
    widths: tuple[str, ...],
) -> None:
    """Take a picture of each page in each theme at each width."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for theme in themes:
            for name in widths:
                width = WIDTHS[name]
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
                context.add_cookies([{"name": COOKIE, "value": "1", "url": url}])  # no first visit
                page = context.new_page()
                for path in paths:
                    page.set_viewport_size({"width": width, "height": 900})
                    page.goto(f"{url}/{path}")
                    settled(page)
                    picture(page, folder / f"{path.partition('?')[0] or 'explore'}-{theme}-{name}.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
