"""What the page server answers where others reach it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pmb.settings import Settings
from tests.postgres import free_port
from tests.server import page_server

pytestmark = pytest.mark.slow


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_metrics_are_not_for_others(settings: Settings, tmp_path: Path) -> None:
    with page_server(free_port(), tmp_path, PMB_CONFINED="1") as url:
        assert [status(f"{url}/_stcore/{what}") for what in ("health", "metrics")] == [200, 404]
