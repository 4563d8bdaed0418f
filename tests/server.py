"""A page server as `pmb dashboard` starts it, without a worker, and secrets for one with sign-in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pmb.settings import REPOSITORY

START_SECONDS = 60
COOKIE_SECRET = "long " * 8
COMMAND = [sys.executable, "-m", "pmb.page_server", "run", "streamlit_app.py"]


@contextmanager
def page_server(port: int, folder: Path, **environment: str) -> Iterator[str]:
    """The address of a server of this repository's pages, which ends with the block; its log is in the folder."""
    command = [*COMMAND, "--server.port", str(port)]
    with served(command, port, os.environ | environment, folder / f"server-{port}.log") as url:
        yield url


@contextmanager
def served(command: Sequence[str], port: int, environment: Mapping[str, str], log: Path | None = None) -> Iterator[str]:
    """The address of a process that serves pages on a port of loopback, once it answers; it ends with the block."""
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") if log else nullcontext() as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=file, stderr=file)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None, log.read_text() if log else "the server ended"
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def keep_secrets(home: Path, url: str, client: str, metadata_url: str) -> None:
    """Set sign-in up for a server at that address whose HOME this is."""
    secrets = home / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir(parents=True)
    secrets.write_text(
        f'[auth]\nredirect_uri = "{url}/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
        f'client_id = "{client}"\nclient_secret = "x"\nserver_metadata_url = "{metadata_url}"\n'
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
            return True
    except OSError:
        return False
