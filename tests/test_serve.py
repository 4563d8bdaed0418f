"""Where the dashboard listens: on this machine alone, unless people sign in or an explicit word is given."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from pmb import serve
from pmb.errors import BadInput, PmbError
from tests.postgres import free_port

WHOLE = """
[auth]
redirect_uri = "https://lab.example.org/oauth2callback"
cookie_secret = "a long secret of many letters"
[auth.company]
client_id = "lab"
client_secret = "x"
server_metadata_url = "https://accounts.example.org/.well-known/openid-configuration"
"""


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secrets.toml"
    monkeypatch.setattr(serve, "SECRETS", (path,))
    return path


def test_on_loopback_nobody_has_to_sign_in_and_nobody_else_is_answered(secrets: Path) -> None:
    place = serve.find_place("127.0.0.1", free_port(), (), open_to_everyone=False)
    assert (place.address, place.hosts, place.shared) == ("127.0.0.1", ("127.0.0.1", "localhost"), False)


def test_elsewhere_it_starts_with_sign_in_or_an_explicit_word_alone(secrets: Path) -> None:
    port = free_port()
    with pytest.raises(BadInput, match=r"On 0\.0\.0\.0 others reach the lab.*--open-to-everyone"):
        serve.find_place("0.0.0.0", port, (), open_to_everyone=False)
    place = serve.find_place("0.0.0.0", port, ("demo.org",), open_to_everyone=True)
    assert place.shared
    assert {"demo.org", socket.gethostname(), "127.0.0.1"} <= set(place.hosts)
    secrets.write_text(WHOLE)
    place = serve.find_place("0.0.0.0", port, (), open_to_everyone=False)
    assert place.shared
    assert "lab.example.org" in place.hosts


def test_behind_a_proxy_on_loopback_with_sign_in_others_reach_it(secrets: Path) -> None:
    secrets.write_text(WHOLE)
    place = serve.find_place("localhost", free_port(), (), open_to_everyone=False)
    assert (place.address, place.shared) == ("127.0.0.1", True)
    assert "lab.example.org" in place.hosts


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ('cookie_secret = "a long secret of many letters"', "", "no cookie_secret"),
        ('client_id = "lab"', "", "no client_id"),
        ("/oauth2callback", "/", "has to be https://HOST/oauth2callback"),
        ("[auth]", "[auth", "cannot be read"),
    ],
)
def test_sign_in_that_is_half_set_up_is_refused(secrets: Path, line: str, instead: str, said: str) -> None:
    secrets.write_text(WHOLE.replace(line, instead))
    with pytest.raises(BadInput, match=said):
        serve.find_place("127.0.0.1", free_port(), (), open_to_everyone=False)


@pytest.mark.parametrize("address", ["everywhere", "999.1.1.1", "192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_refused(secrets: Path, address: str) -> None:
    with pytest.raises(BadInput, match=address):
        serve.find_place(address, free_port(), (), open_to_everyone=True)


def test_a_page_server_that_dies_again_and_again_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    server = serve.Restarted([sys.executable, "-c", "raise SystemExit(3)"], os.environ)
    for _ in range(3):
        server.process.wait(30)
        server.look()
    server.process.wait(30)
    with pytest.raises(PmbError, match=r"died again \(exit code 3\), 4 times within a short while"):
        server.look()
    told = capfd.readouterr().err
    assert [f"started again, {number} of 3 times" in told for number in range(1, 5)] == [True, True, True, False]


def test_deaths_of_long_ago_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pmb.serve.time.monotonic", lambda: now[0])
    server = serve.Restarted([sys.executable, "-c", ""], os.environ)
    for _ in range(8):
        while server.process.poll() is None:
            pass
        server.look()
        now[0] += serve.DEATHS_SECONDS / 2
    server.process.wait(30)


@pytest.mark.parametrize(
    ("environment", "configured", "path"),
    [
        (None, None, ""),
        ("lab", None, "/lab"),
        ("/deep/lab/", "other", "/deep/lab"),
        (None, "team/lab", "/team/lab"),
        ("", "team", ""),
    ],
)
def test_the_printed_address_has_the_base_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None, configured: str | None, path: str
) -> None:
    file = tmp_path / "config.toml"
    if configured is not None:
        file.write_text(f'[server]\nbaseUrlPath = "{configured}"\n')
    monkeypatch.setattr(serve, "CONFIGURATIONS", (tmp_path / "none.toml", file))
    monkeypatch.delenv("STREAMLIT_SERVER_BASE_URL_PATH", raising=False)
    if environment is not None:
        monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", environment)
    assert serve.base_path() == path
