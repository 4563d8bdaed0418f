"""What an environment can have that the lab did not choose: threads, a database's password, encodings, the network."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from sqlalchemy import update

from pmb import doctor
from pmb import settings as lab_settings
from pmb.engine import network
from pmb.errors import HubUnavailable, StoreUnavailable
from pmb.lab import queue
from pmb.lab.schema import runs
from pmb.lab.store import Store, open_store
from pmb.settings import REPOSITORY, Settings
from tests.conftest import result, spec
from tests.test_cli import pmb


@pytest.mark.parametrize(("given", "threads"), [("", None), (" 3 ", 3), ("2,4", 2), (" 8 , 1,1", 8), ("016", 16)])
def test_of_a_list_of_threads_the_first_counts(
    monkeypatch: pytest.MonkeyPatch, given: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert lab_settings.most_threads() == threads


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "250m", ",2", "all", "²", "9" * 5000])
def test_a_number_of_threads_that_cannot_be_is_named_by_every_command_and_by_doctor(
    settings: Settings, given: str
) -> None:
    ended = pmb(settings, "plan", "--keep", "0", OMP_NUM_THREADS=given)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: OMP_NUM_THREADS is {given!r}; a whole number from 1")
    ended = pmb(settings, "doctor", OMP_NUM_THREADS=given)
    assert ended.returncode == 1
    assert f"NO  settings   OMP_NUM_THREADS is {given!r}" in ended.stdout


URLS = (
    "postgresql://me:{}@127.0.0.1:1/lab",
    "postgres://me:{}@127.0.0.1:1",
    "postgresql://127.0.0.1:1/lab?user=me&password={}",
    "postgresql://me@127.0.0.1:1/lab?password={}&sslmode=disable",
)
PASSWORDS = ["zq@xvk", "zq:xvk", "zq@xvk:jjw", "@zqxvk", "zq@xvk/jjw", "zq@xvk?jjw", "zq?xvk@jjw", "zq/xvk", "zq%xvk"]
PASSWORDS += ["zq#xvk@jjw", "zq&xvk=1", "[zqxvk", "zq]@[xvk", "zq xvk", "zq@xvk:9", "zq@xvk@jjw"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("password", PASSWORDS)
def test_no_part_of_a_password_is_shown(settings: Settings, url: str, password: str) -> None:
    """Port 1 refuses connections; a host that is a part of a password would be looked for."""
    with pytest.raises(StoreUnavailable) as caught:
        open_store(Settings(settings.home, url.format(password), "local", settings.shipped, None))
    said = str(caught.value)
    assert not [part for part in re.split(r"\W+", password) if len(part) > 1 and part in said], said


def test_a_password_in_the_wrong_form_is_one_sentence_everywhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_device", lambda: "a device")  # which starts torch
    url = "postgresql://me:zq@xvk:jjw@127.0.0.1:5432/lab"
    for verb in ("runs", "worker", "doctor"):
        ended = pmb(settings, verb, PMB_DATABASE_URL=url)
        assert "PMB_DATABASE_URL cannot be used: it has to be postgresql://USER" in ended.stdout + ended.stderr
        assert not re.search("zq|xvk|jjw|Traceback", ended.stdout + ended.stderr)


def test_a_password_with_escaped_signs_is_given_to_the_server_as_it_is(settings: Settings) -> None:
    url = "postgresql://me:zq%40xvk%3Ajjw@127.0.0.1:1/lab"
    with pytest.raises(StoreUnavailable, match=r"me:\*\*\*@127\.0\.0\.1:1/lab does not answer"):
        open_store(Settings(settings.home, url, "local", settings.shipped, None))


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_no_name_is_too_foreign_for_standard_output(store: Store, encoding: str, tmp_path: Path) -> None:
    name = "имя→☃"
    key = queue.submit(store, [spec()])[0].key
    claim = queue.claim(store, "worker")
    assert claim
    queue.finish(store, key, "worker", result())
    with store.connect() as connection:
        connection.execute(update(runs).values(task=f"csv:{name}.csv"))
    for number, arguments in enumerate((("runs",), ("runs", "--csv"), ("runs", "--json"), ("cancel", name))):
        file = tmp_path / f"{number}.txt"
        with file.open("wb") as out:
            ended = subprocess.run(
                [sys.executable, "-m", "pmb", *arguments],
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONIOENCODING": encoding},
                stdout=out,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert ended.returncode == (2 if arguments[0] == "cancel" else 0)
        assert b"Traceback" not in ended.stderr
    with (tmp_path / "1.txt").open(encoding="utf-8", newline="") as file_of_rows:
        assert [row["task"] for row in csv.DictReader(file_of_rows)] == [f"csv:{name}.csv"]
    assert b"kept 0" in (tmp_path / "0.txt").read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SSL_CERT_FILE", "/no/such/bundle.pem", "SSL_CERT_FILE is '/no/such/bundle.pem', which is not there"),
        ("SSL_CERT_DIR", "/no/such/folder", "SSL_CERT_DIR is '/no/such/folder', which is not there"),
        ("HF_TOKEN", "hf_zqéxvk", "HF_TOKEN has a character that no token has"),
        ("ALL_PROXY", "socks4://me:zqxvk@localhost:1080", "ALL_PROXY names a socks4:// proxy"),
        ("https_proxy", "socks5h://me:zqxvk@localhost:1080", "https_proxy names a socks5h:// proxy, which needs"),
        ("HTTP_PROXY", "http://me:zqxvk@localhost:port", "HTTP_PROXY is no address of a proxy"),
    ],
)
def test_a_variable_that_keeps_the_hub_away_is_named_and_no_secret_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, said: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    network.check_environment()
    monkeypatch.setenv(variable, value)
    with pytest.raises(HubUnavailable, match=re.escape(said)) as caught:
        network.check_environment()
    assert not re.search("zq|xvk", str(caught.value))


def test_a_cache_of_the_hub_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(file / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(file))
    with pytest.raises(
        HubUnavailable, match=r"HF_HOME is '.*file', where no downloads can be kept \(Not a directory\)"
    ):
        network.check_environment()


def test_the_command_names_the_variable_too(settings: Settings) -> None:
    """The whole way: the child process reads the environment, and not this one."""
    asked = ("plan", "--model", "some/model", "--strategy", "top", "--drop", "1")
    ended = pmb(settings, *asked, SSL_CERT_FILE="/no/such/bundle.pem", HF_ENDPOINT="http://127.0.0.1:1")
    assert (ended.returncode, ended.stderr) == (
        2,
        "Error: SSL_CERT_FILE is '/no/such/bundle.pem', which is not there; unset it, or correct it.\n",
    )
