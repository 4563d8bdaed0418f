"""Where the dashboard listens: on this machine alone, unless people sign in or an explicit word is given."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pmb import serve
from pmb.errors import BadInput
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
