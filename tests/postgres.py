"""A PostgreSQL server of the tests' own: Debian's programs, a folder in the temporary directory, a port on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from pmb.lab import schema

START_SECONDS = 30
# Nothing of what is in it has to survive a power cut.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
SAFE = ("max_connections=200",)  # as a server is that people's results are on


def programs() -> Path | None:
    """The folder of initdb and postgres; None where the server is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = [folder for folder in folders if (folder / "initdb").is_file()]
    if found:
        return found[-1]
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server with an empty cluster; it trusts whoever connects from this machine."""

    programs: Path
    options: tuple[str, ...] = QUICK
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pmb-postgres-")))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    def make(self) -> None:
        """Make the cluster. PostgreSQL refuses to run as root: then it runs as the user that its package made."""
        if user := self._user():
            shutil.chown(self.folder, user)
        options = ["--auth=trust", "--username=lab", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = [str(self.programs / "initdb"), f"--pgdata={self.folder / 'data'}", *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, user=self._user())

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = (
            *self.options,
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
        )
        options = [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user(),
            )
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=1).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End it as a restart does: whoever is connected is cut off."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(START_SECONDS)

    def remove(self) -> None:
        """End it and take its folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """The address as a user writes it."""
        return f"postgresql://lab:anything@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """The name of a new, empty database."""
        self.databases += 1
        name = f"lab_{self.databases}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def empty(self, name: str) -> None:
        """Take all rows out of a database with the schema: much quicker than to make a new one."""
        self.execute(name, "; ".join(str(table.delete()) for table in schema.metadata.sorted_tables))

    def execute(self, database: str, command: str) -> None:
        """Run a command as the administrator."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(command.encode())

    def _user(self) -> str | None:
        if os.getuid() != 0:
            return None
        names = {entry.pw_name for entry in pwd.getpwall()}
        return "postgres" if "postgres" in names else "nobody"


@contextmanager
def running(found: Path, options: tuple[str, ...] = QUICK) -> Iterator[Server]:
    """A server of these programs that is taken away afterwards."""
    server = Server(found, options)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()
