"""The dashboard and its worker as two processes under one supervisor: what `make run` starts."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from pmb.errors import BadInput, PmbError
from pmb.lab.worker import worker_is_here
from pmb.settings import REPOSITORY, Settings

LOOPBACK = "127.0.0.1"
INTERNET = (socket.AF_INET, socket.AF_INET6)
LOOK_SECONDS = 1.0
END_SECONDS = 5.0
# Where Streamlit looks for them; the later one wins.
SECRETS = (Path("~/.streamlit/secrets.toml"), REPOSITORY / ".streamlit" / "secrets.toml")
NEEDED = ("redirect_uri", "cookie_secret")  # of the section [auth], besides a provider


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is served: the address to listen on, and the names that browsers may call it by."""

    address: str
    port: int
    hosts: tuple[str, ...]
    shared: bool  # whether others reach it: then nobody names files of this machine on it


def find_place(address: str, port: int, hosts: Sequence[str], open_to_everyone: bool) -> Place:
    """Check where the page is to be served; raises BadInput where others would reach it and nobody signs in."""
    try:
        ip = ipaddress.ip_address(LOOPBACK if address == "localhost" else address)
    except ValueError as error:
        raise BadInput(f"{address!r} is no address to listen on; 127.0.0.1 and 0.0.0.0 are.") from error
    signs_in = find_sign_in()
    if not ip.is_loopback and signs_in is None and not open_to_everyone:
        raise BadInput(
            f"On {address} others reach the lab, and nobody signs in: set up sign-in (README, A team), or say "
            "--open-to-everyone."
        )
    check_port(port, str(ip))
    names = {"localhost", LOOPBACK, *hosts, *([signs_in] if signs_in else [])}
    if not ip.is_loopback:
        names |= {socket.gethostname(), socket.getfqdn(), *([] if ip.is_unspecified else [str(ip)])}
    if ip.is_unspecified:
        names |= {one.address for card in psutil.net_if_addrs().values() for one in card if one.family in INTERNET}
    return Place(str(ip), port, tuple(sorted(names)), shared=not ip.is_loopback or signs_in is not None)


def find_sign_in() -> str | None:
    """The host to which the provider sends people back; None where no sign-in is set up. Raises BadInput."""
    section: dict[str, Any] = {}
    for path in SECRETS:
        try:
            found = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read: {error}.") from error
        section |= found.get("auth", {})
    if not section:
        return None
    providers = [section, *(part for part in section.values() if isinstance(part, dict))]
    missing = [name for name in NEEDED if not section.get(name)]
    missing += [] if any(part.get("client_id") for part in providers) else ["client_id"]
    if missing:
        raise BadInput(f"The section [auth] of {SECRETS[-1]} has no {missing[0]}; secrets.example.toml has all of it.")
    host = urlsplit(str(section["redirect_uri"])).hostname
    if not host or not str(section["redirect_uri"]).endswith("/oauth2callback"):
        raise BadInput(f"redirect_uri is {section['redirect_uri']!r}; it has to be https://HOST/oauth2callback.")
    return host


def check_port(port: int, address: str = LOOPBACK) -> None:
    """Raise BadInput when something listens there already, or when this machine has no such address."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = error.strerror or error
            raise BadInput(
                f"Port {port} on {address} cannot be used ({reason}); choose another: `make run PORT={port + 1}`."
            ) from error


def serve(settings: Settings, place: Place) -> None:
    """Serve until interrupted; a worker that dies is started again. Where nothing may be run there is no worker."""
    page = [sys.executable, "-m", "pmb.page_server", "run", str(REPOSITORY / "streamlit_app.py")]
    page += ["--server.address", place.address, "--server.port", str(place.port), "--server.headless", "true"]
    page += [word for host in place.hosts for word in ("--server.allowedHosts", host)]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    server = subprocess.Popen(page, cwd=REPOSITORY, env=os.environ | {"PMB_CONFINED": "1" if place.shared else "0"})
    worker = None
    print(f"Poor Man's BERT Lab: http://{_name(place)}:{place.port} (Ctrl-C ends it)", flush=True)
    if place.shared and find_sign_in() and not settings.runners and not settings.read_only:
        print("PMB_RUNNERS names nobody: whoever signs in may look, and nobody may run anything.", flush=True)
    try:
        while server.poll() is None:
            ended = worker is None or worker.poll() is not None
            if ended and not settings.read_only and not worker_is_here(settings):
                worker = subprocess.Popen([sys.executable, "-m", "pmb", "worker"], cwd=REPOSITORY, env=os.environ)
            time.sleep(LOOK_SECONDS)
        raise PmbError(f"The page server ended by itself with code {server.returncode}; its words are above.")
    except KeyboardInterrupt:
        print("Ending; a running fine-tune goes back to the queue.", flush=True)
    finally:
        _end(server, worker)


def _name(place: Place) -> str:
    """What to type into a browser."""
    ip = ipaddress.ip_address(place.address)
    if ip.is_unspecified:
        return socket.gethostname()
    return f"[{ip}]" if ip.version == 6 else str(ip)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end(*processes: subprocess.Popen[bytes] | None) -> None:
    for process in processes:
        if process is not None:
            process.terminate()
    for process in processes:
        if process is not None:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
