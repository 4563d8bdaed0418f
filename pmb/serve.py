"""The dashboard and its worker as two processes under one supervisor: what `make run` starts."""

from __future__ import annotations

import ipaddress
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from pmb.errors import BadInput, PmbError
from pmb.lab.holder import trouble, worker_is_here
from pmb.lab.store import open_store
from pmb.settings import REPOSITORY, Settings

LOOPBACK = "127.0.0.1"
INTERNET = (socket.AF_INET, socket.AF_INET6)
LOOK_SECONDS = 1.0
TROUBLE_LOOKS = 5  # so many looks from one question why another's worker does nothing to the next
END_SECONDS = 5.0
# Where Streamlit looks for them; the later one wins.
SECRETS = (Path("~/.streamlit/secrets.toml"), REPOSITORY / ".streamlit" / "secrets.toml")
CONFIGURATIONS = (Path("~/.streamlit/config.toml"), REPOSITORY / ".streamlit" / "config.toml")
MOST_RESTARTS, DEATHS_SECONDS = 3, 120.0  # of the page server: so often within that time
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
    """Serve until interrupted; a worker or a page server that dies is started again. Raises PmbError.

    Where nothing may be run there is no worker.
    """
    page = [sys.executable, "-m", "pmb.page_server", "run", str(REPOSITORY / "streamlit_app.py")]
    page += ["--server.address", place.address, "--server.port", str(place.port), "--server.headless", "true"]
    page += [word for host in place.hosts for word in ("--server.allowedHosts", host)]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    server = Restarted(page, os.environ | {"PMB_CONFINED": "1" if place.shared else "0"})
    worker = None
    print(f"Poor Man's BERT Lab: http://{_name(place)}:{place.port}{base_path()} (Ctrl-C ends it)", flush=True)
    if place.shared and find_sign_in() and not settings.runners and not settings.read_only:
        print("PMB_RUNNERS names nobody: whoever signs in may look, and nobody may run anything.", flush=True)
    told = ""
    try:
        for looks in itertools.count():
            server.look()
            ended = worker is None or worker.poll() is not None
            if ended and not settings.read_only:
                if not worker_is_here(settings):
                    worker = subprocess.Popen([sys.executable, "-m", "pmb", "worker"], cwd=REPOSITORY, env=os.environ)
                elif looks % TROUBLE_LOOKS == 0 and (why := _trouble(settings)) and why != told:
                    told = why
                    print(why, file=sys.stderr, flush=True)
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        print("Ending; a running fine-tune goes back to the queue.", flush=True)
    finally:
        _end(server.process, worker)


class Restarted:
    """A process that is started again when it dies, a few times in a while."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it."""
        self._command, self._environment = command, environment
        self._deaths: list[float] = []
        self.process = self._start()

    def look(self) -> None:
        """Start it again if it is dead; raises PmbError where it has died too often lately."""
        code = self.process.poll()
        if code is None:
            return
        now = time.monotonic()
        self._deaths = [*(at for at in self._deaths if now - at < DEATHS_SECONDS), now]
        reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        if len(self._deaths) > MOST_RESTARTS:
            raise PmbError(
                f"The page server died again ({reason}), {len(self._deaths)} times within a short while; its own words "
                "are above. Runs that wait stay in the queue."
            )
        print(
            f"The page server died ({reason}) and is started again, {len(self._deaths)} of {MOST_RESTARTS} times; the "
            "worker goes on.",
            file=sys.stderr,
            flush=True,
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=REPOSITORY, env=dict(self._environment))


def base_path() -> str:
    """The path below which the page is served, such as /lab; empty where it is served at the root.

    As Streamlit finds it: in the environment, else in its configuration files, of which the repository's comes last.
    """
    given = os.environ.get("STREAMLIT_SERVER_BASE_URL_PATH")
    for path in CONFIGURATIONS if given is None else ():
        try:
            found = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
            given = found.get("server", {}).get("baseUrlPath", given)
        except (OSError, ValueError, AttributeError):  # the page server says what is wrong with its own file
            continue
    path_alone = str(given or "").strip("/")
    return f"/{path_alone}" if path_alone else ""


def _trouble(settings: Settings) -> str:
    """Why the worker that is here does nothing for this dashboard, if so."""
    store = open_store(settings)
    try:
        return trouble(settings, store)
    finally:
        store.close()


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
