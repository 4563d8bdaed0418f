"""Sign-in by a real provider on loopback, in headless Chromium: one who is not named may look, one who is may run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from docs.screenshots import ARGUMENTS
from pmb.lab.store import Store, list_runs
from pmb.settings import Settings
from tests.postgres import free_port
from tests.provider import CLIENT, Provider, provider
from tests.server import keep_secrets, page_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: `make test` says how it is installed"),
]

PATIENCE = 60_000  # milliseconds


@pytest.fixture
def vouching() -> Iterator[Provider]:
    with provider() as server:
        yield server


@pytest.fixture
def dashboard(settings: Settings, store: Store, vouching: Provider, tmp_path: Path) -> Iterator[str]:
    """The page server with secrets in a home of its own."""
    port = free_port()
    metadata = f"{vouching.url}/.well-known/openid-configuration"
    keep_secrets(tmp_path, f"http://127.0.0.1:{port}", CLIENT, metadata)
    with page_server(port, tmp_path, HOME=str(tmp_path), PMB_RUNNERS="alice@lab.org") as url:
        yield url


def sign_in(page: Page, provider: Provider, address: str) -> None:
    provider.claims = {"email": address, "email_verified": True}
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(address, exact=True)).to_be_visible(timeout=PATIENCE)


def test_sign_in_with_a_provider_decides_who_may_run(dashboard: str, vouching: Provider, store: Store) -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{dashboard}/?recipe=quick&strategy=top&drop=5")
        run = page.get_by_role("button", name="Run", exact=True)
        expect(page.get_by_text("Sign in to run or change anything")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("heading", name="How many layers can I drop?")).to_be_visible(timeout=PATIENCE)
        expect(run).to_have_count(0)
        sign_in(page, vouching, "bob@lab.org")
        expect(page.get_by_text("PMB_RUNNERS does not name you")).to_be_visible(timeout=PATIENCE)
        expect(run).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=PATIENCE)
        sign_in(page, vouching, "alice@lab.org")
        page.goto(f"{dashboard}/?recipe=quick&strategy=top&drop=5")
        run.click(timeout=PATIENCE)
        expect(page.get_by_role("button", name="Cancel").first).to_be_visible(timeout=PATIENCE)
        chromium.close()
    assert {row["started_by"] for row in list_runs(store, "queued")} == {"alice@lab.org"}
