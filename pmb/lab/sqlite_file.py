"""The file of a SQLite store: whose it is, who may read it, and reading it where nothing can be written."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

from sqlalchemy import URL

from pmb.errors import StoreUnavailable
from pmb.lab.schema import metadata

VERSION_TABLE = "alembic_version"
OWN_REVISION = re.compile(r"\d{4}")  # as the migrations here are numbered
COPY_TRIES, COPY_PAUSE_SECONDS = 40, 0.05
WAL_HEADER_BYTES = 32  # has a number that changes when the file is begun anew


def file_of(url: URL) -> Path | None:
    """The file that a URL names; None where it is in memory, or no SQLite."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return None if url.database.startswith("file:") else Path(url.database).absolute()


def check_own(path: Path) -> None:
    """Raise StoreUnavailable for a file with another program's tables, which is left as it is.

    A file that cannot be read as SQLite is for whoever opens it to complain about.
    """
    with suppress(sqlite3.Error, OSError):
        if path.stat().st_size and (others := _foreign_tables(path)):
            raise StoreUnavailable(
                f"{path} is the file of another program (it has the table {others[0]!r}) and is left as it is; name "
                "another file in PMB_DATABASE_URL, or another folder in PMB_HOME."
            )


def _foreign_tables(path: Path) -> list[str]:
    """The tables of a file that no version of the lab made, in alphabetical order."""
    # To open a file in WAL mode makes files beside it, except as one that does not change.
    how = "mode=ro" if _beside(path, "-wal").exists() else "immutable=1"
    with closing(sqlite3.connect(_address(path, how), uri=True)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = {name for name in names if not name.startswith("sqlite_")}
        if VERSION_TABLE not in names:
            return sorted(names)
        found = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 (a constant)
    strange = sorted(names - set(metadata.tables) - {VERSION_TABLE})
    own = OWN_REVISION.fullmatch(str(found[0])) and "runs" in names if found else not strange
    return [] if own else strange or [VERSION_TABLE]


def make_private(path: Path) -> None:
    """Make an empty file, where there is none, that its owner alone can read; raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection to a file that is not to be changed; raises sqlite3.Error.

    While somebody writes the store, the files of its write-ahead log are there and let others read along. Without
    them, and where they cannot be made, SQLite opens such a file only as one that never changes; so a copy is read,
    and a new one when it changes.
    """
    logged = _beside(path, "-wal").exists() and _beside(path, "-shm").exists()
    if logged or os.access(path.parent, os.W_OK):
        with suppress(sqlite3.OperationalError):  # the writer ended just now, or left the log as it was when it died
            connection = sqlite3.connect(_address(path, "mode=ro"), uri=True, check_same_thread=False)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
    try:
        return sqlite3.connect(_COPIES.of(path), check_same_thread=False)
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open database file: {error.strerror or error}") from error


class _Copies:
    """The newest copy of each file that this process reads so, in a folder of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Path, tuple[object, Path]] = {}
        self._folder: Path | None = None

    def of(self, path: Path) -> Path:
        """A copy of the file as it is now; raises OSError, also where the file never stays as it is for long enough."""
        with self._lock:
            for _ in range(COPY_TRIES):
                stand = _stand(path)
                known, copy = self._copies.get(path, (None, path))
                if known == stand:
                    return copy
                copy = self._copy(path)
                if _stand(path)[:2] == stand[:2]:  # what was added to the log meanwhile does no harm
                    self._replace(path, stand, copy)
                    return copy
                shutil.rmtree(copy.parent)
                time.sleep(COPY_PAUSE_SECONDS)
        raise OSError("it is written all the time; try again")

    def _copy(self, path: Path) -> Path:
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="pmb-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        copy = Path(mkdtemp(dir=self._folder)) / path.name
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(_beside(path, "-wal"), _beside(copy, "-wal"))
        return copy

    def _replace(self, path: Path, stand: object, copy: Path) -> None:
        _, old = self._copies.get(path, (None, None))
        self._copies[path] = (stand, copy)
        if old:
            shutil.rmtree(old.parent, ignore_errors=True)  # connections that have it open go on reading it


_COPIES = _Copies()


def _stand(path: Path) -> tuple[object, bytes, int]:
    """What changes when the file does: its own state, the beginning of its log, and the log's length."""
    found = path.stat()
    header, length = b"", 0
    with suppress(FileNotFoundError), _beside(path, "-wal").open("rb") as log:
        header, length = log.read(WAL_HEADER_BYTES), os.fstat(log.fileno()).st_size
    return (found.st_ino, found.st_size, found.st_mtime_ns), header, length


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _address(path: Path, how: str) -> str:
    return f"file:{quote(str(path))}?{how}"
