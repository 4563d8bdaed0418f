"""A person's walk in real headless Chromium: pick, Run, progress, result, again, close the tab, come back."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from docs.screenshots import ARGUMENTS, THEMES, WIDTHS, picture, settled
from pmb.catalog.recipes import RECIPES
from pmb.charts.style import THEMES as THEMES_OF_CHARTS
from pmb.lab.store import Store
from pmb.settings import REPOSITORY, Settings
from pmb.spec import RunSpec
from tests.app import finish
from tests.conftest import spec
from tests.server import served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: `make test` says how it is installed"),
]

OUTPUT = REPOSITORY / "test-output"
# The quickest real run: one layer of six stays. Another cut for the walk with a closed tab.
QUICK = "/?recipe=quick&strategy=bottom&k=5"
OTHER = "/?recipe=quick&strategy=top&k=5"
# Below a page's address Streamlit's front end tries two addresses of its server before it finds the right ones.
TRIED = re.compile(r"/\w+/_stcore/(health|host-config)$")
RUN_MILLISECONDS = 240_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def product(home: Path) -> Iterator[str]:
    """The address of the product as `make run` starts it: page server and worker, with the shipped results."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PMB_")}
    command = [sys.executable, "-m", "pmb", "dashboard", "--port", str(port)]
    with served(command, port, environment | {"PMB_HOME": str(home)}) as url:
        yield url


@pytest.fixture
def dashboard(home_with_assets: Settings) -> Iterator[str]:
    """In a home of its own, for a test in which something runs."""
    with product(home_with_assets.home) as url:
        yield url


@pytest.fixture(scope="module")
def shown(assets_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all tests in which nothing runs, since its start takes longer than most of them."""
    home = tmp_path_factory.mktemp("shown")
    (home / "assets").symlink_to(assets_folder)
    with product(home) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One for all tests; what it has seen and kept belongs to a context."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """It has seen nothing, and leaves no page open that would go on asking its server."""
    yield chromium
    for context in chromium.contexts:
        context.close()


def note_errors(page: Page, complaints: list[str]) -> None:
    """Add what the page logs as an error; no network is here, and the lab asks for nothing outside."""

    def listen(message: ConsoleMessage) -> None:
        where = message.location["url"]
        elsewhere = not where.startswith("http://127.0.0.1")
        if message.type == "error" and not (
            "Failed to load resource" in message.text and (elsewhere or TRIED.search(where))
        ):
            complaints.append(f"{message.text} ({where})")

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))


def opened(browser: Browser, url: str, complaints: list[str], theme: Literal["light", "dark"] = "light") -> Page:
    page = browser.new_page(viewport={"width": WIDTHS["wide"], "height": 900}, color_scheme=theme)
    note_errors(page, complaints)
    page.goto(url)
    settled(page)
    return page


def test_pick_run_progress_result_again_and_come_back(dashboard: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, dashboard, complaints)

    # The first screen is full before anything is run.
    expect(page.get_by_role("heading", name="How many layers can I drop?")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Dropping 2 of 6 layers by top keeps \d+"))).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(3)

    # Pick: a real click on another drop count changes the sentence and the address.
    page.get_by_role("radio", name="3", exact=True).click()
    expect(page.get_by_text("Dropping 3 of 6 layers by top keeps")).to_be_visible()
    assert "k=3" in page.url

    # Run: progress moves, the result comes without a reload.
    page.goto(dashboard + QUICK)
    settled(page)
    expect(page.get_by_text("has not been measured with recipe quick")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    page.get_by_role("button", name="Run", exact=True).click()
    main = page.locator("[data-testid=stMain]")
    expect(main.get_by_text(re.compile(r"step \d+ of \d+"))).to_be_visible(timeout=RUN_MILLISECONDS)
    before = main.get_by_text(re.compile(r"step \d+ of \d+")).inner_text()
    expect(main.get_by_text(before, exact=True)).to_be_hidden(timeout=15_000)
    expect(page.get_by_text(re.compile(r"Run [0-9a-f]{12} is done: \d+"))).to_be_visible(timeout=RUN_MILLISECONDS)
    expect(page.get_by_text(re.compile(r"Dropping 5 of 6 layers by bottom"))).to_be_visible()
    assert page.evaluate("window.sameDocument")

    # Again: answered at once.
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible(timeout=RUN_MILLISECONDS)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Answered at once from the cache")).to_be_visible()

    # Close the tab while a run goes on; a new tab finds it, and it can be cancelled.
    page.goto(dashboard + OTHER)
    settled(page)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(main.get_by_text(re.compile("elapsed|waiting"))).to_be_visible(timeout=30_000)
    page.close()
    page = opened(browser, dashboard + "/runs", complaints)
    main = page.locator("[data-testid=stMain]")
    expect(main.get_by_role("button", name="Cancel").first).to_be_visible()
    main.get_by_role("button", name="Cancel").first.click()
    expect(main.get_by_text(re.compile("1 cancelled"))).to_be_visible(timeout=15_000)

    # And the first result is still there.
    page.goto(dashboard + QUICK)
    settled(page)
    expect(page.get_by_text(re.compile(r"Dropping 5 of 6 layers by bottom"))).to_be_visible()
    assert complaints == []


@pytest.fixture
def one_run(home_with_assets: Settings, store: Store) -> RunSpec:
    """A finished run of one layer whose result is made up, in the home of the dashboard."""
    one = spec((5,), 0, RECIPES["quick"])
    finish(store, one, 0.6)
    return one


def test_a_model_is_taken_away_as_a_zip(one_run: RunSpec, dashboard: str, browser: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    page = opened(browser, dashboard + QUICK, complaints)
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("Weights are not kept when a run ends")).to_be_visible()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text(re.compile(r"training, step \d+ of \d+"))).to_be_visible(timeout=RUN_MILLISECONDS)

    # Who leaves the page finds it made, in the details of the run too.
    page.goto(f"{dashboard}/runs?run={one_run.key}")
    settled(page)
    download = page.get_by_role("button", name=re.compile(r"Download, \d+ MB"))
    expect(download).to_be_visible(timeout=RUN_MILLISECONDS)
    with page.expect_download() as fetched:
        download.click()
    fetched.value.save_as(tmp_path / "it.zip")
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        assert archive.testzip() is None
        inside = {Path(name).name: name for name in archive.namelist()}
        assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(inside)
        config = json.loads(archive.read(inside["config.json"]))
        card = archive.read(inside["README.md"]).decode()
    assert (config["num_hidden_layers"], config["label2id"]) == (1, {"rotten": 0, "fresh": 1})
    assert re.search(r"Made again [\d,]+ of [\d,]+ answers on dev differ", card)
    assert Path(fetched.value.suggested_filename).stem == Path(inside["README.md"]).parent.name

    # Its weights are kept now: what reads its layers is fitted, and it answers.
    name = quote("minilm-l6 quick 5")
    page.goto(f"{dashboard}/try?a={name}&b={name}")
    settled(page)
    page.get_by_role("button", name="Make A and B again").click()
    typed = page.get_by_role("textbox", name="Sentences")
    typed.wait_for(timeout=RUN_MILLISECONDS)
    typed.fill("a gripping, funny film\nI slept through <b>half</b> of it")
    answer = page.get_by_test_id("stBaseButton-primary")
    answer.click()
    expect(page.get_by_text("A and B give the same answer to each of 2 sentences.")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("How the answer forms")).to_be_visible()
    typed.fill("a gripping, funny film " * 5000)
    answer.click()
    expect(page.get_by_text("A sentence has 114,999 characters; at most 10,000 are read.")).to_be_visible()
    assert complaints == []


def test_a_cold_deep_link_shows_its_page_with_navigation_and_sidebar(shown: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, shown + "/runs", complaints)
    expect(page.get_by_role("heading", name="What is running, and what has run?")).to_be_visible()
    expect(page.get_by_text("Poor Man's BERT Lab").first).to_be_visible()
    page.get_by_role("link", name="Explore").click()
    expect(page.get_by_role("heading", name="How many layers can I drop?")).to_be_visible()
    assert complaints == []


def test_a_table_of_ones_own_is_looked_at_and_becomes_the_task(shown: str, browser: Browser, tmp_path: Path) -> None:
    table = tmp_path / "My reviews.csv"
    lines = [f"{i},<b>bold</b> **{i}** [a](b),{'so so' if i % 4 else 'good'},other words {i}" for i in range(60)]
    table.write_text("\n".join(["id,body,verdict,more", *lines]))
    complaints: list[str] = []
    page = opened(browser, shown, complaints)
    page.get_by_role("button", name="Your table").click()
    dialog = page.get_by_role("dialog")
    upload = dialog.locator("input[type=file]").first
    same = tmp_path / "same.csv"
    same.write_text("text,label\n" + "\n".join(f"word {i},only" for i in range(20)))
    upload.set_input_files(same)
    dialog.get_by_role("button", name="Use this table").click()
    expect(dialog.get_by_text("same.csv has one label only, 'only'")).to_be_visible(timeout=30_000)
    dialog.get_by_role("button", name="Remove same.csv").click()
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("\n".join(f"word {i},{i % 60}.0" for i in range(300)))
    upload.set_input_files(numbers)
    expect(dialog.get_by_text("Its first row is data, so that columns are numbered from 1.")).to_be_visible(
        timeout=30_000
    )
    expect(dialog.get_by_text("Choose what the 60 different numbers in '2' are")).to_be_visible()
    dialog.get_by_text("a number", exact=True).click()
    expect(dialog.get_by_text("300 rows, a number from 0 to 59")).to_be_visible(timeout=30_000)
    dialog.get_by_text("names the columns").click()
    expect(dialog.get_by_text("numbers.csv has 299 rows in 300 lines.")).to_be_visible(timeout=30_000)
    dialog.get_by_role("button", name="Remove numbers.csv").click()
    upload.set_input_files(table)
    expect(dialog.get_by_text("60 rows, 2 classes")).to_be_visible(timeout=30_000)
    dialog.get_by_role("combobox", name="Second text").click()
    page.get_by_role("option", name="more").click()
    expect(dialog.locator("[data-testid=stVegaLiteChart]")).to_have_count(2)
    dialog.get_by_role("button", name="Use this table").click()
    expect(page.get_by_text("This cut has not been measured")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("12 of 60 rows were set aside as dev, of each label alike.")).to_be_visible()
    assert re.search("task=csv%3A.*text%3Dbody%26pair%3Dmore%26label%3Dverdict", page.url)
    page.reload()
    settled(page)
    page.get_by_role("button", name="Your table").click()
    expect(dialog.get_by_text("The present table: ")).to_be_visible()
    expect(dialog.get_by_text("60 rows, 2 classes")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("12 of 60 rows were set aside as dev, of each label alike.")).to_be_visible()
    assert complaints == []


# By page a link with choices in it, and what that page then says; each is opened by somebody who has seen nothing.
DEEP_LINKS = {
    "explore": ("?strategy=bottom&k=2&select=top.2", "Dropping 2 of 6 layers by bottom"),
    "strategies": ("strategies?k=2&tasks=rotten-tomatoes", "With 2 of 6 layers dropped"),
    "tasks": ("tasks?k=3&tasks=mrpc&tasks=sst2&recipe=first-2000", "Dropping 3 of 6 layers by top"),
    "cost": ("cost?k=4", "Dropping 4 of 6 layers"),
    "layers": ("layers?task=mrpc", "What do the layers do?"),
    "paper": ("paper?published=XLNet", "Published: XLNet"),
    "compare": ("compare?task=mrpc", "What is the difference between these two?"),
    "try": ("try?task=mrpc", "A and B cannot answer yet"),
    "runs": ("runs?states=done&tasks=mrpc", "runs, newest first"),
}


def test_every_page_opens_from_a_cold_deep_link_and_leaves_its_pictures(shown: str, browser: Browser) -> None:
    OUTPUT.mkdir(exist_ok=True)
    complaints: list[str] = []
    context = browser.new_context()
    asked: list[str] = []
    for name, (address, words) in DEEP_LINKS.items():
        page = context.new_page()
        note_errors(page, complaints)
        page.on("request", lambda request: asked.append(request.url))
        for theme, width in itertools.product(THEMES, WIDTHS):
            context.clear_cookies()
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": WIDTHS[width], "height": 900})
            page.goto(f"{shown}/{address}")
            settled(page)
            expect(page.locator("[data-testid=stMain]").get_by_text(words).first).to_be_visible()
            main = "document.querySelector('[data-testid=stMain]')"
            assert page.evaluate(f"{main}.scrollWidth - {main}.clientWidth") <= 1, (name, width)
            target = OUTPUT / f"{name}-{theme}-{width}.png"
            picture(page, target)
            assert target.stat().st_size > 10_000
            icons = page.locator("link[rel~=icon]").evaluate_all("links => links.map(link => link.href)")
            assert all(icon.startswith(("data:", shown)) for icon in icons), icons
        page.close()
    assert {url for url in asked if not url.startswith((shown, "data:", "blob:"))} == set()
    assert complaints == []


def test_another_cut_moves_the_marks_of_charts_and_what_is_read_aloud(shown: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, f"{shown}/strategies?k=1", complaints)
    page.evaluate("document.querySelectorAll('svg.marks').forEach(drawn => drawn.classList.add('before'))")
    panel = page.locator("[role=graphics-document][aria-label='Scores of the strategies, Rotten Tomatoes']")
    said = panel.locator("[aria-roledescription=summary]")
    expect(said).to_have_attribute("aria-label", re.compile(r"^Score × 100 on Rotten Tomatoes: (?!.*symmetric)"))
    expect(panel.get_by_text("not possible")).to_be_visible()
    page.get_by_role("radio", name="2", exact=True).click()
    expect(said).to_have_attribute("aria-label", re.compile(r"^Score × 100 on Rotten Tomatoes: .*symmetric"))
    expect(panel.get_by_text("not possible")).to_be_hidden()
    for drawn in page.locator("svg.marks").all():  # and are not built anew
        expect(drawn).to_have_class("marks before")
    assert complaints == []


def test_charts_follow_the_browsers_theme_while_the_page_is_open(shown: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, f"{shown}/cost", complaints)
    line = page.locator("svg.marks .mark-line path").first
    expect(line).to_have_attribute("stroke", THEMES_OF_CHARTS["light"].accent)
    page.emulate_media(color_scheme="dark")
    expect(line).to_have_attribute("stroke", THEMES_OF_CHARTS["dark"].accent, timeout=15_000)
    assert complaints == []


def test_a_selected_row_is_in_the_address_and_leads_to_the_other_pages(shown: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, f"{shown}/?strategy=top&k=3", complaints)
    table = page.locator("[data-testid=stDataFrame]")
    table.scroll_into_view_if_needed()
    table.locator("canvas").first.wait_for()
    table.click(position={"x": 18, "y": 35 + 35 + 17})  # the second row
    expect(page.get_by_text(re.compile(r"1 of \d+ rows selected"))).to_be_visible()
    assert "select=" in page.url
    page.get_by_role("link", name="Compare with the whole model").click()
    expect(page.get_by_role("heading", name="What is the difference between these two?")).to_be_visible()
    settled(page)
    assert "b=minilm-l6+full+" in page.url
    while "compare" in page.url:  # Streamlit makes more than one entry of a page
        page.go_back()
        settled(page)
    expect(page.get_by_text("Dropping 3 of 6 layers by top keeps")).to_be_visible()  # as it was left
    expect(page.get_by_text(re.compile(r"1 of \d+ rows selected"))).to_be_visible()
    assert "k=3" in page.url
    page.get_by_role("link", name="Compare with the whole model").click()
    expect(page.get_by_role("heading", name="What is the difference between these two?")).to_be_visible()
    settled(page)
    page.get_by_role("link", name="Show on Explore").last.click()
    expect(page.get_by_role("heading", name="How many layers can I drop?")).to_be_visible()
    settled(page)
    expect(page.get_by_text("Dropping 1 of 6 layers by top keeps")).to_be_visible()
    page.get_by_role("link", name="Tasks").first.click()
    expect(page).to_have_url(f"{shown}/tasks?k=1")  # the choice goes along
    expect(page.get_by_text("Dropping 1 of 6 layers by top costs")).to_be_visible()
    assert complaints == []


def listen_to_all(page: Page, complaints: list[str], asked: list[str]) -> None:
    """Every word in the console, and the address of everything that is fetched, or the beginning of a `data:` one."""
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.partition(",")[0]))


def test_a_report_opens_from_disk_without_network(shown: str, browser: Browser, tmp_path: Path) -> None:
    complaints: list[str] = []
    page = opened(browser, f"{shown}/?strategy=top&k=3", complaints, "dark")
    with page.expect_download(timeout=60_000) as waited:
        page.get_by_role("button", name="Report").click()
    file = tmp_path / waited.value.suggested_filename
    waited.value.save_as(file)
    assert re.fullmatch(r"pmb-explore-\d{4}-\d\d-\d\d\.html", file.name)
    for width in WIDTHS.values():
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        alone, asked = context.new_page(), list[str]()
        listen_to_all(alone, complaints, asked)
        alone.goto(file.as_uri())
        expect(alone.get_by_role("heading", name="How many layers can I drop?")).to_be_visible()
        expect(alone.get_by_text("Dropping 3 of 6 layers by top keeps")).to_be_visible()
        expect(alone.get_by_role("link")).to_have_attribute("href", f"{shown}?k=3")  # what is not by default
        expect(alone.get_by_text("--keep 0,1,2 --recipe full")).to_be_visible()
        images = alone.get_by_role("img")
        expect(images).to_have_count(3)
        for image in images.all():
            assert image.evaluate("image => image.complete && image.naturalWidth > 200"), width
        assert alone.get_by_role("row").count() > 10
        assert {url for url in asked if url != file.as_uri()} <= {"data:image/svg+xml;base64"}
        assert alone.evaluate("document.documentElement.scrollWidth") <= width
        alone.screenshot(path=OUTPUT / f"report-{width}.png", full_page=True)
        context.close()
    assert complaints == []


def test_a_report_asked_for_before_the_page_is_drawn_has_the_whole_page(
    shown: str, browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.goto(f"{shown}/paper", wait_until="commit")
    with page.expect_download(timeout=60_000) as waited:
        page.get_by_role("button", name="Report").click()
    waited.value.save_as(tmp_path / "paper.html")
    written = (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert written.count("<img") >= 2
    assert "How this was measured" in written


def test_a_report_holds_what_a_part_of_the_page_drew_last_and_its_address(
    shown: str, browser: Browser, tmp_path: Path
) -> None:
    complaints: list[str] = []
    page = opened(browser, f"{shown}/compare", complaints)
    expect(page.get_by_text("How this was measured")).to_be_visible()
    for sentences in (True, False):
        page.get_by_role("switch", name="Show the sentences").click(force=True)  # a label lies over it
        where = re.compile("sentences=true")
        (expect(page).to_have_url if sentences else expect(page).not_to_have_url)(where)
        expect(page.get_by_text("A right, B wrong", exact=True)).to_have_count(
            int(sentences),
            timeout=90_000,  # a child reads them
        )
        with page.expect_download(timeout=60_000) as waited:
            page.get_by_role("button", name="Report").click()
        file = tmp_path / f"{sentences}.html"
        waited.value.save_as(file)
        written = file.read_text(encoding="utf-8")
        assert written.count("Sentences that flipped") == 1
        assert ("A right, B wrong" in written) == sentences
        assert ("sentences=true" in written) == sentences
    assert complaints == []


def test_the_first_visit_can_be_left_and_does_not_come_back(shown: str, browser: Browser) -> None:
    complaints: list[str] = []
    page = opened(browser, shown, complaints)
    expect(page.get_by_text("1 of 4")).to_be_visible()
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("2 of 4")).to_be_visible()
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_text("2 of 4")).to_be_hidden()
    page.wait_for_function("document.cookie.includes('pmb_visited')")
    page.goto(shown)  # a new session of the same browser
    settled(page)
    expect(page.get_by_text("1 of 4")).to_be_hidden()
    assert complaints == []
